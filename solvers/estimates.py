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


class InvertibleMap(ABC):
    """A diffeomorphism T of R^D that is orientation-preserving: log det ∇T exists everywhere."""

    @abstractmethod
    def push(self, x: torch.Tensor) -> torch.Tensor:
        """Return T(x) at ``x`` (n, D), shape (n, D)."""

    @abstractmethod
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T(x), shape (n, D), and log det ∇T(x), shape (n,), at ``x`` (n, D)."""

    @abstractmethod
    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x = T⁻¹(y), shape (n, D), and log det ∇T(x), shape (n,), at ``y`` (n, D)."""


@dataclass(frozen=True, eq=False)
class Pushforward(DensityEstimate):
    """The law of T_K∘…∘T_1(X) for X ~ ``base``: log ρ(T_K∘…∘T_1(x)) = log base(x) - Σ_k log det ∇T_k.

    ``maps`` are T_1, …, T_K. Results are float64.
    """

    base: Density
    maps: tuple[InvertibleMap, ...]

    @property
    def dim(self) -> int:
        return self.base.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.push(self.base.sample(n, generator))

    def push(self, x: torch.Tensor) -> torch.Tensor:
        """Return where points ``x`` (n, D) of the base law end."""
        for step in self.maps:
            x = step.push(x)
        return x

    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``n`` draws (n, D) and the log-density at each, (n,), for which no map needs to be inverted."""
        x = self.base.sample(n, generator)
        log_density = self.base.log_prob(x)
        for step in self.maps:
            x, log_det = step.forward(x)
            log_density = log_density - log_det
        return x, log_density

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        log_det_total = torch.zeros(len(x), dtype=torch.float64)
        for step in reversed(self.maps):
            x, log_det = step.inverse(x)
            log_det_total += log_det
        return self.base.log_prob(x) - log_det_total

    def trajectory(self, x: torch.Tensor) -> torch.Tensor:
        """Return the paths of points ``x`` (n, D) of the base law: after 0, …, K maps, shape (K+1, n, D)."""
        path = [x]
        for step in self.maps:
            path.append(step.push(path[-1]))
        return torch.stack(path)

    def trajectory_to(self, y: torch.Tensor) -> torch.Tensor:
        """Return the paths that end in ``y`` (n, D), in the same order as ``trajectory``: shape (K+1, n, D)."""
        path = [y]
        for step in reversed(self.maps):
            path.append(step.inverse(path[-1])[0])
        return torch.stack(path[::-1])

    def defect(self) -> str | None:
        x, log_density = self.sample_with_log_prob(256, torch.Generator().manual_seed(0))
        bad = int((~(torch.isfinite(x).all(dim=1) & torch.isfinite(log_density))).sum())
        return f"{bad} of 256 draws or their log-densities are not finite" if bad else None


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
