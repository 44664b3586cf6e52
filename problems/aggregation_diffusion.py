"""Aggregation against diffusion in the plane: ∂ρ = ∇·(ρ ∇W∗ρ) + ε Δρᵐ, W(z) = -exp(-|z|²)/π, from a uniform square.

The square gathers into four clusters, which merge into a disc at rest (Carrillo, Craig, Wang, Wei, Found. Comput. Math.
22, 2022, §4.3; Fan, Zhang, Taghvaei, Chen, ICML 2022, §4.4). W∗ρ is the derivative of ½∬Wρρ: with the ½, the disc has
radius 0.78875351339918 and energy -0.0867637175666 for ε = 0.1, m = 3.

The truth is the disc to fourteen digits (``problems/references/radial_equilibrium.py``) for late times, and finite
volumes with a declared error for early ones; between them, while clusters merge, no grid of ours is sure of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from problems.flow import FreeEnergy, GradientFlow, PowerEntropy
from problems.interactions import GaussianAttraction
from problems.laws import Law
from problems.potentials import Flat
from problems.problem import Problem, ProblemFamily
from problems.references.finite_volumes_marginals import Marginals, marginals
from problems.references.radial_equilibrium import RadialEquilibrium
from problems.uniform import Uniform
from problems.validation import require_positive, require_seed, require_times

MEASURES = (
    "energy-gap",
    "l1",
    "hellinger",
    "w2",
    "support-radius",
    "mass-outside",
    "sliced-w2",
    "energy-distance",
)
# Until then the grid's error is small, and from then on the law is the disc (both for the settings by default).
EARLY = 30.0
LATE = 400.0
# Of the reference, along the square's side and a third more: the square's edges are edges of cells.
CELLS = 128
ROOM = 4 / 3


@dataclass(frozen=True, kw_only=True)
class AggregationDiffusion(ProblemFamily):
    """Aggregation-diffusion from the uniform square of ``half_width`` 3, with ε = ``coefficient``, m = ``exponent``.

    Instance 0 is about the origin, every other one about a standard normal point. By ``stationary`` the law at rest is
    asked for, which the flow comes near to after time 150. Otherwise the truth is known at times to 30, by finite
    volumes (about a second, when first asked for; its declared error in L1 is .013 at 10, .020 at 20, .024 at 30), and
    from 400 on where the other settings are those by default.

    Raises ``ValueError`` for settings out of range, an exponent that is not above 1, and any dimension but 2.
    """

    name: ClassVar[str] = "aggregation-diffusion"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("l1", "hellinger", "energy-distance")
    times: tuple[float, ...] = (10.0, 20.0, 30.0)
    half_width: float = 3.0
    coefficient: float = 0.1
    exponent: float = 3.0
    stationary: bool = False

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_positive(self.name, half_width=self.half_width, coefficient=self.coefficient, exponent=self.exponent)
        if self.exponent <= 1:
            raise ValueError(
                f"{self.name}: exponent must be above 1, for a law at rest of compact support; got {self.exponent:g}"
            )

    def dims(self) -> tuple[int, ...]:
        return (2,)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        if dim != 2:
            raise ValueError(f"{self.name}: exists in dimension 2 only, got {dim}")
        require_seed(self.name, seed)
        centre = torch.zeros(2, dtype=torch.float64)
        if seed:
            centre = torch.randn(2, generator=generator, dtype=torch.float64)
        internal, interaction = PowerEntropy(self.exponent, self.coefficient), GaussianAttraction(2)
        initial = Uniform(centre, torch.full((2,), self.half_width, dtype=torch.float64))
        flow = GradientFlow(initial, FreeEnergy(Flat(2), internal, interaction), self.times)
        standard = (self.half_width, self.coefficient, self.exponent) == (3.0, 0.1, 3.0)
        if not self.stationary and not all(t <= EARLY or (standard and t >= LATE) for t in self.times):
            late = f" and from {LATE:g} on" if standard else ""
            why = f"known at times to {EARLY:g}{late}: in between, grids differ on when clusters merge"
            return Problem(flow, MEASURES, None, why)
        truth = GatheringLaws(flow, internal, interaction, at_rest=0.0 if self.stationary else LATE)
        return Problem(flow, MEASURES, truth, stationary=self.stationary, free_energy=truth.free_energy)


@dataclass(frozen=True, eq=False)
class GatheringLaws:
    """The true laws of the flow: from ``at_rest`` on the equilibrium, before by finite volumes, when first asked for.

    Those at the flow's own times are worked out together, since later ones contain the work for earlier ones.
    """

    flow: GradientFlow
    internal: PowerEntropy
    interaction: GaussianAttraction
    at_rest: float
    solutions: dict[float, tuple[Marginals, int]] = field(default_factory=dict)
    laws: dict[float, Law] = field(default_factory=dict)
    resting: list[RadialEquilibrium] = field(default_factory=list)

    def __call__(self, time: float) -> Law:
        """Return the law at ``time`` > 0.

        Raises ``ArithmeticError`` where no equilibrium is found, or the finite volumes break down.
        """
        if time >= self.at_rest:
            return self._equilibrium()
        if time not in self.laws:
            found, index = self._solution(time)
            self.laws[time] = found.law(index)
        return self.laws[time]

    def free_energy(self, time: float) -> float:
        """Return F of the law at ``time`` > 0; by finite volumes it is the limit of three grids."""
        if time >= self.at_rest:
            return self._equilibrium().free_energy()
        found, index = self._solution(time)
        return found.energy_limits[index]

    def error(self, time: float) -> float:
        """Return the declared error in L1 of the law at ``time`` > 0, 0 for the equilibrium."""
        if time >= self.at_rest:
            return 0.0
        found, index = self._solution(time)
        return found.errors[index]

    def _equilibrium(self) -> RadialEquilibrium:
        if not self.resting:
            centre = self.flow.initial.moments()[0]
            self.resting.append(RadialEquilibrium.solved(self.internal, self.interaction, centre))
        return self.resting[0]

    def _solution(self, time: float) -> tuple[Marginals, int]:
        if time not in self.solutions:
            early = tuple(t for t in self.flow.times if t < self.at_rest)
            times = early if time in early else (time,)
            flow = GradientFlow(self.flow.initial, self.flow.energy, times)
            assert isinstance(flow.initial, Uniform)
            reach = ROOM * flow.initial.half_widths
            lower, upper = ((flow.initial.mean + sign * reach).tolist() for sign in (-1, 1))
            found = marginals(flow, (tuple(lower), tuple(upper)), (CELLS, CELLS))
            self.solutions.update({t: (found, index) for index, t in enumerate(times)})
        return self.solutions[time]
