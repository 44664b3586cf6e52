"""Invertible maps, and the laws that they push forward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from problems.laws import Density, Law
from solvers.estimates import DensityEstimate, Estimate, Particles


class InvertibleMap(ABC):
    """An invertible map is a diffeomorphism T of R^D that preserves orientation: log det ∇T exists everywhere."""

    @abstractmethod
    def push(self, x: torch.Tensor) -> torch.Tensor:
        """Return T(x) at ``x`` (n, D), shape (n, D)."""

    @abstractmethod
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T(x), shape (n, D), and log det ∇T(x), shape (n,), at ``x`` (n, D)."""

    @abstractmethod
    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x = T⁻¹(y), shape (n, D), and log det ∇T(x), shape (n,), at ``y`` (n, D).

        Raises ``Diverged`` where an iterative method does not find it.
        """


class ScoreCarryingMap(InvertibleMap):
    """A score-carrying map also says what the score s of a law becomes: ∇T(x)ᵀ s(T(x)) = s(x) - ∇ log det ∇T(x)."""

    @abstractmethod
    def push_with_score(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T(x) and, for a law's ``score`` at ``x`` (n, D), that of the pushed law at T(x), both (n, D)."""


@dataclass(frozen=True, eq=False)
class PushedLaw(Estimate):
    """A pushed law is that of T_K∘…∘T_1(X) for X ~ ``base``, a law without density; ``maps`` are T_1, …, T_K."""

    base: Law
    maps: tuple[InvertibleMap, ...]

    @property
    def dim(self) -> int:
        return self.base.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        x = self.base.sample(n, generator)
        for step in self.maps:
            x = step.push(x)
        return x

    def defect(self) -> str | None:
        return Particles(self.sample(256, torch.Generator().manual_seed(0))).defect()


@dataclass(frozen=True, eq=False)
class Pushforward(DensityEstimate):
    """A pushforward is the law of T_K∘…∘T_1(X) for X ~ ``base``: log ρ(T_K∘…∘T_1(x)) = log base(x) - Σ_k log det ∇T_k.

    ``maps`` are T_1, …, T_K. Results are float64.
    """

    base: Density | DensityEstimate
    maps: tuple[InvertibleMap, ...]

    @property
    def dim(self) -> int:
        return self.base.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.push(self.base.sample(n, generator))

    def push(self, x: torch.Tensor) -> torch.Tensor:
        """Return T_K∘…∘T_1(x), shape (n, D), at points ``x`` (n, D) of the base law."""
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

    def defect(self) -> str | None:
        x, log_density = self.sample_with_log_prob(256, torch.Generator().manual_seed(0))
        bad = int((~(torch.isfinite(x).all(dim=1) & torch.isfinite(log_density))).sum())
        return f"{bad} of 256 draws or their log-densities are not finite" if bad else None


def pushed_law(base: Law, maps: tuple[InvertibleMap, ...]) -> Pushforward | PushedLaw:
    """Return the law of T_K∘…∘T_1(X) for X ~ ``base``, with its density where ``base`` has one."""
    return Pushforward(base, maps) if isinstance(base, Density) else PushedLaw(base, maps)
