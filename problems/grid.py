"""One-dimensional laws on a uniform grid of cells (being written)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.laws import Density


@dataclass(frozen=True, eq=False)
class GridLaw(Density):
    """Piecewise density on uniform cells; ``edges`` is (lower, upper), ``masses`` (m,) float64 sums to one."""

    lower: float
    upper: float
    masses: torch.Tensor
