"""One-dimensional laws as increasing maps of a reference law, in one piece or several.

X = T_c(Y) with probability M_c; each map is known at nodes and is a cubic spline in between, so that the density is
M_c ρ_ref(y) / T_c'(y) at x = T_c(y). It is zero between pieces and, where the reference law has edges, outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator

from problems.arrays import Reals
from solvers.estimates import DensityEstimate
from solvers.one_dimensional.mesh import Mesh

# Neighbouring quantiles this near, over the law's width, have run into one point as far as float64 can tell.
COLLAPSED = 1e-15
# How near to an edge of the reference law, where ρ_ref and T' may both vanish, their quotient is taken.
RIM = 1e-9


@dataclass(frozen=True, eq=False)
class ReferenceMap(DensityEstimate):
    """The law of origin + T(Y), Y of the ``mesh``'s reference law, with T increasing, given by its ``values`` (n,).

    They are those at the nodes of all pieces. Beyond the nodes T goes on as a straight line, where the reference law
    does. Masses that have run together leave no density: ``density`` is then ``None``.
    """

    mesh: Mesh
    values: Reals
    origin: float = 0.0

    @property
    def dim(self) -> int:
        return 1

    @cached_property
    def width(self) -> float:
        """Standard deviation of the law: the unit that distances are judged in."""
        weights = self.mesh.around / self.mesh.around.sum()
        mean = float((weights * self.values).sum())
        return float(np.sqrt((weights * (self.values - mean) ** 2).sum()))

    @cached_property
    def resolved(self) -> bool:
        """Whether all quantiles are apart, so that there is a density."""
        gaps = np.diff(self.values)
        inner = np.delete(gaps, self.mesh.seams)
        return bool((inner > COLLAPSED * (self.values[-1] - self.values[0])).all())

    @property
    def density(self) -> DensityEstimate | None:  # type: ignore[override]
        return self if self.resolved else None

    @cached_property
    def splines(self) -> list[CubicSpline | PchipInterpolator]:
        """The splines that the pieces of T are between the nodes."""
        return [
            increasing_spline(y, values)
            for y, values in zip(self.mesh.nodes, self.mesh.split(self.values), strict=True)
        ]

    def _evaluate(self, piece: int, y: Reals) -> tuple[Reals, Reals]:
        """Return T and T' of a piece at ``y`` (n,), both (n,)."""
        nodes, spline = self.mesh.nodes[piece], self.splines[piece]
        inside = np.clip(y, nodes[0], nodes[-1])
        slope = np.asarray(spline(inside, 1))
        return np.asarray(spline(inside) + slope * (y - inside)), slope

    def _places(self, piece: int, x: Reals) -> Reals:
        """Return y (n,) with T(y) = x at ``x`` (n,) of a piece, by Newton's method in the bracket of two nodes."""
        nodes, spline = self.mesh.nodes[piece], self.splines[piece]
        values = self.mesh.split(self.values)[piece]
        cell = np.clip(np.searchsorted(values, x) - 1, 0, len(nodes) - 2)
        low, high = nodes[cell], nodes[cell + 1]
        width = values[cell + 1] - values[cell]
        y = low + np.clip((x - values[cell]) / np.where(width > 0, width, 1.0), 0, 1) * (high - low)
        for _ in range(60):
            value, slope = np.asarray(spline(y)), np.asarray(spline(y, 1))
            low, high = np.where(value < x, y, low), np.where(value < x, high, y)
            newton = y - (value - x) / np.where(slope > 0, slope, 1.0)
            moved = np.where((newton >= low) & (newton <= high) & (slope > 0), newton, 0.5 * (low + high))
            done = np.abs(moved - y).max(initial=0) < 1e-15 * (1 + np.abs(y).max(initial=0))
            y = moved
            if done:
                break
        for end, outside in ((0, x < values[0]), (-1, x > values[-1])):
            end_slope = float(spline(nodes[end], 1))
            if end_slope > 0:
                y = np.where(outside, nodes[end] + (x - values[end]) / end_slope, y)
        return y

    def _piece_of(self, x: Reals) -> Reals:
        """Return the number of the piece that each of ``x`` (n,) is in, or is right of, as floats (n,)."""
        starts = [piece[0] for piece in self.mesh.split(self.values)]
        return np.asarray(np.clip(np.searchsorted(starts, x, side="right") - 1, 0, len(starts) - 1))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        place = x[:, 0].double().numpy() - self.origin
        found = np.full(len(place), -np.inf)
        found[np.isnan(place)] = np.nan
        at = self._piece_of(place)
        for piece, values in enumerate(self.mesh.split(self.values)):
            here = at == piece
            if self.mesh.law.bounded:
                here &= (place >= values[0]) & (place <= values[-1])
            if here.any():
                y = self._places(piece, place[here])
                if self.mesh.law.bounded:
                    y = np.clip(y, RIM - 1, 1 - RIM)
                _, slope = self._evaluate(piece, y)
                log_ratio = self.mesh.law.log_density(y) - np.log(np.maximum(slope, 1e-300))
                found[here] = np.log(self.mesh.masses[piece]) + log_ratio
        return torch.from_numpy(found)

    def _at_levels(self, levels: Reals) -> Reals:
        """Return the quantiles at ``levels`` (n,), shape (n,)."""
        ends = np.cumsum(self.mesh.masses)
        starts = ends - self.mesh.masses
        at = np.clip(np.searchsorted(ends[:-1], levels, side="right"), 0, len(ends) - 1)
        found = np.empty(len(levels))
        for piece, mass in enumerate(self.mesh.masses):
            here = at == piece
            share = np.clip((levels[here] - starts[piece]) / mass, 0, 1)
            y = self.mesh.law.place(share, 1 - share)
            found[here] = self._evaluate(piece, y)[0]
        return self.origin + found

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        levels = torch.rand(n, generator=generator, dtype=torch.float64).clamp_min(2.0**-54)
        return torch.from_numpy(self._at_levels(levels.numpy()))[:, None]

    def defect(self) -> str | None:
        if not np.isfinite(self.values).all():
            return f"{int((~np.isfinite(self.values)).sum())} of {len(self.values)} quantiles are not finite"
        return None if (np.diff(self.values) >= 0).all() else "the quantiles decrease"

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        shares, masses = self.mesh.points
        values = np.concatenate(
            [
                np.asarray(spline(np.concatenate([y[:-1] + t * np.diff(y) for t in part])))
                for spline, y, part in zip(self.splines, self.mesh.nodes, self._shares_of_pieces(shares), strict=True)
            ]
        )
        weights = np.concatenate([part.ravel() for part in self._shares_of_pieces(masses)])
        weights = weights / weights.sum()
        mean = float((weights * values).sum())
        variance = float((weights * (values - mean) ** 2).sum())
        return torch.tensor([self.origin + mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64)

    def _shares_of_pieces(self, of_cells: Reals) -> list[Reals]:
        """Return numbers of the cells' points, (2, n - 1), piece by piece and without the seams."""
        ends = [*self.mesh.seams, of_cells.shape[1]]
        starts = [0, *(seam + 1 for seam in self.mesh.seams)]
        return [of_cells[:, start:end] for start, end in zip(starts, ends, strict=True)]

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        return [float(value) for value in self._at_levels(np.asarray(levels, dtype=np.float64))]

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        x = np.array([place - self.origin])
        total = 0.0
        for piece, (mass, values) in enumerate(zip(self.mesh.masses, self.mesh.split(self.values), strict=True)):
            if self.mesh.law.bounded and x[0] >= values[-1]:
                total += mass
            elif not self.mesh.law.bounded or x[0] > values[0]:
                total += mass * float(self.mesh.law.below(self._places(piece, x))[0])
        return total


def increasing_spline(y: Reals, values: Reals) -> CubicSpline | PchipInterpolator:
    """Return the cubic spline through ``values`` (n,) at ``y`` (n,), or where that falls, the monotone one."""
    if not (np.diff(values) > 0).all():
        return PchipInterpolator(y, values)
    spline = CubicSpline(y, values)
    slope = np.concatenate([spline(y, 1), spline(0.5 * (y[1:] + y[:-1]), 1)])
    return spline if slope.min() >= 0 else PchipInterpolator(y, values)
