"""Ornstein-Uhlenbeck flows: V(x) = ½ (x-b)ᵀA(x-b), whose marginals are known exactly at every time.

The flow is the law of dX = -A(X-b) dt + √(2/β) dW, Gaussian from a Gaussian (``problems.references.quadratic_flow``).
Its stationary law is N(b, β⁻¹A⁻¹).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import torch

from problems.arrays import Reals
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.linear_algebra import random_spd, spread, symmetrised
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from problems.validation import (
    require_choice,
    require_counts,
    require_default,
    require_finite,
    require_positive,
    require_seed,
    require_spd,
    require_times,
)

MEASURES = (
    "symkl",
    "kl",
    "symkl-published",
    "symkl-carried",
    "symkl-gaussian",
    "bures-w2",
    "energy-distance",
    "sliced-w2",
)

SPECTRA = {"well-conditioned": (0.5, 2.0), "stiff": (0.5, 500.0)}
"""Smallest and largest eigenvalue of A by name: relaxation times that differ by 4 and by 1000."""


def published_instance(dim: int, experiment: int) -> Quadratic:
    """Return the potential of experiment number ``experiment`` of Mokrov et al. (NeurIPS 2021), bit for bit.

    Their seed is the CRC-32 of a text, the generator NumPy's legacy one, and the order of the draws is the stationary
    covariance Σ∞ first, then b; A = Σ∞⁻¹. As scikit-learn draws it, Σ∞ has one eigenvalue near D and the rest mostly
    in (0, 1): the flow is stiff.
    """
    seed = zlib.crc32(f"abacaba@{dim}@{experiment}numpy".encode())
    state = np.random.RandomState(seed)
    covariance = spd_matrix(dim, state)
    centre = state.randn(dim)
    return Quadratic(symmetrised(torch.linalg.inv(torch.from_numpy(covariance))), torch.from_numpy(centre))


def spd_matrix(dim: int, state: np.random.RandomState) -> Reals:
    """Return the SPD matrix (D, D) that ``sklearn.datasets.make_spd_matrix`` draws, bit for bit: U (1 + diag(d)) Vᵀ.

    U and V are the singular vectors of BᵀB, B and d uniform on (0, 1), and 1 is added to every entry of diag(d). It is
    worked out here because that package takes as long to import as half of torch.
    """
    uniform = state.uniform(size=(dim, dim))
    left, _, right = scipy.linalg.svd(uniform.T @ uniform, check_finite=False)
    found: Reals = left @ (1.0 + np.diag(state.uniform(size=dim))) @ right
    return found


def fan_instance(dim: int, generator: torch.Generator) -> Quadratic:
    """Return a potential ½ (x-b)ᵀC⁻¹(x-b) by the law of Fan et al. (ICML 2022): b (D,) first, then C's eigenvalues."""
    centre = torch.randn(dim, generator=generator, dtype=torch.float64)
    eigenvalues = 0.5 + 0.5 * torch.rand(dim, generator=generator, dtype=torch.float64)
    return Quadratic(random_spd(1 / eigenvalues, generator), centre)


def standard_gaussian(dim: int) -> Gaussian:
    """Return N(0, I)."""
    return Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))


