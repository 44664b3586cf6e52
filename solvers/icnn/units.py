"""A step in units of the particles: lengths in their own spread s about their mean c, energies in a unit e.

With x = c + s y the objective of a step of h in V, U, W is e times that of a step of

    τ = he/s²    in    V(c + sy)/e,    U of ρ = s⁻ᴰ ρ_y,    W(sz)/e,

so that a flow is followed alike whatever its units of length and time are, and wherever it is. e is the mean pressure
per mass plus the root mean square of s times the force on a particle: what moves particles by their own spread in
τ = 1. τ then says how far a step moves them, in their spread. For an entropy alone e = β⁻¹.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from problems.devices import to_device
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import GradientFlow
from problems.interactions import Interaction
from problems.potentials import FiniteSum, Flat, Potential
from solvers.icnn.pairs import SOME, FramedInteraction, field, sums_over_pairs
from solvers.icnn.step_objective import StepObjective, StepScheme, gradient_at
from solvers.maps import ScoreCarryingMap
from solvers.solver import Diverged

# Particles whose forces tell the unit of energy of a potential that is a sum over many cases; of others it is all.
ASKED = 8192


@dataclass(frozen=True)
class Frame:
    """Coordinates y = (x - c)/s of points x, with c = ``centre`` (D,), float64, and s = ``length``."""

    centre: torch.Tensor
    length: float

    @classmethod
    def about(cls, points: torch.Tensor) -> Frame:
        """Return the coordinates in which ``points`` (n, D) have the mean 0 and variances of mean 1."""
        exact = points.double()
        mean = exact.mean(0)
        return cls(mean.cpu(), math.sqrt(float((exact - mean).square().mean())))

    @property
    def log_volume(self) -> float:
        """D log s: log ρ of the coordinates y less log ρ of x."""
        return len(self.centre) * math.log(self.length)

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        """Return y of points ``x`` (n, D), in their dtype."""
        return (x - self.centre.to(x)) / self.length

    def outside(self, y: torch.Tensor) -> torch.Tensor:
        """Return x of coordinates ``y`` (n, D), float64."""
        return self.centre.to(y.device) + self.length * y.double()

    def then(self, inner: Frame) -> Frame:
        """Return the coordinates that ``inner`` makes of these."""
        return Frame(self.centre + self.length * inner.centre, self.length * inner.length)


@dataclass(frozen=True, eq=False)
class FramedMap(ScoreCarryingMap):
    """A map T of the coordinates y of a frame as a map of the points x; its Jacobian is that of T."""

    step: ScoreCarryingMap
    frame: Frame

    def push(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame.outside(self.step.push(self.frame.inside(x)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, log_det = self.step.forward(self.frame.inside(x))
        return self.frame.outside(mapped), log_det

    def push_with_score(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, found = self.step.push_with_score(self.frame.inside(x), score * self.frame.length)
        return self.frame.outside(mapped), found / self.frame.length

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, log_det = self.step.inverse(self.frame.inside(y))
        return self.frame.outside(x), log_det


@dataclass(frozen=True, eq=False)
class FramedPotential(Potential):
    """V(c + sy)/e as a function of y; V is worked out in float64, so that no digits are lost to where c is."""

    potential: Potential
    frame: Frame
    energy: float

    @property
    def dim(self) -> int:
        return self.potential.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return (self.potential.value(self.frame.outside(x)) / self.energy).to(x.dtype)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (self.potential.gradient(self.frame.outside(x)) * (self.frame.length / self.energy)).to(x.dtype)

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = self.potential.value_and_gradient(self.frame.outside(x))
        return (value / self.energy).to(x.dtype), (gradient * (self.frame.length / self.energy)).to(x.dtype)


def internal_in(internal: InternalEnergy | None, log_volume: float, energy: float) -> InternalEnergy | None:
    """Return U in coordinates of D log s = ``log_volume`` and the unit ``energy``; of an entropy, but for a constant.

    Raises ``Diverged`` where that leaves the range of numbers, and ``TypeError`` for other internal energies.
    """
    if internal is None:
        return None
    if isinstance(internal, Entropy):
        return replace(internal, inverse_temperature=internal.inverse_temperature * energy)
    if isinstance(internal, PowerEntropy):
        exponent = -(internal.exponent - 1) * log_volume + math.log(internal.coefficient) - math.log(energy)
        if abs(exponent) > math.log(1e300):
            raise Diverged("the density of the particles leaves the range of numbers")
        return replace(internal, coefficient=math.exp(exponent))
    raise TypeError(f"no units are known of the internal energy {internal!r}")


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one step of a flow: the ``frame`` of its particles, and the unit of energy."""

    frame: Frame
    energy: float

    @classmethod
    def of(
        cls, flow: GradientFlow, frame: Frame, potential: Potential, pool: torch.Tensor, density: torch.Tensor | None
    ) -> Units:
        """Return the units for particles ``pool`` (n, D) with log-densities ``density`` (n,), in the frame.

        ``potential`` is that of the flow on their device, in float64. Raises ``Diverged`` where energies are not
        finite, and ``ValueError`` where the potential's gradient has another shape than the points.
        """
        dim = pool.shape[1]
        interaction = to_device(flow.energy.interaction, pool.device, pool.dtype)
        points = pool if interaction is None or not sums_over_pairs(interaction) else pool[:SOME]
        points = points[:ASKED] if isinstance(flow.potential, FiniteSum) else points
        force = frame.length * gradient_at(potential, frame.outside(points))
        if interaction is not None:
            force = force + frame.length * field(interaction, frame.length * points).double()
        energy = math.sqrt(float(force.square().sum(1).mean()) / dim)
        internal = internal_in(flow.energy.internal, frame.log_volume, 1.0)
        if isinstance(internal, Entropy):
            energy += 1 / internal.inverse_temperature
        elif internal is not None:
            assert density is not None
            energy += float(internal.pressure(density.double()).mean())
        if not math.isfinite(energy):
            raise Diverged("the forces on the particles or their pressure are not finite")
        # Where the particles are, once a step: a recorded iteration cannot move its centre there.
        return cls(to_device(frame, pool.device, torch.float64), energy if energy > 0 else 1.0)

    def step_size(self, scheme: StepScheme) -> float:
        """Return τ of a step."""
        return scheme.step_size * self.energy / self.frame.length / self.frame.length

    def objective(
        self,
        scheme: StepScheme,
        potential: Potential,
        internal: InternalEnergy | None,
        interaction: Interaction | None,
    ) -> StepObjective:
        """Return the objective of a step of particles in the frame, given V, U and W of points x."""
        return StepObjective(
            potential if isinstance(potential, Flat) else FramedPotential(potential, self.frame, self.energy),
            internal_in(internal, self.frame.log_volume, self.energy),
            self.step_size(scheme),
            scheme.implicitness,
            None if interaction is None else FramedInteraction(interaction, self.frame.length, self.energy),
        )
