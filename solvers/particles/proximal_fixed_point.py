"""The fixed point of an entropy-regularised proximal step on point clouds, in the log domain, a tile at a time.

Between clouds u_i (rows, carrying ρ_i) and x_j (columns), with Γ_ij = exp(-|u_i - x_j|²/2ε) and κ = βε/h, one seeks
y, z > 0 and with them the new values ρ⁺ such that

    y ⊙ (Γ z) = ρ,    z ⊙ (Γᵀ y) = ρ⁺ = ξ ⊙ z^{-κ}.

Eliminating y, a sweep is z ↦ (ξ / Γᵀ(ρ / Γz))^{1/(1+κ)}, which contracts the Thompson metric max_j |log z_j - log z'_j|
by 1/(1+κ) at least, since the inner map is non-expansive (Caluya, Halder, arXiv:1809.10844, section III). Written with
the Markov matrix P_ij = Γ_ij z_j / (Γz)_i, a sweep needs no quantity of extreme size:

    log z ← (log ξ + log z - log Pᵀρ) / (1 + κ),    and at the fixed point ρ⁺ = Pᵀρ.

Row i of P comes from exponents taken relative to its own or its largest, and is used for Pᵀρ at once, so that one pass
over tiles that stay in cache is a whole sweep: Γ is never stored. Sweeps that cannot be the last one
run in float32, at twice the speed: what they round off, the later ones, in float64, contract away.
Exponents are taken to the base 2, since torch's exp2 is three to four times as fast as its exp on processors that are
not Intel's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from solvers.threads import Run

# A tile of exponents stays in cache through the passes that are made over it; on smaller ones, threads would spend
# their time waiting for each other between operations, and products would have few rows to share their columns.
TILE_BYTES = 2**22
# Rows whose contributions to Pᵀρ are added up in one go. A constant, because it decides the order of the sums.
ROWS_PER_CHUNK = 512
LOG2_E = 1 / math.log(2)
# Where the results of exp, or their products with weights, are subnormal, exp and sums are tens of times slower. What
# this adds is nothing to a row, of which a term is 1; columns that it could matter to are worked out from exact terms.
LEAST_EXPONENT = {torch.float32: -60.0, torch.float64: -600.0}
# A sweep that is to leave a larger residual than this may run in float32.
COARSE_RESIDUAL = 1e-5
# Exponents come from one matrix product as long as the expanded square rounds them by less than this.
LARGEST_ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-10}
# Rows are scaled by their own particle's term; where others may exceed it by more than this, by the largest.
LARGEST_EXPONENT = 40.0
# Share of a column of Pᵀρ that clamped exponents may add to it, in units of the rounding of its sum.
NEGLIGIBLE = 1e-2

Exponents = Callable[[int, int, torch.Tensor], torch.Tensor]
"""Fills a tile with the exponents, to the base 2, of rows ``first`` up to ``last`` and returns it."""


@dataclass(frozen=True, eq=False)
class Block:
    """Rows ``first`` up to ``last`` of a kernel, of which only these ``columns`` (m,) count; ``None``: all do."""

    first: int
    last: int
    columns: torch.Tensor | None = None


class Tiles:
    """Memory for tiles of up to ``width`` columns, a piece for every thread at work.

    Fresh memory for each tile would be a page fault per page.
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self._size, self._dtype = max(width, TILE_BYTES // dtype.itemsize), dtype
        self._spare: list[torch.Tensor] = []

    @contextmanager
    def borrowed(self, rows: int, width: int) -> Iterator[torch.Tensor]:
        """Lend a tile (m, width), m being ``rows`` in as few equal parts as have room."""
        try:
            piece = self._spare.pop()
        except IndexError:
            piece = torch.empty(self._size, dtype=self._dtype)
        tiles = math.ceil(rows / (self._size // width))
        yield piece.as_strided((math.ceil(rows / tiles), width), (width, 1))
        self._spare.append(piece)


class Kernel(Protocol):
    """A kernel applies Γ, and says in which dtype it can; this is all that a proximal step asks of it."""

    def expands(self, log_scaling: torch.Tensor, dtype: torch.dtype) -> bool:
        """Return whether exponents may be worked out in ``dtype`` at log z = ``log_scaling`` (n,)."""

    def transport(
        self, log_scaling: torch.Tensor, log_density: torch.Tensor, dtype: torch.dtype, run: Run
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log Pᵀρ and log P_ii, both (n,), for P_ij = Γ_ij z_j / (Γz)_i, from log z (n,) and log ρ (n,)."""


@dataclass(frozen=True)
class Convergence:
    """A record of how a fixed point was reached, and how local it is.

    ``residual`` is max|Δ log z| in the last sweep, ``contraction`` that of the second over that of the first (0 if
    there was one only), ``own_share`` the mean of P_ii: 1 when Γ is diagonal and every particle keeps its density.
    """

    sweeps: int
    residual: float
    contraction: float
    own_share: float


@dataclass(frozen=True, eq=False)
class ProximalStep:
    """The new log-densities log ρ⁺ (n,) and log-scalings log z (n,), float64, with their convergence."""

    log_density: torch.Tensor
    log_scaling: torch.Tensor
    convergence: Convergence


def proximal_step(
    kernel: Kernel,
    log_density: torch.Tensor,
    log_gibbs: torch.Tensor,
    stiffness: float,
    start: torch.Tensor,
    tolerance: float,
    max_sweeps: int,
    run: Run,
) -> ProximalStep:
    """Sweep from log z = ``start`` (n,) until max|Δ log z| ≤ ``tolerance``, or ``max_sweeps`` ≥ 1 times.

    Sweeps end sooner where the residual no longer contracts as it must: only rounding is left of it then.

    ``log_density`` is log ρ, ``log_gibbs`` log ξ and ``stiffness`` κ. The error of log ρ⁺ is at most about the residual
    (1 + 1/κ), plus rounding. A value that is not finite ends the sweeps and comes back as it is.
    """
    log_scaling, residual, contraction = start, math.inf, 0.0
    stalled = 0.5 * (1 + 1 / (1 + stiffness))
    coarse = was_coarse = kernel.expands(log_scaling, torch.float32)
    stuck = False
    for sweep in range(1, max_sweeps + 1):
        due = residual / (1 + stiffness)
        coarse = coarse and not stuck and sweep < max_sweeps and due > max(tolerance, COARSE_RESIDUAL)
        dtype = torch.float32 if coarse else torch.float64
        transported, log_own_shares = kernel.transport(log_scaling, log_density, dtype, run)
        updated = (log_gibbs + log_scaling - transported) / (1 + stiffness)
        change = updated - log_scaling
        # (Γᵀy)_j is Pᵀρ / z at the old z; times the new z it is ρ⁺ to the same order as the residual.
        new_density = transported + change
        previous, residual = residual, float(change.abs().max())
        log_scaling = updated
        if sweep == 2 and previous > 0:
            contraction = residual / previous
        stuck = coarse == was_coarse and residual > stalled * previous
        was_coarse = coarse
        if not math.isfinite(residual) or (not coarse and (residual <= tolerance or stuck)):
            break
    own_share = float(log_own_shares.exp().mean())
    return ProximalStep(new_density, log_scaling, Convergence(sweep, residual, contraction, own_share))


class GibbsKernel:
    """Γ_ij = exp(-|u_i - x_j|²/2ε) between ``rows`` u and ``columns`` x, both (n, D).

    Exponents of a tile come from one matrix product, |u-x|² = |u|² + |x|² - 2u·x about the mean of the columns, or from
    differences where that would round too much.
    """

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor, regularisation: float) -> None:
        centre, scale = columns.mean(0), math.sqrt(regularisation)
        self.rows, self.columns = (rows - centre) / scale, (columns - centre) / scale
        self.own = -0.5 * ((self.rows - self.columns) ** 2).sum(1)
        self._row_squares = 0.5 * (self.rows * self.rows).sum(1)
        self._column_squares = 0.5 * (self.columns * self.columns).sum(1)

    def transport(
        self,
        log_scaling: torch.Tensor,
        log_density: torch.Tensor,
        dtype: torch.dtype,
        run: Run,
        blocks: Sequence[Block] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log Pᵀρ and log P_ii, both (n,), for P_ij = Γ_ij z_j / (Γz)_i, from log z (n,) and log ρ (n,).

        The kernel's values and sums of them are of ``dtype``, all else is float64. ``blocks``, if given, have all rows
        in order, with the columns without which Γ is taken to be 0.
        """
        count = len(self.rows)
        largest = float(log_density.max())
        density = torch.exp(log_density - largest)
        shift = self.own + log_scaling
        exponents = self.exponents(log_scaling, shift, dtype)
        lowest, highest = (bound.numpy() for bound in self._exponents_lie_in(log_scaling, shift))
        least, smallest = LEAST_EXPONENT[dtype], torch.finfo(dtype).tiny
        tiles = Tiles(count, dtype)
        carried, scale = density.to(dtype), shift.clone()
        sums, weights = torch.empty_like(carried), torch.empty_like(carried)
        shares, row_sums, row_weights = carried.numpy(), sums.numpy(), weights.numpy()
        if blocks is None:
            blocks = [Block(first, min(first + ROWS_PER_CHUNK, count)) for first in range(0, count, ROWS_PER_CHUNK)]

        starts = [block.first for block in blocks]
        clamped_blocks = ~(np.minimum.reduceat(lowest, starts) >= least)
        rescaled_blocks = ~(np.maximum.reduceat(highest, starts) <= LARGEST_EXPONENT)

        def chunk(number: int) -> torch.Tensor:
            # What is as short as a tile has rows is left to numpy: torch lets go of the interpreter for every
            # operation, and to get it back from another thread takes longer than these do.
            block, clamps, rescales = blocks[number], clamped_blocks[number], rescaled_blocks[number]
            start, stop = block.first, block.last
            width = count if block.columns is None else len(block.columns)
            columns = torch.from_numpy(np.zeros(width, row_sums.dtype))
            fill = exponents(block.columns)
            with tiles.borrowed(stop - start, width) as memory, np.errstate(invalid="ignore"):
                for first in range(start, stop, len(memory)):
                    last = min(first + len(memory), stop)
                    tile = fill(first, last, memory[: last - first])
                    if rescales:
                        raised = tile.amax(1)
                        tile.sub_(raised[:, None])
                        scale[first:last] += raised.double() / LOG2_E
                    if clamps:
                        tile.clamp_(min=least * LOG2_E)
                    torch.sum(tile.exp2_(), 1, out=sums[first:last])
                    here = np.divide(shares[first:last], row_sums[first:last], out=row_weights[first:last])
                    here[here <= smallest] = 0
                    columns.addmv_(tile.T, weights[first:last])
            return columns

        parts = run(chunk, range(len(blocks)))
        log_row_sums = scale + sums.double().log()
        columns = torch.zeros(count, dtype=torch.float64)
        for block, part in zip(blocks, parts, strict=True):
            if block.columns is None:
                columns += part
            else:
                columns.index_add_(0, block.columns, part.double())
        clamped = math.exp(least) * float(density.sum())
        faint = ~(columns > clamped / (NEGLIGIBLE * torch.finfo(dtype).eps))
        transported = columns.log() + largest
        if bool(faint.any()):
            if dtype != torch.float64:
                return self.transport(log_scaling, log_density, torch.float64, run, blocks)
            transported[faint] = self._columns_exactly(faint, log_scaling, log_density - log_row_sums)
        return transported, shift - log_row_sums

    def _exponents_lie_in(self, log_scaling: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return bounds of log(Γ_ij z_j) - shift_i over j from below and above, each (n,)."""
        reach = float(self._column_squares.max().sqrt())
        lowest = float(log_scaling.min()) - shift - (self._row_squares.sqrt() + reach) ** 2
        return lowest, float(log_scaling.max()) - shift

    def expands(self, log_scaling: torch.Tensor, dtype: torch.dtype) -> bool:
        """Return whether the expanded square is accurate enough in ``dtype`` at log z = ``log_scaling`` (n,)."""
        reach = 2 * max(float(self._row_squares.max()), float(self._column_squares.max()))
        reach += 0.5 * float(log_scaling.max() - log_scaling.min())
        return torch.finfo(dtype).eps * reach <= LARGEST_ROUNDING[dtype]

    def exponents(
        self, log_scaling: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype
    ) -> Callable[[torch.Tensor | None], Exponents]:
        """Return a function from columns j (m,), or ``None`` for all, to one that fills a tile of ``dtype``, (rows, m).

        The entries are log₂(Γ_ij z_j) - shift_i log₂ e, from log z (n,) and ``shift`` (n,).
        """
        middle = 0.5 * float(log_scaling.max() + log_scaling.min())
        row_terms, column_terms = middle - shift, log_scaling - middle
        if self.expands(log_scaling, dtype):
            ones = torch.ones_like(shift)[:, None]
            left = torch.cat([self.rows, (row_terms - self._row_squares)[:, None], ones], dim=1).to(dtype)
            right = torch.cat([self.columns, ones, (column_terms - self._column_squares)[:, None]], dim=1)
            right = (LOG2_E * right).to(dtype)

            def expanded(columns: torch.Tensor | None) -> Exponents:
                chosen = (right if columns is None else right.index_select(0, columns)).T
                return lambda first, last, tile: torch.mm(left[first:last], chosen, out=tile)

            return expanded

        def differenced(columns: torch.Tensor | None) -> Exponents:
            points, terms = self.columns, column_terms
            if columns is not None:
                points, terms = points.index_select(0, columns), terms.index_select(0, columns)

            def fill(first: int, last: int, tile: torch.Tensor) -> torch.Tensor:
                exact = row_terms[first:last, None] + terms
                for axis in range(points.shape[1]):
                    difference = self.rows[first:last, axis, None] - points[:, axis]
                    exact.addcmul_(difference, difference, value=-0.5)
                return tile.copy_(exact.mul_(LOG2_E))

            return fill

        return differenced

    def _columns_exactly(
        self, chosen: torch.Tensor, log_scaling: torch.Tensor, log_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return log Σ_i Γ_ij z_j w_i of the chosen columns from all of their terms, in float64."""
        sums = []
        index = chosen.nonzero()[:, 0]
        for part in index.split(max(1, TILE_BYTES // (8 * len(self.rows)))):
            terms = (log_scaling[part, None] + log_weights).contiguous()
            for axis in range(self.rows.shape[1]):
                difference = self.columns[part, axis, None] - self.rows[:, axis]
                terms.addcmul_(difference, difference, value=-0.5)
            sums.append(terms.logsumexp(1))
        return torch.cat(sums)
