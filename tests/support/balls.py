"""Laws of compact support that tests of several parts share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems import barenblatt
from problems.barenblatt import Barenblatt
from problems.flow import FreeEnergy, GradientFlow, PowerEntropy
from problems.laws import Law
from problems.potentials import Flat
from problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Ring(Law):
    """The uniform law on a circle about 0: no density, a radius that is known, marginals that it does not tell."""

    radius: float

    @property
    def dim(self) -> int:
        return 2

    @property
    def support_radius(self) -> float:
        return self.radius

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
        return self.radius * torch.stack([angle.cos(), angle.sin()], dim=1)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(2, dtype=torch.float64), 0.5 * self.radius**2 * torch.eye(2, dtype=torch.float64)

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return torch.full_like(levels, self.radius)


def peak(dim: int) -> float:
    """Return the density of the ball of radius 1 at its mean, Γ(D/2 + 2) / π^(D/2)."""
    return math.gamma(dim / 2 + 2) / math.pi ** (dim / 2)


def ball(dim: int, radius: float = 1.0, shift: float = 0.0, exponent: float = 2.0) -> Barenblatt:
    """Return Barenblatt's law on the ball of this radius about (shift, 0, …)."""
    mean = torch.zeros(dim, dtype=torch.float64)
    mean[0] = shift
    return barenblatt.ball(mean, radius, exponent)


def radius_from_point(dim: int, exponent: float, time: float) -> float:
    """Return what a point mass has spread to by a time in ∂ρ = Δρᵐ (Barenblatt 1952).

    R^q = 2m/(m-1) Z^{m-1} q t with q = D(m-1) + 2 and the density Z of the ball of radius 1 at its mean.
    """
    power, q = 1 / (exponent - 1), dim * (exponent - 1) + 2
    peak = math.gamma(dim / 2 + power + 1) / (math.pi ** (dim / 2) * math.gamma(power + 1))
    return float((2 * exponent * power * peak ** (exponent - 1) * q * time) ** (1 / q))


def square_integral(law: Barenblatt) -> float:
    """Return ∫ρ²."""
    return law.internal_energy(PowerEntropy(2.0))


def spreading(law: Law, energy: FreeEnergy | None = None, **known: object) -> Problem:
    """Return a problem that begins at this law, by default the one of ∫ρ²."""
    energy = FreeEnergy(Flat(law.dim), PowerEntropy(2.0)) if energy is None else energy
    return Problem(GradientFlow(law, energy, (1.0,)), (), None, **known)  # type: ignore[arg-type]
