"""Flows moved, turned, and in other units of length and time: what a solver must answer alike.

With x' = cRx + b and t' = κt, R a rotation, dX = -∇V dt + √(2/β) dW becomes the flow of

    V'(x') = c²/κ V(x),    β' = βκ/c²,    ρ'(x') = c⁻ᴰ ρ(x),    and of a power entropy ερᵐ/(m-1)  ε' = ε c^{2+D(m-1)}/κ,

in other words the same flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from problems.barenblatt import Barenblatt
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.laws import Density, Gaussian, GaussianMixture, Law
from problems.linear_algebra import symmetrised
from problems.potentials import Flat, Potential, Quadratic
from problems.problem import Problem

IMMOVABLE = "is not moved here"


@dataclass(frozen=True, eq=False)
class Motion:
    """x' = cRx + b and t' = κt with R = ``turn`` (D, D), c = ``length``, b = ``shift`` (D,) and κ = ``time``."""

    turn: torch.Tensor
    shift: torch.Tensor
    length: float = 1.0
    time: float = 1.0

    def there(self, x: torch.Tensor) -> torch.Tensor:
        """Return x' of points ``x`` (n, D)."""
        return self.length * (x @ self.turn.T) + self.shift

    def back(self, x: torch.Tensor) -> torch.Tensor:
        """Return x of points x', ``x`` (n, D)."""
        return ((x - self.shift) / self.length) @ self.turn

    def law(self, law: Law) -> Law:
        """Return the law of x' for x of a ``law`` with a density.

        Raises ``ValueError`` for a law without one.
        """
        if isinstance(law, Gaussian):
            return Gaussian(self.there(law.mean[None])[0], self._covariance(law.covariance))
        if isinstance(law, GaussianMixture):
            return GaussianMixture(law.weights, self.there(law.means), self._covariance(law.covariances))
        if isinstance(law, Barenblatt):
            return replace(law, mean=self.there(law.mean[None])[0], shape=self._covariance(law.shape))
        if not isinstance(law, Density):
            raise ValueError(f"{type(law).__name__} {IMMOVABLE}")
        return MovedLaw(law, self)

    def _covariance(self, covariance: torch.Tensor) -> torch.Tensor:
        return self.length**2 * symmetrised(self.turn @ covariance @ self.turn.T)

    def potential(self, potential: Potential) -> Potential:
        """Return V'."""
        if isinstance(potential, Flat):
            return potential
        if isinstance(potential, Quadratic):
            precision = symmetrised(self.turn @ potential.precision @ self.turn.T) / self.time
            return Quadratic(precision, self.there(potential.centre[None])[0])
        return MovedPotential(potential, self)

    def problem(self, problem: Problem) -> Problem:
        """Return the moved problem.

        Raises ``ValueError`` where it has observations, an interaction, or an internal energy that is not known here.
        """
        flow = problem.flow
        if problem.observations is not None or flow.energy.interaction is not None:
            raise ValueError(f"a problem with observations or an interaction {IMMOVABLE}")
        energy = FreeEnergy(self.potential(flow.energy.potential), self.internal(flow.energy.internal, flow.dim))
        truth: Callable[[float], Law] | None = None
        if problem.truth is not None:
            exact = problem.truth
            truth = lambda time: self.law(exact(time / self.time))  # noqa: E731
        moved = GradientFlow(self.law(flow.initial), energy, tuple(self.time * time for time in flow.times))
        return replace(problem, flow=moved, truth=truth)

    def internal(self, internal: InternalEnergy | None, dim: int) -> InternalEnergy | None:
        """Return U'.

        Raises ``ValueError`` for an internal energy that is not known here.
        """
        if internal is None:
            return None
        if isinstance(internal, Entropy):
            return Entropy(internal.inverse_temperature * self.time / self.length**2)
        if isinstance(internal, PowerEntropy):
            power = 2 + dim * (internal.exponent - 1)
            return replace(internal, coefficient=internal.coefficient * self.length**power / self.time)
        raise ValueError(f"{type(internal).__name__} {IMMOVABLE}")


@dataclass(frozen=True, eq=False)
class MovedLaw(Density):
    """The law of x' for x ~ ``law``."""

    base: Density
    motion: Motion

    @property
    def dim(self) -> int:
        return self.base.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.motion.there(self.base.sample(n, generator))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.base.log_prob(self.motion.back(x)) - self.dim * math.log(self.motion.length)

    def score(self, x: torch.Tensor) -> torch.Tensor | None:
        found = self.base.score(self.motion.back(x))
        return None if found is None else found @ self.motion.turn.T / self.motion.length

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, covariance = self.base.moments()
        turn = self.motion.turn
        return self.motion.there(mean[None])[0], self.motion.length**2 * symmetrised(turn @ covariance @ turn.T)

    @property
    def support_radius(self) -> float | None:
        radius = self.base.support_radius
        return None if radius is None else self.motion.length * radius


@dataclass(frozen=True, eq=False)
class MovedPotential(Potential):
    """V'(x') = c²/κ V(x)."""

    base: Potential
    motion: Motion

    @property
    def dim(self) -> int:
        return self.base.dim

    @property
    def _energy(self) -> float:
        return self.motion.length**2 / self.motion.time

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self._energy * self.base.value(self.motion.back(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.base.gradient(self.motion.back(x))
        return (self._energy / self.motion.length) * (slope @ self.motion.turn.T)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        turn = self.motion.turn
        hessian: torch.Tensor = turn @ self.base.hessian(self.motion.back(x)) @ turn.T
        return hessian / self.motion.time


def rotation(dim: int, generator: torch.Generator) -> torch.Tensor:
    """Return a random rotation (D, D); on the line, the identity."""
    if dim == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    turn: torch.Tensor
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator))
    if float(torch.linalg.det(turn)) < 0:
        turn[:, 0] = -turn[:, 0]
    return turn
