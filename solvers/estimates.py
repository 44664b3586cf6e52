"""What a solver gives back for one time: every estimate can be sampled, some have a density.

Measures dispatch on these types. Points have shape (n, D), float64 on the CPU by the time they are measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from problems.grid import GridLaw
from problems.laws import Density, Law


class Estimate(ABC):
    """A solver's answer at one time."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` points distributed as the estimate, shape (n, D)."""

    @abstractmethod
    def defect(self) -> str | None:
        """Return what makes the estimate unusable (a NaN, say), or ``None`` when nothing does."""


@dataclass(frozen=True, eq=False)
class Particles(Estimate):
    """Points (n, D) with optional log-weights (n,), which need not be normalised."""

    points: torch.Tensor
    log_weights: torch.Tensor | None = None

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` of the particles: all different while they last if unweighted, else drawn by weight."""
        if self.log_weights is None:
            rounds = -(-n // len(self.points))
            order = torch.cat([torch.randperm(len(self.points), generator=generator) for _ in range(rounds)])[:n]
        else:
            weights = torch.softmax(self.log_weights.double(), dim=0)
            order = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.points[order]

    def defect(self) -> str | None:
        bad = int((~torch.isfinite(self.points)).any(dim=1).sum())
        if bad:
            return f"{bad} of {len(self.points)} particles are not finite"
        weights = self.log_weights
        if weights is not None and not (bool((weights > -torch.inf).any()) and bool((weights < torch.inf).all())):
            return "the log-weights hold NaN or +inf, or are all -inf"
        return None


class DensityEstimate(Estimate):
    """An estimate whose normalised log-density can be evaluated anywhere."""

    @abstractmethod
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,)."""


@dataclass(frozen=True, eq=False)
class GridDensity(DensityEstimate):
    """A density on a one-dimensional grid: the mass of each cell, normalised by the solver."""

    law: GridLaw

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.law.log_prob(x)

    def defect(self) -> str | None:
        masses = self.law.masses
        if not bool(torch.isfinite(masses).all()):
            return "the grid density is not finite"
        if float(masses.min()) < -1e-10:
            return f"the grid density has a negative cell of mass {float(masses.min()):.3g}"
        return None


@dataclass(frozen=True, eq=False)
class Exact(Estimate):
    """A law of ``problems.laws`` taken as the answer."""

    law: Law

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator)

    def defect(self) -> str | None:
        mean, covariance = self.law.moments()
        if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
            return "the moments of the law are not finite"
        return None


def density_of(estimate: Estimate) -> DensityEstimate | Density | None:
    """Return what evaluates the estimate's normalised log-density, or ``None`` where it has none."""
    if isinstance(estimate, DensityEstimate):
        return estimate
    if isinstance(estimate, Exact) and isinstance(estimate.law, Density):
        return estimate.law
    return None
