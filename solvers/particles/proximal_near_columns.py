"""The kernel of a proximal step without the columns that are too far from a group of rows to matter.

In several dimensions almost all pairs of particles are out of each other's reach. Rows are grouped in space by halving
the cloud across its longest side, again and again; a group L keeps the columns j with

    max_{i∈L} e_ij + max(0, max_{i∈L} log ρ_i - log ρ_j) > -T,    e_ij = log(Γ_ij z_j) - log(Γ_ii z_i),

and the sweeps of `proximal_fixed_point.py` then go over these only. The distance from a box around L rules most other
columns out before they are looked at. What that changes: as (Γz)_i ≥ Γ_ii z_i and P_ii ≤ 1, the terms left out of
the sums of row i and of column j are at most

    Σ_j Γ_ij z_j ≤ n e^{-T} (Γz)_i,    Σ_i P_ij ρ_i ≤ n e^{-T} ρ_j.

Both are at most a share δ of the whole sum with T = log(n/δ) + MOVE + LOSS, as long as log z has moved by no more than
MOVE, in max - min, since columns were chosen, and ρ_j is at most e^LOSS (Pᵀρ)_j; where the first fails, they are chosen
anew, where the second does, all are taken. Rows that lack a share δ are normalised to too much, by 1/(1 - δ) at most,
and columns lack a share δ at most, so that log Pᵀρ is off by at most -log(1 - δ) at any z. The sweep contracts by
1/(1+κ): at the fixed point log z is off by that over κ at most, and log ρ⁺ = log ξ - κ log z by -log(1 - δ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from solvers.particles.proximal_fixed_point import LARGEST_ROUNDING, LOG2_E, Block, GibbsKernel, Tiles
from solvers.threads import Run

# Below this many particles choosing takes as long as it saves.
FEWEST = 4096
# Rows of a group at most. Fewer share fewer columns, but operations on small tiles cost more than their arithmetic.
ROWS_PER_GROUP = 160
# Every so many groups are looked at first, and all columns are taken where those would keep more than this share.
GROUPS_PER_SAMPLE = 16
LARGEST_SHARE = 0.6
# What log z may move by, and a density fall by in a step, before the chosen columns no longer do.
MOVE, LOSS = 0.25, 1.0


class NearKernel:
    """`GibbsKernel` between ``rows`` and ``columns`` (n, D) but for a share ``negligible`` = δ < 1 of any sum.

    Takes memory for every column that a group of rows keeps, n²/10 bytes at most.
    """

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor, regularisation: float, negligible: float) -> None:
        count = len(rows)
        self._groups = groups(rows, ROWS_PER_GROUP if count >= FEWEST else count)
        self._order = torch.cat(self._groups)
        self._place = torch.empty_like(self._order)
        self._place[self._order] = torch.arange(count)
        self._kernel = GibbsKernel(rows[self._order], columns[self._order], regularisation)
        self._threshold = math.log(count / negligible) + MOVE + LOSS
        self._takes_all = count < FEWEST
        self._blocks: Sequence[Block] = ()
        self._chosen_at: torch.Tensor | None = None

    @property
    def share(self) -> float:
        """The share of the n² pairs that the last sweep went over."""
        if self._takes_all or not self._blocks:
            return 1.0
        return _pairs(self._blocks) / len(self._order) ** 2

    def expands(self, log_scaling: torch.Tensor, dtype: torch.dtype) -> bool:
        """Return whether the expanded square is accurate enough in ``dtype`` at log z = ``log_scaling`` (n,)."""
        return self._kernel.expands(log_scaling, dtype)

    def transport(
        self, log_scaling: torch.Tensor, log_density: torch.Tensor, dtype: torch.dtype, run: Run
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log Pᵀρ and log P_ii, both (n,), as ``GibbsKernel.transport`` does, from log z (n,) and log ρ (n,)."""
        log_scaling, log_density = log_scaling[self._order], log_density[self._order]
        if not self._takes_all and not self._still_hold(log_scaling):
            self._choose(log_scaling, log_density, run)
        blocks = None if self._takes_all else self._blocks
        transported, own = self._kernel.transport(log_scaling, log_density, dtype, run, blocks)
        if not self._takes_all and not float((log_density - transported).max()) <= LOSS:
            self._takes_all = True
            transported, own = self._kernel.transport(log_scaling, log_density, dtype, run)
        return transported[self._place], own[self._place]

    def _still_hold(self, log_scaling: torch.Tensor) -> bool:
        if self._chosen_at is None:
            return False
        moved = log_scaling - self._chosen_at
        return float(moved.max() - moved.min()) <= MOVE

    def _choose(self, log_scaling: torch.Tensor, log_density: torch.Tensor, run: Run) -> None:
        """Find the columns of every group at this log z, unless a sample of groups says that they are too many."""
        kernel, count = self._kernel, len(self._order)
        dtype = torch.float32 if kernel.expands(log_scaling, torch.float32) else torch.float64
        shift = kernel.own + log_scaling
        least = (-self._threshold - LARGEST_ROUNDING[dtype]) * LOG2_E
        exponents, tiles = kernel.exponents(log_scaling, shift, dtype), Tiles(count, dtype)
        rows, columns = (points.T.contiguous().to(dtype).numpy() for points in (kernel.rows, kernel.columns))
        densities, scalings, shifts = (LOG2_E * each.numpy() for each in (log_density, log_scaling, shift))

        def near(bounds: tuple[int, int]) -> Block:
            start, stop = bounds
            with np.errstate(invalid="ignore"):
                # A value that is not a number keeps its column, and so comes to light.
                farthest = np.minimum(least, densities + (least - densities[start:stop].max()))
                box = rows[:, start:stop]
                beyond = columns - np.clip(columns, box.min(1, keepdims=True), box.max(1, keepdims=True))
                squares = np.einsum("ij,ij->j", beyond, beyond)
                highest = scalings - shifts[start:stop].min() - 0.5 * LOG2_E * squares
                chosen = torch.from_numpy(np.flatnonzero(~(highest <= farthest)))
            fill = exponents(chosen)
            found = torch.full((len(chosen),), -math.inf, dtype=dtype)
            with tiles.borrowed(stop - start, len(chosen)) as memory:
                for first in range(start, stop, len(memory)):
                    last = min(first + len(memory), stop)
                    torch.maximum(found, fill(first, last, memory[: last - first]).amax(0), out=found)
            within = ~(found.numpy() <= farthest[chosen.numpy()])
            return Block(start, stop, torch.from_numpy(chosen.numpy()[within].astype(np.int32)))

        ends = np.cumsum([len(group) for group in self._groups]).tolist()
        bounds = list(zip([0, *ends], ends, strict=False))
        sample = run(near, bounds[::GROUPS_PER_SAMPLE])
        self._takes_all = _pairs(sample) > LARGEST_SHARE * count * sum(block.last - block.first for block in sample)
        if not self._takes_all:
            self._blocks, self._chosen_at = run(near, bounds), log_scaling


def groups(points: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return indices of the points (n, D) in groups of at most ``size``, each of points that are near each other."""
    coordinates = np.ascontiguousarray(points.numpy().T)

    def halved(index: np.ndarray) -> list[torch.Tensor]:
        if len(index) <= size:
            return [torch.from_numpy(index)]
        here = coordinates.take(index, axis=1)
        along = here[np.argmax(np.ptp(here, axis=1))]
        middle = len(index) // 2
        index = index[np.argpartition(along, middle)]
        return halved(index[:middle]) + halved(index[middle:])

    return halved(np.arange(len(points)))


def _pairs(blocks: Sequence[Block]) -> int:
    return sum((block.last - block.first) * len(block.columns) for block in blocks if block.columns is not None)
