"""Flows that relax to a Gaussian mixture: V = -β⁻¹ log ρ*, from one wide Gaussian.

The stationary law ρ* = Σ_k w_k N(m_k, I) is known exactly, the marginals ρ_t before it are not. What the problem asks
for by default is ρ*, as in Mokrov et al. (NeurIPS 2021), section 5.1, and Fan et al. (ICML 2022), section 4.1, and the
solvers are given until ``times`` to come near. In one and two dimensions ρ_t itself can be asked for: a converged
solution on grids.

How near any solver can come is limited by the flow itself. The wells lie several standard deviations apart, and mass
crosses between them at a rate that falls exponentially with the barrier (Kramers, Physica 7, 1940): at the published
t = 4 an exact solution of the flow still differs from ρ* in the weights of its modes. A figure against ρ* below that
of the exact flow is an error of the solver too.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential
from problems.problem import Evidence, Problem, ProblemFamily
from problems.references.marginals_1d import reference_marginal
from problems.references.marginals_2d import Marginals2D
from problems.validation import (
    require_choice,
    require_counts,
    require_default,
    require_number,
    require_positive,
    require_seed,
    require_times,
)

MARGINAL_DIM = 2
"""The largest dimension in which ρ_t can be worked out on a grid."""

MEASURES = (
    "symkl",
    "kl",
    "symkl-published",
    "symkl-carried",
    "energy-distance",
    "sliced-w2",
    "bures-w2",
    "mode-weights",
)

PUBLISHED = {
    2: ("venus", 5, 5.0),
    4: ("earth", 6, 5.0),
    6: ("mars", 7, 5.0),
    8: ("saturn", 8, 5.0),
    10: ("jupiter", 9, 5.0),
    12: ("uran", 10, 5.0),
    13: ("mercury", 10, 5.0),
    32: ("earth", 10, 3.0),
    64: ("venus", 10, 3.0),
}
"""Key of the seed, number of centres and half-width of the cube of the centres, by dimension."""

FAN = {2: 5.0, 4: 5.0, 8: 5.0, 17: 3.0, 24: 3.0, 32: 3.0, 64: 2.0, 128: 1.5}
"""Half-width of the cube of the centres in Fan et al. (ICML 2022), by dimension: as their released runs have it."""
FAN_COMPONENTS = 10

KNOWN: Mapping[str, Mapping[int, object]] = {"mokrov2021": PUBLISHED, "fan2022": FAN}


def published_centres(dim: int, experiment: int) -> torch.Tensor:
    """Return the centres (K, D) of experiment number ``experiment`` of Mokrov et al. (NeurIPS 2021), bit for bit.

    Their seed is the CRC-32 of a text, and the centres are the first draw of torch's CPU generator, in float32.

    Raises ``KeyError`` for a dimension that was not published.
    """
    key, components, half_width = PUBLISHED[dim]
    source = torch.Generator().manual_seed(zlib.crc32(f"{key}@{dim}@{experiment}pytorch".encode()))
    return _uniform(components, dim, half_width, torch.float32, source).double()


def _uniform(
    components: int, dim: int, half_width: float, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    return 2 * half_width * torch.rand(components, dim, dtype=dtype, generator=generator) - half_width


@dataclass(frozen=True, kw_only=True)
class GaussianMixtureFlow(ProblemFamily):
    """Relaxation from N(0, initial_std² I) to a mixture of Gaussians, of unit width and equal weights but for yours.

    ``instance`` says where the centres come from:

    - ``"mokrov2021"``: instance number ``seed`` of the published comparison, in its dimensions 2, 4, …, 12, 13, 32, 64.
    - ``"fan2022"``: 10 centres drawn uniformly from a cube, as in Fan et al. (ICML 2022) and in their dimensions 2, 4,
      8, 17, 24, 32, 64 and 128, with the half-widths of their released runs. The law of their centres is known, not
      what they drew: each instance is another draw.
    - ``"random"``: ``components`` centres drawn uniformly from the cube [-half_width, half_width]^D.
    - ``"given"``: your own ``centres``, a list of D numbers for each component, which also say what D is; their
      ``weights`` need not sum to 1 (equal where they are left out), and ``widths`` are standard deviations in all
      directions (1 where they are left out). All seeds have the same instance.

    ``truth`` says what answers are measured against:

    - ``"stationary"``: the stationary law, whatever the time; see the module's text for what that means.
    - ``"marginal"``: ρ_t, in at most two dimensions, to about 1e-6 in SymKL. Working it out takes a part of a second at
      t = 4, and up to ten seconds at times around 1, when mass from far away is arriving.

    ``initial_std`` decides how far the exact flow itself still is from ρ*. At t = 4 on the published instances 0 to 4
    in the plane, the median SymKL of ρ_t and ρ* is .50, .15, .041 and .096 from a deviation of 1, 2, 4 and 8.

    Raises ``ValueError`` for values out of range, settings that the chosen instance does not use, and dimensions that
    the chosen instance or truth does not have.
    """

    name: ClassVar[str] = "gaussian-mixture"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    times: tuple[float, ...] = (4.0,)
    instance: str = "mokrov2021"
    components: int = 5
    half_width: float = 5.0
    inverse_temperature: float = 1.0
    initial_std: float = 4.0
    truth: str = "stationary"
    centres: tuple[tuple[float, ...], ...] | None = None
    weights: tuple[float, ...] | None = None
    widths: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require_choice(self.name, "instance", self.instance, ("mokrov2021", "fan2022", "random", "given"))
        require_choice(self.name, "truth", self.truth, ("stationary", "marginal"))
        require_times(self.name, self.times)
        require_counts(self.name, components=self.components)
        require_positive(
            self.name,
            half_width=self.half_width,
            inverse_temperature=self.inverse_temperature,
            initial_std=self.initial_std,
        )
        if self.instance != "random":
            require_default(
                self, ("components", "half_width"), f"only instance='random' uses it, not instance={self.instance!r}"
            )
        if self.instance != "given":
            own = f"only instance='given' uses it, not instance={self.instance!r}"
            require_default(self, ("centres", "weights", "widths"), own)
        else:
            self._check_given()

    def _check_given(self) -> None:
        """Raise ``ValueError`` for centres, weights and widths that do not make a mixture."""
        if not self.centres or not self.centres[0]:
            raise ValueError(f"{self.name}: instance='given' needs centres, such as [[-2.0, 0.0], [2.0, 1.0]]")
        dim = len(self.centres[0])
        for place, centre in enumerate(self.centres):
            if len(centre) != dim:
                raise ValueError(f"{self.name}: centres[{place}] has {len(centre)} number(s), the first has {dim}")
            require_number(self.name, **{f"centres[{place}][{axis}]": number for axis, number in enumerate(centre)})
        for name, values in (("weights", self.weights), ("widths", self.widths)):
            if values is None:
                continue
            if len(values) != len(self.centres):
                raise ValueError(f"{self.name}: {len(self.centres)} centres, but {len(values)} {name}")
            require_positive(self.name, **{f"{name}[{place}]": value for place, value in enumerate(values)})

    def dims(self) -> tuple[int, ...] | None:
        if self.centres is not None:
            own = len(self.centres[0])
            return (own,) if self.truth == "stationary" or own <= MARGINAL_DIM else ()
        most = MARGINAL_DIM if self.truth == "marginal" else max(*FAN, *PUBLISHED)
        if self.instance in KNOWN:
            return tuple(dim for dim in KNOWN[self.instance] if dim <= most)
        return tuple(range(1, MARGINAL_DIM + 1)) if self.truth == "marginal" else None

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        if self.truth == "marginal" and dim > MARGINAL_DIM:
            raise ValueError(
                f"{self.name}: truth='marginal' is known in dimensions 1 to {MARGINAL_DIM}, got {dim}; "
                f"truth='stationary' in any"
            )
        require_seed(self.name, seed)
        if self.centres is not None and dim != len(self.centres[0]):
            raise ValueError(f"{self.name}: the given centres have dimension {len(self.centres[0])}, got {dim}")
        if self.instance in KNOWN and dim not in KNOWN[self.instance]:
            known = ", ".join(map(str, KNOWN[self.instance]))
            raise ValueError(f"{self.name}: instance={self.instance!r} exists in dimensions {known}, got {dim}")
        if self.instance == "mokrov2021":
            centres = published_centres(dim, seed)
        elif self.instance == "fan2022":
            centres = _uniform(FAN_COMPONENTS, dim, FAN[dim], torch.float64, generator)
        elif self.centres is not None:
            centres = torch.tensor(self.centres, dtype=torch.float64)
        else:
            centres = _uniform(self.components, dim, self.half_width, torch.float64, generator)
        count = len(centres)
        identity = torch.eye(dim, dtype=torch.float64)
        weights = torch.full((count,), 1 / count, dtype=torch.float64)
        if self.weights is not None:
            weights = torch.tensor(self.weights, dtype=torch.float64)
            weights = weights / weights.sum()
        covariances = identity.repeat(count, 1, 1)
        if self.widths is not None:
            covariances = torch.tensor(self.widths, dtype=torch.float64)[:, None, None].square() * identity
        stationary = GaussianMixture(weights, centres, covariances)
        initial = Gaussian(torch.zeros(dim, dtype=torch.float64), self.initial_std**2 * identity)
        energy = FreeEnergy(MixturePotential(stationary, self.inverse_temperature), Entropy(self.inverse_temperature))
        flow = GradientFlow(initial, energy, self.times)
        if self.truth == "stationary":
            return Problem(flow, MEASURES, truth=lambda time: stationary, stationary=True, evidence=Evidence(0.0))
        marginal = Marginals2D(flow) if dim == 2 else functools.cache(functools.partial(reference_marginal, flow))
        return Problem(flow, MEASURES, truth=marginal)
