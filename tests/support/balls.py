"""A law of compact support with closed forms: what a point becomes in the flow of ∫ρ², in any dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import beta

from problems.flow import FreeEnergy, GradientFlow, PowerEntropy
from problems.laws import Density, Law
from problems.potentials import Flat
from problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Ball(Density):
    """ρ(x) ∝ (1 - |x - mean|²/radius²)₊ in D dimensions, with everything that a law may know of itself."""

    mean: torch.Tensor
    radius: float

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def support_radius(self) -> float:
        return self.radius

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        # |y|² ~ Beta(D/2, 2): of a standard normal and two exponential variables.
        normal = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        rest = -torch.rand(n, 2, generator=generator, dtype=torch.float64).log().sum(1)
        squared = 0.5 * normal.square().sum(1)
        direction = normal / normal.norm(dim=1, keepdim=True)
        return self.mean + self.radius * (squared / (squared + rest)).sqrt()[:, None] * direction

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        inside = 1 - (x - self.mean).square().sum(1) / self.radius**2
        return (peak(self.dim) / self.radius**self.dim * inside.clamp(min=0)).log()

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, self.radius**2 / (self.dim + 4) * torch.eye(self.dim, dtype=torch.float64)

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        shape = 1 + (self.dim + 1) / 2
        centred = torch.from_numpy(2 * beta.ppf(levels.numpy(), shape, shape) - 1)
        return (directions @ self.mean)[:, None] + self.radius * centred

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return self.radius * torch.from_numpy(beta.ppf(levels.numpy(), self.dim / 2, 2)).sqrt()

    @property
    def energy(self) -> float:
        """∫ρ²: 4 peak / (D + 4) in units of the radius."""
        return 4 * peak(self.dim) / (self.dim + 4) / self.radius**self.dim


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


def ball(dim: int, radius: float = 1.0, shift: float = 0.0) -> Ball:
    """Return the ball about (shift, 0, …)."""
    mean = torch.zeros(dim, dtype=torch.float64)
    mean[0] = shift
    return Ball(mean, radius)


def spreading(law: Law, energy: FreeEnergy | None = None, **known: object) -> Problem:
    """Return a problem that begins at this law, by default the one of ∫ρ²."""
    energy = FreeEnergy(Flat(law.dim), PowerEntropy(2.0)) if energy is None else energy
    return Problem(GradientFlow(law, energy, (1.0,)), (), None, **known)  # type: ignore[arg-type]
