"""One-dimensional laws given by the masses of uniform cells.

The density is one parabola a cell, continuous at the edges, and every cell holds exactly its mass: the piecewise
parabolic reconstruction of Colella & Woodward (1984), J. Comput. Phys. 54. Edge values are fourth-order averages of
the four cells around, limited to keep the density positive; between edges the density is right to O(width³).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from problems.laws import Density
from problems.validation import require_finite

LEAST_CELLS = 3

# A cell that rounding left empty or negative still has a finite log-density: exp(-690) of the unit mass.
EMPTY_CELL = 1e-300


@dataclass(frozen=True, eq=False)
class GridLaw(Density):
    """A law of uniform cells on [lower, upper] with ``masses`` (m,), float64, m ≥ 3, that sum to one.

    Masses below zero by rounding count as empty; NaN is let through, for the estimate that holds it to report. The
    log-density is -inf outside [lower, upper] and at least about -690 inside, so that what rounding does to an empty
    cell hardly shows in a divergence. ``bounded`` says that cells are empty because the law's support ends, as that of
    a diffusion never does.

    Raises ``ValueError`` for an empty interval, fewer than three cells, or masses that do not sum to 1 within 1e-6.
    """

    lower: float
    upper: float
    masses: torch.Tensor
    bounded: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"GridLaw: lower must be below upper, both finite; got [{self.lower!r}, {self.upper!r}]")
        if self.masses.ndim != 1 or len(self.masses) < LEAST_CELLS or self.masses.dtype != torch.float64:
            raise ValueError(
                f"GridLaw: masses must be float64 of shape (m,) with m >= {LEAST_CELLS}, "
                f"got {self.masses.dtype} of shape {tuple(self.masses.shape)}"
            )
        total = float(self.masses.sum())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"GridLaw: masses must sum to 1, got {total:.8g}")

    @property
    def dim(self) -> int:
        return 1

    @property
    def cells(self) -> int:
        """Number of cells m."""
        return len(self.masses)

    @property
    def width(self) -> float:
        """Width of a cell."""
        return (self.upper - self.lower) / self.cells

    def centres(self) -> torch.Tensor:
        """Return the cell centres, shape (m,)."""
        return self.lower + self.width * (torch.arange(self.cells, dtype=torch.float64) + 0.5)

    def edges(self) -> torch.Tensor:
        """Return the cell edges, shape (m + 1,)."""
        return torch.linspace(self.lower, self.upper, self.cells + 1, dtype=torch.float64)

    @cached_property
    def _positive(self) -> torch.Tensor:
        positive = self.masses.clamp_min(EMPTY_CELL)
        return positive / positive.sum()

    @cached_property
    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The density at the two ends of each cell over its mean in the cell, each (m,)."""
        m = self._positive
        inner = (7 * (m[1:-2] + m[2:-1]) - (m[:-3] + m[3:])) / 12
        wall = torch.tensor([[11, -7, 2], [2, 5, -1]], dtype=m.dtype) / 6
        edge = torch.cat([wall @ m[:3], inner, (wall @ m[-3:].flip(0)).flip(0)])
        if len(m) == LEAST_CELLS:
            edge = torch.cat([wall @ m, (wall @ m.flip(0)).flip(0)])
        # At most twice the smaller neighbour keeps the parabolas positive, with room to spare.
        neighbour = torch.minimum(torch.cat([m[:1], m]), torch.cat([m, m[-1:]]))
        edge = edge.clamp(0.5 * neighbour, 2 * neighbour)
        return edge[:-1] / m, edge[1:] / m

    @cached_property
    def _cumulative(self) -> torch.Tensor:
        return torch.cat([torch.zeros(1, dtype=torch.float64), self._positive.cumsum(0)])

    def _locate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cell of each point of ``x`` (n,) and its place in the cell, in [0, 1]."""
        place = ((x - self.lower) / self.width).clamp(0, self.cells)
        cell = place.floor().clamp(max=self.cells - 1)
        return cell.long(), place - cell

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0].double()
        cell, s = self._locate(x.nan_to_num(self.lower))
        a, b = (end[cell] for end in self._ends)
        shape = a + s * ((6 - 4 * a - 2 * b) + s * (3 * (a + b) - 6))
        inside = self._positive[cell].log() + shape.log() - math.log(self.width)
        outside = (x < self.lower) | (x > self.upper)
        return torch.where(outside, -torch.inf, torch.where(x.isnan(), torch.nan, inside))

    def beyond_support(self, x: torch.Tensor) -> torch.Tensor:
        """Return whether each point of ``x`` (n,) lies in an empty cell of a ``bounded`` law, shape (n,)."""
        cell, _ = self._locate(x)
        return (self.masses[cell] <= EMPTY_CELL) & self.bounded

    def cumulative(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mass below each point of ``x`` (n,), shape (n,)."""
        cell, s = self._locate(x)
        a, b = (end[cell] for end in self._ends)
        return self._cumulative[cell] + self._positive[cell] * _parabola_integral(s, a, b)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        level = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device).cpu()
        return self.quantile(level)[:, None]

    def quantile(self, level: torch.Tensor) -> torch.Tensor:
        """Return the points with the shares ``level`` (n,) of the mass below them, shape (n,)."""
        level = level * self._cumulative[-1]
        cell = (torch.searchsorted(self._cumulative, level, right=True) - 1).clamp(0, self.cells - 1)
        share = ((level - self._cumulative[cell]) / self._positive[cell]).clamp(0, 1)
        a, b = (end[cell] for end in self._ends)
        return self.lower + self.width * (cell + _invert_parabola_integral(share, a, b))

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        upward = self.quantile(levels), -self.quantile(1 - levels)
        return torch.stack([float(direction.abs()) * upward[int(direction < 0)] for direction in directions[:, 0]])

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (1,) and the variance (1, 1) of the piecewise parabolic density."""
        a, b = self._ends
        first = 0.5 + (b - a) / 12
        second = 0.3 + b / 10 - a / 15
        # About the middle of the mass, where squares do not cancel.
        origin = float((self._positive * self.centres()).sum())
        corner = (self.centres() - origin) / self.width - 0.5
        shift = (self._positive * (corner + first)).sum()
        square = (self._positive * (corner * corner + 2 * corner * first + second)).sum()
        mean = origin + self.width * shift
        return mean[None], (self.width**2 * (square - shift * shift))[None, None]

    def rebinned(self, cells: int) -> GridLaw:
        """Return the law on ``cells`` uniform cells of the same interval; exact where their edges are edges here."""
        if self.cells % cells == 0:
            return self.coarsened(self.cells // cells)
        edges = torch.linspace(self.lower, self.upper, cells + 1, dtype=torch.float64)
        masses = self.cumulative(edges).diff()
        return GridLaw(self.lower, self.upper, masses / masses.sum(), self.bounded)

    def coarsened(self, factor: int = 2) -> GridLaw:
        """Return the law on cells ``factor`` times as wide, their masses summed.

        Raises ``ValueError`` unless ``factor`` divides the number of cells.
        """
        if factor < 1 or self.cells % factor:
            raise ValueError(f"GridLaw: {self.cells} cells cannot be merged {factor} at a time")
        return GridLaw(self.lower, self.upper, self.masses.reshape(-1, factor).sum(1), self.bounded)


def discretised(law: Density, lower: float, upper: float, cells: int) -> GridLaw:
    """Return a one-dimensional law's masses on ``cells`` cells, by Gauss-Legendre quadrature and normalised.

    Raises ``ValueError`` unless the cells catch the mass to 1e-6, neither outside nor between the nodes.
    """
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(5))
    parts = -(-1024 // cells)
    half = (upper - lower) / (2 * parts * cells)
    middles = lower + half * (2 * torch.arange(parts * cells, dtype=torch.float64) + 1)
    points = (middles[:, None] + half * nodes).reshape(-1, 1)
    masses = half * (law.log_prob(points).double().exp().reshape(cells, parts, -1) @ weights).sum(1)
    total = float(masses.sum())
    if not abs(total - 1) < 1e-6:
        raise ValueError(
            f"grid: {cells} cells of [{lower:g}, {upper:g}] catch mass {total:.8g} of the law, which must be 1: "
            f"widen the domain, or take more cells if the law is narrow"
        )
    return GridLaw(lower, upper, masses / total)


def symmetric_divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    """Return Σ (p - q) log(p / q) of two vectors of cell masses (m,): the SymKL of the laws seen by these cells.

    Merging cells never increases a divergence, so on the cells of the coarser of two grids this is a lower bound of
    the SymKL of their densities, and converges to it. Raises ``ValueError`` for masses that are not finite.
    """
    require_finite("symmetric divergence", p=p, q=q)
    p, q = p.clamp_min(EMPTY_CELL), q.clamp_min(EMPTY_CELL)
    return float(((p - q) * (p.log() - q.log())).sum())


def _parabola_integral(s: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """∫₀ˢ of the parabola of mean 1 on [0, 1] with ends a and b."""
    return s * (a + s * ((3 - 2 * a - b) + s * (a + b - 2)))


def _invert_parabola_integral(share: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Solve ``_parabola_integral(s, a, b) = share`` for s in [0, 1] by Newton's method inside a shrinking bracket."""
    low, high, s = torch.zeros_like(share), torch.ones_like(share), share.clone()
    for _ in range(60):
        excess = _parabola_integral(s, a, b) - share
        high = torch.where(excess > 0, s, high)
        low = torch.where(excess > 0, low, s)
        if bool((excess.abs() <= 4e-16).all()):
            break
        slope = a + s * ((6 - 4 * a - 2 * b) + s * (3 * (a + b) - 6))
        newton = s - excess / slope
        moved = torch.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
        if bool(((moved - s).abs() <= 4e-16).all()):
            break
        s = moved
    return s
