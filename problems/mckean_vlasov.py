"""McKean and Vlasov's equation with quadratic interaction: diffusing particles that attract each other, in a well.

    ∂ρ = ∇·(ρ∇(V + W∗ρ)) + β⁻¹Δρ,    V = ½ (x-b)ᵀA(x-b),    W = ½κ|z|²,

(McKean, Proc. Natl. Acad. Sci. 56, 1966), known exactly (``problems.references.mckean_vlasov_flow``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian, GaussianMixture
from problems.linear_algebra import random_spd, spread
from problems.potentials import Flat, Potential, Quadratic
from problems.problem import Problem, ProblemFamily
from problems.references.elliptical_energy import EllipticalEnergy
from problems.references.mckean_vlasov_flow import mckean_vlasov_marginal
from problems.validation import (
    require_choice,
    require_counts,
    require_default,
    require_positive,
    require_seed,
    require_times,
)

MEASURES = (
    "symkl",
    "kl",
    "symkl-published",
    "symkl-carried",
    "symkl-gaussian",
    "energy-gap",
    "bures-w2",
    "energy-distance",
    "sliced-w2",
)


@dataclass(frozen=True, kw_only=True)
class McKeanVlasov(ProblemFamily):
    """Random flows with an attraction of ``strength`` κ, exact at every time.

    - ``internal``: ``"entropy"`` for diffusion at ``inverse_temperature`` β, ``"none"`` without.
    - ``potential``: ``"quadratic"``, with A of Haar-distributed eigenvectors and eigenvalues spaced evenly in the
      logarithm over ``spectrum`` = (smallest, largest), and b ~ N(0, I); or ``"none"``.
    - ρ0 is a mixture with ``initial_components`` equal weights, means drawn from N(0, 4I) and covariances with
      eigenvalues from ¼ to 1 whose eigenvectors are independent of A's, so that ρ0 and A do not commute.

    The free energy is known exactly but for the entropy of several components.

    Raises ``ValueError`` for values out of range, or that the others make useless, and ``build`` for times at which a
    law without entropy has become a point.
    """

    name: ClassVar[str] = "mckean-vlasov"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    known_between: ClassVar[bool] = True
    times: tuple[float, ...] = (0.5, 1.0)
    strength: float = 1.0
    internal: str = "entropy"
    inverse_temperature: float = 1.0
    potential: str = "quadratic"
    spectrum: tuple[float, float] = (0.5, 2.0)
    initial_components: int = 1

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_choice(self.name, "internal", self.internal, ("entropy", "none"))
        require_choice(self.name, "potential", self.potential, ("quadratic", "none"))
        require_positive(self.name, strength=self.strength, inverse_temperature=self.inverse_temperature)
        require_counts(self.name, initial_components=self.initial_components)
        if not isinstance(self.spectrum, tuple) or len(self.spectrum) != 2:
            raise ValueError(f"{self.name}: spectrum must be (smallest, largest), got {self.spectrum!r}")
        smallest, largest = self.spectrum
        require_positive(self.name, **{"spectrum[0]": smallest, "spectrum[1]": largest})
        if smallest > largest:
            raise ValueError(f"{self.name}: spectrum must be (smallest, largest), got {self.spectrum!r}")
        if self.internal == "none":
            require_default(self, ("inverse_temperature",), "internal='none' does not use it")
        if self.potential == "none":
            require_default(self, ("spectrum",), "potential='none' does not use it")

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        require_seed(self.name, seed)

        def normals(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        well = Quadratic(random_spd(spread(*self.spectrum, dim), generator), normals(dim))
        potential: Potential = well if self.potential == "quadratic" else Flat(dim)
        initial = self._initial(2 * normals(self.initial_components, dim), generator)
        internal = Entropy(self.inverse_temperature) if self.internal == "entropy" else None
        flow = GradientFlow(
            initial, FreeEnergy(potential, internal, QuadraticInteraction(dim, self.strength)), self.times
        )
        energy = EllipticalEnergy(potential, internal, self.strength)
        beta = math.inf if internal is None else self.inverse_temperature
        truth = functools.partial(mckean_vlasov_marginal, initial, energy, beta)
        if internal is None:
            self._require_width(truth)
        known = internal is None or isinstance(initial, Gaussian)
        free_energy = (lambda t: energy.value(truth(t))) if known else None
        return Problem(flow, MEASURES, truth=truth, free_energy=free_energy)

    def _require_width(self, truth: Callable[[float], Gaussian | GaussianMixture]) -> None:
        """Raise ``ValueError`` where a time is so late that the law has no covariance of full rank in float64."""
        for time in self.times:
            try:
                truth(time)
            except ValueError as error:
                raise ValueError(
                    f"{self.name}: times must be earlier with internal='none': the law only narrows, and at {time:g} "
                    "it is a point, or flat, to all digits"
                ) from error

    def _initial(self, means: torch.Tensor, generator: torch.Generator) -> Gaussian | GaussianMixture:
        components, dim = means.shape
        covariances = torch.stack([random_spd(spread(0.25, 1.0, dim), generator) for _ in range(components)])
        if components == 1:
            return Gaussian(means[0], covariances[0])
        weights = torch.full((components,), 1 / components, dtype=torch.float64)
        return GaussianMixture(weights, means, covariances)
