"""The uniform law on a box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.laws import Density
from problems.validation import require_finite


@dataclass(frozen=True, eq=False)
class Uniform(Density):
    """The uniform law on the box of points x with |x_i - mean_i| ≤ ``half_widths``_i, both of shape (D,).

    Raises ``ValueError`` for shapes that do not fit, and half-widths that are not finite and > 0.
    """

    mean: torch.Tensor
    half_widths: torch.Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.half_widths.shape:
            raise ValueError(
                f"Uniform: mean and half_widths must have one shape (D,), got {tuple(self.mean.shape)} and "
                f"{tuple(self.half_widths.shape)}"
            )
        require_finite("Uniform", mean=self.mean, half_widths=self.half_widths)
        if not bool((self.half_widths > 0).all()):
            raise ValueError(f"Uniform: half_widths must be > 0, got {self.half_widths.tolist()}")

    @property
    def dim(self) -> int:
        return len(self.mean)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(n, self.dim, generator=generator, dtype=self.mean.dtype, device=generator.device)
        return self.mean + self.half_widths * (2 * draws.to(self.mean.device) - 1)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        inside = ((x - self.mean).abs() <= self.half_widths).all(dim=1)
        level = -float((2 * self.half_widths).log().sum())
        found = torch.where(inside, level, -math.inf).to(x.dtype)
        return torch.where(x.isnan().any(dim=1), math.nan, found)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, torch.diag(self.half_widths.square() / 3)

    @property
    def support_radius(self) -> float:
        return float(self.half_widths.norm())
