"""Sums of Gaussian kernels over pairs of points, without the pairs that are too far from each other to matter.

For points y and weights a on columns, at rows x, all in units in which the kernel is exp(-|x - y|²):

    mass(x) = Σ_j a_j exp(-|x - y_j|²),    moment(x) = Σ_j a_j (y_j - x) exp(-|x - y_j|²).

Rows are grouped in space by halving the cloud across its longest side, again and again. A group keeps the columns
within ``REACH`` of its box, beyond which a kernel is below 1e-17 (1e-26 with the reach of densities), and a margin, so
that they still do when points have moved by half of it. About the middle of the box the square is expanded: a tile of
exponents is one product of matrices, and its sums are a second one.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from problems.arrays import Reals
from solvers.particles.proximal_near_columns import groups
from solvers.threads import Run

REACH = math.sqrt(40.0)
MARGIN = 0.5
ROWS_PER_GROUP = 128
COLUMNS_PER_TILE = 1024
LOG2_E = 1 / math.log(2)
# torch's float64 exp2 is many times slower where results are subnormal; 2^-1000 adds nothing.
LEAST_EXPONENT = -1000.0


class NearSums:
    """The kernel sums at rows (n, D) over columns (k, D), float64, with the choice of columns kept while it holds."""

    def __init__(self, reach: float = REACH, margin: float = MARGIN) -> None:
        self._reach, self._margin = reach, margin
        self._chosen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._rows: torch.Tensor | None = None
        self._columns: torch.Tensor | None = None

    @property
    def pairs(self) -> int:
        """The number of pairs that the last sums went over."""
        return sum(len(rows) * len(columns) for rows, columns in self._chosen)

    def sums(
        self, rows: torch.Tensor, columns: torch.Tensor, weights: torch.Tensor, run: Run
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the masses (n,) and the moments (n, D) at ``rows`` for ``weights`` (k,) on ``columns``."""
        if not self._still_hold(rows, columns):
            self._choose(rows, columns, run)

        def of_group(group: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            mine, near = group
            return tile_sums(rows[mine], columns[near], weights[near])

        mass, moment = torch.empty(len(rows), dtype=torch.float64), torch.empty_like(rows)
        for (mine, _), (found, offset) in zip(self._chosen, run(of_group, self._chosen), strict=True):
            mass[mine], moment[mine] = found, offset
        return mass, moment

    def _still_hold(self, rows: torch.Tensor, columns: torch.Tensor) -> bool:
        if self._rows is None or self._columns is None or self._rows.shape != rows.shape:
            return False
        moved = float((rows - self._rows).abs().max())
        if columns is not rows:
            moved = max(moved, float((columns - self._columns).abs().max()))
        return 2 * math.sqrt(rows.shape[1]) * moved <= self._margin  # NaN does not

    def _choose(self, rows: torch.Tensor, columns: torch.Tensor, run: Run) -> None:
        across = np.ascontiguousarray(columns.numpy().T)
        farthest = (self._reach + self._margin) ** 2

        def near(mine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            box = rows[mine].numpy()
            beyond: Reals = across - np.clip(across, box.min(0)[:, None], box.max(0)[:, None])
            # A value that is not a number keeps its column, and so comes to light.
            return mine, torch.from_numpy(np.flatnonzero(~(np.einsum("ij,ij->j", beyond, beyond) > farthest)))

        self._chosen = run(near, groups(rows, ROWS_PER_GROUP))
        self._rows, self._columns = rows, columns


def tile_sums(rows: torch.Tensor, columns: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masses (n,) and moments (n, D) at ``rows`` (n, D) over ``columns`` (k, D) with ``weights`` (k,)."""
    count, dim = rows.shape
    middle = 0.5 * (rows.amin(0) + rows.amax(0))
    x, y = rows - middle, columns - middle
    square_x, square_y = (x * x).sum(1, keepdim=True), (y * y).sum(1, keepdim=True)
    left = torch.cat([2 * LOG2_E * x, -LOG2_E * square_x, torch.ones_like(square_x)], dim=1)
    right = torch.cat([y, torch.ones_like(square_y), -LOG2_E * square_y], dim=1).T
    # The farthest pair of the tile, by the triangle inequality.
    reach = math.sqrt(float(square_x.max())) + math.sqrt(float(square_y.max())) if len(y) else 0.0
    summed = torch.cat([weights[:, None], weights[:, None] * y], dim=1)
    total = torch.zeros(count, dim + 1, dtype=torch.float64)
    buffer = torch.empty(count * min(COLUMNS_PER_TILE, len(y)), dtype=torch.float64)
    for start in range(0, len(y), COLUMNS_PER_TILE):
        stop = min(start + COLUMNS_PER_TILE, len(y))
        kernel = buffer[: count * (stop - start)].view(count, -1)
        torch.mm(left, right[:, start:stop], out=kernel)
        if not LOG2_E * reach * reach < -LEAST_EXPONENT:
            kernel.clamp_(min=LEAST_EXPONENT)
        total.addmm_(kernel.exp2_(), summed[start:stop])
    return total[:, 0], total[:, 1:] - total[:, :1] * x
