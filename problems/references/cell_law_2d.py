"""Laws in the plane given by the masses of equal cells: the density is a plane on every part of a cell, zero in some.

Cells are halved twice along each axis, which moves the masses to where the parabola through three of them has them; on
each of the 16 parts the slopes are central differences, lessened where a corner would be negative (van Leer, J. Comput.
Phys. 32, 1979). So the density is right to O((width/4)²) where it is smooth, every cell has its mass, and none comes to
cells that have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from problems.arrays import Reals
from problems.laws import Density
from problems.validation import require_finite

LEAST_CELLS = 3
HALVINGS = 2


@dataclass(frozen=True, eq=False)
class CellLaw2D(Density):
    """A law of equal cells between the corners ``lower`` and ``upper``, with ``masses`` (m, n), float64, that sum to 1.

    The log-density is -inf in cells without mass and outside.

    Raises ``ValueError`` for corners that are not finite and increasing, fewer than three cells along an axis, and
    masses that are negative or don't sum to 1 within 1e-6.
    """

    lower: tuple[float, float]
    upper: tuple[float, float]
    masses: torch.Tensor

    def __post_init__(self) -> None:
        for low, high in zip(self.lower, self.upper, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"CellLaw2D: lower must be below upper, all finite; got {self.lower!r} and {self.upper!r}"
                )
        if self.masses.ndim != 2 or min(self.masses.shape) < LEAST_CELLS or self.masses.dtype != torch.float64:
            raise ValueError(
                f"CellLaw2D: masses must be float64 of shape (m, n) with m, n >= {LEAST_CELLS}, "
                f"got {self.masses.dtype} of shape {tuple(self.masses.shape)}"
            )
        require_finite("CellLaw2D", masses=self.masses)
        total, least = float(self.masses.sum()), float(self.masses.min())
        if least < 0 or abs(total - 1) > 1e-6:
            raise ValueError(f"CellLaw2D: masses must be >= 0 and sum to 1, got {least:.3g} and the sum {total:.8g}")

    @property
    def dim(self) -> int:
        return 2

    @cached_property
    def _parts(self) -> Reals:
        """The masses of the parts of cells, of sum 1, shape (4m, 4n)."""
        masses = self.masses.numpy()
        for axis in (0, 1) * HALVINGS:
            masses = _halved(masses, axis)
        return np.asarray(masses / masses.sum())

    @property
    def _widths(self) -> tuple[float, float]:
        """The widths of a part along the axes."""
        m, n = self._parts.shape
        return (self.upper[0] - self.lower[0]) / m, (self.upper[1] - self.lower[1]) / n

    @cached_property
    def _slopes(self) -> Reals:
        """The changes of the density across each part along the axes, over its mean there, shape (2, 4m, 4n)."""
        masses = self._parts
        changes = np.stack([_change(masses, axis) for axis in (0, 1)])
        slopes = np.divide(changes, masses, out=np.zeros_like(changes), where=masses > 0)
        # 1 ± ½ (p + q) must not be negative at a corner.
        return np.asarray(slopes / np.maximum(1, 0.5 * np.abs(slopes).sum(0)))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        places = x.double().numpy()
        outside = np.zeros(len(places), dtype=bool)
        cells, within = [], []
        for axis in (0, 1):
            place = np.nan_to_num(places[:, axis] - self.lower[axis]) / self._widths[axis]
            count = self._parts.shape[axis]
            outside |= ~((place >= 0) & (place <= count))
            cell = np.clip(np.floor(place), 0, count - 1)
            cells.append(cell.astype(np.int64))
            within.append(place - cell - 0.5)
        p, q = self._slopes[:, cells[0], cells[1]]
        area = self._widths[0] * self._widths[1]
        density = self._parts[cells[0], cells[1]] / area * np.maximum(1 + p * within[0] + q * within[1], 0)
        found = np.log(density, out=np.full(len(density), -np.inf), where=(density > 0) & ~outside)
        return torch.from_numpy(np.where(np.isnan(places).any(axis=1), np.nan, found))

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(n, 3, generator=generator, dtype=torch.float64, device=generator.device)
        level, s, t = draws.cpu().numpy().T
        cumulative = self._parts.ravel().cumsum()
        cell = np.searchsorted(cumulative, level * cumulative[-1], side="right").clip(max=len(cumulative) - 1)
        i, j = np.divmod(cell, self._parts.shape[1])
        p, q = self._slopes[:, i, j]
        first = _place(s, p)
        second = _place(t, q / np.maximum(1 + p * (first - 0.5), 1e-300))
        x = self.lower[0] + self._widths[0] * (i + first)
        return torch.from_numpy(np.stack([x, self.lower[1] + self._widths[1] * (j + second)], axis=1))

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (2,) and the covariance (2, 2) of the density."""
        masses, slopes = self._parts, self._slopes
        centres = [
            low + width * (np.arange(count) + 0.5)
            for low, width, count in zip(self.lower, self._widths, masses.shape, strict=True)
        ]
        origin = np.array([(masses.sum(1) * centres[0]).sum(), (masses.sum(0) * centres[1]).sum()])
        corner = [(centres[0] - origin[0])[:, None] + np.zeros_like(masses), centres[1] - origin[1]]
        # Of a plane 1 + p s over a cell, s in [-½, ½]: E s = p/12 and E s² = 1/12; of both, E st = 0.
        shift = [width * slope / 12 for width, slope in zip(self._widths, slopes, strict=True)]
        mean = np.array([(masses * (corner[axis] + shift[axis])).sum() for axis in (0, 1)])
        second = np.empty((2, 2))
        for a in (0, 1):
            square = corner[a] ** 2 + 2 * corner[a] * shift[a] + self._widths[a] ** 2 / 12
            second[a, a] = (masses * square).sum()
        cross = corner[0] * corner[1] + corner[0] * shift[1] + corner[1] * shift[0]
        second[0, 1] = second[1, 0] = (masses * cross).sum()
        return torch.from_numpy(origin + mean), torch.from_numpy(second - np.multiply.outer(mean, mean))


def _change(masses: Reals, axis: int) -> Reals:
    """Return what masses (m, n) change by across a cell along an axis, by central differences, 0 at the walls."""
    found = np.zeros_like(masses)
    inner, after, before = ([slice(None)] * 2 for _ in range(3))
    inner[axis], after[axis], before[axis] = slice(1, -1), slice(2, None), slice(None, -2)
    found[tuple(inner)] = 0.5 * (masses[tuple(after)] - masses[tuple(before)])
    return found


def _halved(masses: Reals, axis: int) -> Reals:
    """Return the masses of both halves of every cell along an axis.

    They are those of the parabola with the masses of the cell and of both beside it; of no more than a plane allows
    that is not negative.
    """
    eighth = 0.125 * np.clip(_change(masses, axis), -2 * masses, 2 * masses)
    shape = list(masses.shape)
    shape[axis] *= 2
    return np.stack([0.5 * masses - eighth, 0.5 * masses + eighth], axis=axis + 1).reshape(shape)


def _place(level: Reals, slope: Reals) -> Reals:
    """Solve ∫₀ˢ (1 + slope (σ - ½)) dσ = ``level`` for s in [0, 1], each (n,), |slope| ≤ 2."""
    b = 1 - 0.5 * slope
    # The root of ½ slope s² + b s - level that does not cancel.
    return np.asarray(
        np.clip(2 * level / np.maximum(b + np.sqrt(np.maximum(b * b + 2 * slope * level, 0)), 1e-300), 0, 1)
    )
