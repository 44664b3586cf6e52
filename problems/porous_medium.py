"""Porous medium flows ∂ρ = εΔρᵐ + ∇·(ρ∇(V + W∗ρ)), and fast diffusion for m < 1, known exactly at every time.

They start from Barenblatt's law (``problems.barenblatt``), which stays one where V is linear or quadratic and W
quadratic: the free energy is F(ρ) = ε/(m-1) ∫ρᵐ + ∫Vρ + ½∬Wρρ, and ``problems.references.elliptical_flow`` has the
law. Compact laws are infinitely far apart in SymKL, however near their radii.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from problems.barenblatt import Barenblatt, ball, require_exponent
from problems.flow import FreeEnergy, GradientFlow, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Law
from problems.linear_algebra import random_spd, spread
from problems.potentials import Flat, Linear, Potential, Quadratic
from problems.problem import Problem, ProblemFamily
from problems.references.elliptical_energy import elliptical_energy
from problems.references.elliptical_flow import elliptical_marginal, unit_radius_time
from problems.references.released_porous_medium import RADII, released_radius
from problems.validation import (
    require_choice,
    require_counts,
    require_default,
    require_number,
    require_positive,
    require_seed,
    require_times,
)

INSTANCES = ("fan2022", "fan2022-released", "ball", "random")
PUBLISHED_STARTS = {1: 2e-3, 3: 1e-3, 6: 1e-3}
"""Time t₀ since the point mass at which the published flows start, by dimension."""

OF_DENSITIES = ("l1", "hellinger")
OF_EDGES = ("support-radius", "mass-outside")
OF_TAILS = ("symkl", "kl")
OF_MOMENTS = ("energy-gap", "w2", "sliced-w2", "energy-distance", "bures-w2")
MEASURES = (*OF_DENSITIES, *OF_EDGES, *OF_TAILS, *OF_MOMENTS)


@dataclass(frozen=True, kw_only=True)
class PorousMedium(ProblemFamily):
    """Porous medium flows and fast diffusion from Barenblatt's law, exact at every time.

    ``instance`` says where they start:

    - ``"fan2022"``: as a point mass has spread by t₀ = .002 on the line, by .001 in dimensions 3 and 6 (Fan, Zhang,
      Taghvaei, Chen, ICML 2022), with ``exponent`` m. The published steps are .001, or .0005 in dimensions 3 and 6;
      t counts from t₀.
    - ``"fan2022-released"``: the ball of radius .4 or .6 that their code gives particles of mass 1 in dimensions 3 and
      6. The truth is the flow of that mass. The reference they were compared with has another mass:
      ``problems.references.released_porous_medium`` has it.
    - ``"ball"``: the ball of ``radius`` about 0, or the one at ``start_time`` after a point mass; by default radius 1.
      V is ``confinement`` ½λ|x|² and ``tilt`` τ x₁; with both, V is their sum less its minimum -τ²/2λ.
    - ``"random"``: an ellipsoid of semi-axes between 0.7 and 1.4 times that radius, which is their geometric mean, with
      random axes and mean; λ is the geometric mean of V's stiffnesses, from λ/2 to 2λ on axes of their own, and the
      tilt has a random direction.

    ``coefficient`` is ε, ``attraction`` the κ of W = ½κ|z|². The flow keeps its mass for m > 1 - 2/D; its energy and
    JKO steps are finite for m > D/(D+2) only.

    Raises ``ValueError`` for values out of range or that the chosen instance does not use, and for dimensions that the
    instance or the exponent does not have.
    """

    name: ClassVar[str] = "porous-medium"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("l1", "hellinger", "energy-distance")
    known_between: ClassVar[bool] = True
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"instance": "fan2022"},
        {"instance": "random", "confinement": 1.0},
    )
    times: tuple[float, ...] = (0.001, 0.005, 0.025)
    instance: str = "fan2022"
    exponent: float = 2.0
    coefficient: float = 1.0
    confinement: float = 0.0
    tilt: float = 0.0
    attraction: float = 0.0
    radius: float | None = None
    start_time: float | None = None

    def __post_init__(self) -> None:
        require_choice(self.name, "instance", self.instance, INSTANCES)
        require_times(self.name, self.times)
        require_positive(self.name, exponent=self.exponent, coefficient=self.coefficient)
        if self.exponent == 1:
            raise ValueError(f"{self.name}: exponent must not be 1: mckean-vlasov and ornstein-uhlenbeck diffuse so")
        require_number(self.name, at_least=0, confinement=self.confinement, attraction=self.attraction)
        require_number(self.name, tilt=self.tilt)
        for name, value in (("radius", self.radius), ("start_time", self.start_time)):
            if value is not None:
                require_positive(self.name, **{name: value})
        if self.radius is not None and self.start_time is not None:
            raise ValueError(f"{self.name}: give radius or start_time, not both: one decides the other")
        if self.instance.startswith("fan2022"):
            of_others = ("coefficient", "confinement", "tilt", "attraction", "radius", "start_time")
            released = ("exponent",) if self.instance == "fan2022-released" else ()
            require_default(self, of_others + released, f"instance={self.instance!r} does not use it")

    def dims(self) -> tuple[int, ...] | None:
        if self.instance == "fan2022-released":
            return tuple(RADII)
        if self.instance == "fan2022":
            return tuple(dim for dim in PUBLISHED_STARTS if PowerEntropy(self.exponent).without_flow(dim) is None)
        if self.exponent > 1:
            return None
        most = int(2 / (1 - self.exponent)) + 1
        return tuple(dim for dim in range(1, most + 1) if PowerEntropy(self.exponent).without_flow(dim) is None)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        require_seed(self.name, seed)
        require_exponent(self.name, self.exponent, dim)
        radius = self._radius(dim)
        if self.instance == "random":
            initial, potential = self._random(dim, radius, generator)
        else:
            zero = torch.zeros(dim, dtype=torch.float64)
            initial = ball(zero, radius, self.exponent)
            direction = torch.eye(dim, dtype=torch.float64)[0]
            potential = self._potential(torch.eye(dim, dtype=torch.float64), direction)
        internal = PowerEntropy(self.exponent, self.coefficient)
        if self.attraction and (reason := internal.without_step(dim)) is not None:
            raise ValueError(f"{self.name}: attraction needs a second moment: {reason}")
        interaction = QuadraticInteraction(dim, self.attraction) if self.attraction else None
        flow = GradientFlow(initial, FreeEnergy(potential, internal, interaction), self.times)
        energy = elliptical_energy(flow)
        truth = functools.cache(functools.partial(elliptical_marginal, initial, energy))
        finite = internal.without_step(dim) is None
        free_energy = (lambda t: energy.value(truth(t))) if finite else None
        return Problem(flow, measures_of(initial), truth=truth, free_energy=free_energy)

    def _radius(self, dim: int) -> float:
        start = self.start_time
        if self.instance == "fan2022-released":
            return released_radius(dim)
        if self.instance == "fan2022":
            if dim not in PUBLISHED_STARTS:
                known = ", ".join(map(str, PUBLISHED_STARTS))
                raise ValueError(f"{self.name}: instance='fan2022' exists in dimensions {known}, got {dim}")
            start = PUBLISHED_STARTS[dim]
        if start is None:
            return 1.0 if self.radius is None else self.radius
        power, unit = unit_radius_time(self.exponent, dim, self.coefficient)
        return float((start / unit) ** (1 / power))

    def _potential(self, axes: torch.Tensor, direction: torch.Tensor) -> Potential:
        """Return V = ½λ xᵀPx + τ d·x, less its minimum where λ > 0, of P = ``axes`` (D, D) and a unit vector d (D,)."""
        slope = self.tilt * direction
        if not self.confinement:
            return Linear(slope) if self.tilt else Flat(len(direction))
        precision = self.confinement * axes
        return Quadratic(precision, -torch.linalg.solve(precision, slope) if self.tilt else torch.zeros_like(slope))

    def _random(self, dim: int, radius: float, generator: torch.Generator) -> tuple[Barenblatt, Potential]:
        def normals() -> torch.Tensor:
            return torch.randn(dim, generator=generator, dtype=torch.float64)

        shape = radius**2 * random_spd(spread(0.5, 2.0, dim), generator)
        initial = Barenblatt(radius * normals(), shape, self.exponent)
        axes, direction = random_spd(spread(0.5, 2.0, dim), generator), normals()
        return initial, self._potential(axes, direction / direction.norm())


def measures_of(law: Law) -> tuple[str, ...]:
    """Return the names of the measures that make sense between laws of this kind: by its ends and its moments."""
    ends = OF_EDGES if law.support_radius is not None else OF_TAILS
    finite = bool(torch.isfinite(law.moments()[1]).all())
    return (*OF_DENSITIES, *ends, *(OF_MOMENTS if finite else ()))
