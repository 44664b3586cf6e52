"""Laws of independent coordinates, the solutions of separable problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.laws import Density


@dataclass(frozen=True, eq=False)
class Product(Density):
    """The law of independent coordinates (X_1, …, X_D), each of a one-dimensional law in ``factors``.

    Raises ``ValueError`` for no factors and for factors of more than one dimension.
    """

    factors: tuple[Density, ...]

    def __post_init__(self) -> None:
        if not self.factors or any(factor.dim != 1 for factor in self.factors):
            raise ValueError(f"Product: factors must be one-dimensional laws, got {len(self.factors)} of them")

    @property
    def dim(self) -> int:
        return len(self.factors)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.cat([factor.sample(n, generator) for factor in self.factors], dim=1)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        parts = [factor.log_prob(x[:, place, None]) for place, factor in enumerate(self.factors)]
        return torch.stack(parts).sum(0)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        means, variances = zip(*(factor.moments() for factor in self.factors), strict=True)
        return torch.cat(means), torch.diag(torch.cat([variance.flatten() for variance in variances]))