def _numbers(name: str, value: object, shape: tuple[int, ...]) -> torch.Tensor:
    """Return nested sequences of numbers as a float64 tensor; raises ``ValueError`` unless of this shape."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"ornstein-uhlenbeck: {name} must have rows of equal length, got {value!r}") from None
    if array.dtype.kind not in "iuf":
        raise ValueError(f"ornstein-uhlenbeck: {name} must hold numbers only, got {value!r}")
    if array.shape != shape:
        raise ValueError(f"ornstein-uhlenbeck: {name} must have shape {shape}, got shape {array.shape}")
    return torch.from_numpy(array.astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck(ProblemFamily):
    """Ornstein-Uhlenbeck flows: quadratic potentials, with an exact marginal at every time.

    ``instance`` says where A, b and ρ0 come from:

    - ``"mokrov2021"``: instance number ``seed`` of the published comparison, in any dimension; ρ0 = N(0, I).
    - ``"fan2022"``: as drawn in the released runs of Fan et al. (ICML 2022): b ~ N(0, I), A⁻¹ with eigenvalues uniform
      on [½, 1] and Haar-distributed eigenvectors, in any dimension (theirs are 2, 6, 12, 16, 32 and 64); ρ0 = N(0, I).
      Their law is known, not what they drew: each instance is another draw.
    - ``"random"``: A has Haar-distributed eigenvectors and eigenvalues spaced evenly in the logarithm over
      ``spectrum``, which is a name of ``SPECTRA`` or (smallest, largest); b ~ N(0, I). ρ0 is a mixture with
      ``initial_components`` equal weights, means drawn from N(0, 4I), and covariances with eigenvalues from ¼ to 1
      whose eigenvectors are independent of A's, so that ρ0 and A do not commute.
    - ``"given"``: A = ``precision``, b = ``centre``, ρ0 = N(``initial_mean``, ``initial_covariance``), by default
      N(0, I).

    Raises ``ValueError`` for values out of range, of the wrong shape, or that the chosen instance does not use, and for
    another dimension than that of a given A.
    """

    name: ClassVar[str] = "ornstein-uhlenbeck"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"instance": "mokrov2021"},
        {"instance": "random"},
        {"instance": "random", "initial_components": 2},
    )
    times: tuple[float, ...] = (0.5, 0.9)
    instance: str = "mokrov2021"
    inverse_temperature: float = 1.0
    spectrum: str | tuple[float, float] = "well-conditioned"
    initial_components: int = 1
    precision: tuple[tuple[float, ...], ...] | None = None
    centre: tuple[float, ...] | None = None
    initial_mean: tuple[float, ...] | None = None
    initial_covariance: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        require_choice(self.name, "instance", self.instance, ("mokrov2021", "fan2022", "random", "given"))
        require_times(self.name, self.times)
        require_positive(self.name, inverse_temperature=self.inverse_temperature)
        require_counts(self.name, initial_components=self.initial_components)
        self._eigenvalue_range()
        used_by = "only instance={!r} uses it, not instance={!r}"
        if self.instance != "random":
            require_default(self, ("spectrum", "initial_components"), used_by.format("random", self.instance))
        if self.instance != "given":
            given = ("precision", "centre", "initial_mean", "initial_covariance")
            require_default(self, given, used_by.format("given", self.instance))
        else:
            self._given()

    def _eigenvalue_range(self) -> tuple[float, float]:
        if isinstance(self.spectrum, str):
            if self.spectrum not in SPECTRA:
                known = ", ".join(map(repr, SPECTRA))
                raise ValueError(
                    f"{self.name}: spectrum must be one of {known} or (smallest, largest); got {self.spectrum!r}"
                )
            return SPECTRA[self.spectrum]
        smallest, largest = _numbers("spectrum", self.spectrum, (2,)).tolist()
        require_positive(self.name, **{"spectrum[0]": smallest, "spectrum[1]": largest})
        if smallest > largest:
            raise ValueError(f"{self.name}: spectrum must be (smallest, largest), got {self.spectrum!r}")
        return smallest, largest

    def dims(self) -> tuple[int, ...] | None:
        return (len(self.precision),) if self.precision is not None else None

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        require_seed(self.name, seed)
        initial: Gaussian | GaussianMixture
        if self.instance == "mokrov2021":
            potential, initial = published_instance(dim, seed), standard_gaussian(dim)
        elif self.instance == "fan2022":
            potential, initial = fan_instance(dim, generator), standard_gaussian(dim)
        elif self.instance == "random":
            potential, initial = self._random(dim, generator)
        else:
            potential, initial = self._given()
            if dim != potential.dim:
                raise ValueError(f"{self.name}: the given A and b have dimension {potential.dim}, not {dim}")
        energy = FreeEnergy(potential, Entropy(self.inverse_temperature))
        truth = partial(ornstein_uhlenbeck_marginal, initial, potential, self.inverse_temperature)
        return Problem(flow=GradientFlow(initial, energy, self.times), measures=MEASURES, truth=truth)

    def _random(self, dim: int, generator: torch.Generator) -> tuple[Quadratic, Gaussian | GaussianMixture]:
        def normals(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        potential = Quadratic(random_spd(spread(*self._eigenvalue_range(), dim), generator), normals(dim))
        components = self.initial_components
        means = 2 * normals(components, dim)
        covariances = torch.stack([random_spd(spread(0.25, 1.0, dim), generator) for _ in range(components)])
        if components == 1:
            return potential, Gaussian(means[0], covariances[0])
        weights = torch.full((components,), 1 / components, dtype=torch.float64)
        return potential, GaussianMixture(weights, means, covariances)

    def _given(self) -> tuple[Quadratic, Gaussian]:
        if self.precision is None or self.centre is None:
            raise ValueError(f"{self.name}: instance='given' needs precision (A) and centre (b)")
        if not isinstance(self.precision, tuple) or not self.precision:
            raise ValueError(f"{self.name}: precision (A) must be a list of at least one row, got {self.precision!r}")
        dim = len(self.precision)
        potential = Quadratic(
            _numbers("precision (A)", self.precision, (dim, dim)), _numbers("centre (b)", self.centre, (dim,))
        )
        mean = torch.zeros(dim, dtype=torch.float64)
        covariance = torch.eye(dim, dtype=torch.float64)
        if self.initial_mean is not None:
            mean = _numbers("initial_mean", self.initial_mean, (dim,))
            require_finite(self.name, initial_mean=mean)
        if self.initial_covariance is not None:
            covariance = _numbers("initial_covariance", self.initial_covariance, (dim, dim))
            require_spd(self.name, "initial_covariance", covariance)
        return potential, Gaussian(mean, covariance)
