"""Laws in the plane given by their log-density at the nodes of a rectangular grid.

Between the nodes the log-density is the tensor-product quintic spline through them (de Boor, A Practical Guide to
Splines, 2001), right to O(width⁶) where it is smooth; outside the rectangle the density is zero. Draws are exact for
that density: rejection from an envelope that is constant on every cell (Devroye, Non-Uniform Random Variate
Generation, 1986, §II.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline

from problems.arrays import Reals
from problems.laws import Density
from problems.linear_algebra import bilinear, weighted_sum
from problems.validation import require_finite

DEGREE = 5

# The largest density in a cell is looked for on 4 × 4 places, its edges included.
PARTS = 3


@dataclass(frozen=True, eq=False)
class GridLaw2D(Density):
    """A law in the plane by its ``log_density`` (m, n), float64, at the nodes ``x`` (m,) and ``y`` (n,).

    Nodes increase, at least 6 along each axis. The log-density need not be normalised: its constant is worked out here,
    by Gauss's rule of 4 × 4 places a cell.

    Raises ``ValueError`` for nodes that do not increase, shapes that do not fit, and values that are not finite.
    """

    x: torch.Tensor
    y: torch.Tensor
    log_density: torch.Tensor

    def __post_init__(self) -> None:
        require_finite("GridLaw2D", x=self.x, y=self.y, log_density=self.log_density)
        for name, nodes in (("x", self.x), ("y", self.y)):
            if nodes.ndim != 1 or len(nodes) <= DEGREE or bool((nodes.diff() <= 0).any()):
                raise ValueError(f"GridLaw2D: {name} must hold at least {DEGREE + 1} increasing nodes")
        if self.log_density.shape != (len(self.x), len(self.y)) or self.log_density.dtype != torch.float64:
            raise ValueError(
                f"GridLaw2D: log_density must be float64 of shape ({len(self.x)}, {len(self.y)}), "
                f"got {self.log_density.dtype} of shape {tuple(self.log_density.shape)}"
            )

    @property
    def dim(self) -> int:
        return 2

    @cached_property
    def _spline(self) -> RectBivariateSpline:
        height = float(self.log_density.max())
        values = (self.log_density - height).numpy()
        return RectBivariateSpline(self.x.numpy(), self.y.numpy(), values, kx=DEGREE, ky=DEGREE, s=0)

    @cached_property
    def _places(self) -> Reals:
        """The spline on the places of every cell, shape (m - 1, n - 1, 4, 4)."""
        x, y = (np.interp(np.arange(PARTS * (len(v) - 1) + 1) / PARTS, np.arange(len(v)), v) for v in self._nodes)
        values = self._spline(x, y)
        windows = np.lib.stride_tricks.sliding_window_view(values, (PARTS + 1, PARTS + 1))
        return np.asarray(windows[::PARTS, ::PARTS])

    @property
    def _nodes(self) -> tuple[Reals, Reals]:
        return self.x.numpy(), self.y.numpy()

    @cached_property
    def _areas(self) -> Reals:
        return np.asarray(np.multiply.outer(*map(np.diff, self._nodes)))

    @cached_property
    def _log_total(self) -> float:
        (x, wx), (y, wy) = (_gauss(nodes, 4) for nodes in self._nodes)
        return math.log(bilinear(wx, np.exp(self._spline(x, y)), wy))

    @cached_property
    def _envelope(self) -> Reals:
        """A bound of the spline on each cell, shape (m - 1, n - 1).

        A smooth function exceeds its values at equidistant places by an eighth of its second difference at the most,
        in each direction; a quarter leaves room for what the second difference itself changes in the cell.
        """
        places = self._places
        bound = places.max(axis=(2, 3))
        for axis in (2, 3):
            bound = bound + 0.25 * np.abs(np.diff(places, 2, axis=axis)).max(axis=(2, 3))
        return np.asarray(bound)

    def quadrature(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return points (k, 2) and masses (k,), of sum 1, that stand for the law in expectations, by Gauss's rule."""
        (x, wx), (y, wy) = (_gauss(nodes, 2) for nodes in self._nodes)
        masses = np.exp(self._spline(x, y) - self._log_total) * wx[:, None] * wy
        points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        weights = masses.ravel()
        kept = weights > 1e-20 * weights.max()
        return torch.from_numpy(points[kept]), torch.from_numpy(weights[kept] / weights[kept].sum())

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        x = x.double()
        first, second = x.nan_to_num(0.0).numpy().T
        inside = self._spline.ev(first, second) - self._log_total
        outside = np.zeros(len(x), dtype=bool)
        for place, nodes in ((first, self._nodes[0]), (second, self._nodes[1])):
            outside |= (place < nodes[0]) | (place > nodes[-1])
        found = torch.from_numpy(np.where(outside, -np.inf, inside))
        return torch.where(x.isnan().any(dim=1), torch.nan, found)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` independent draws, shape (n, 2).

        Raises ``ArithmeticError`` where the log-density turns out to exceed the envelope that it is drawn from.
        """
        envelope = self._envelope
        cumulative = (np.exp(envelope) * self._areas).ravel().cumsum()
        acceptance = math.exp(self._log_total) / cumulative[-1]
        found: list[Reals] = []
        missing = n
        while missing > 0:
            tries = math.ceil(1.1 * missing / acceptance) + 16
            uniforms = torch.rand(tries, 4, generator=generator, dtype=torch.float64, device=generator.device)
            level, s, t, toss = uniforms.cpu().numpy().T
            cell = np.searchsorted(cumulative, level * cumulative[-1], side="right").clip(max=len(cumulative) - 1)
            i, j = np.divmod(cell, envelope.shape[1])
            x, y = (
                nodes[place] + share * (nodes[place + 1] - nodes[place])
                for nodes, place, share in zip(self._nodes, (i, j), (s, t), strict=True)
            )
            log_share = self._spline.ev(x, y) - envelope[i, j]
            if log_share.max(initial=0.0) > 1e-12:
                raise ArithmeticError(f"GridLaw2D: the log-density exceeds its envelope by {log_share.max():.3g}")
            kept = np.log(toss, where=toss > 0, out=np.full_like(toss, -np.inf)) < log_share
            found.append(np.stack([x, y], axis=1)[kept][:missing])
            missing -= len(found[-1])
        return torch.from_numpy(np.concatenate([np.empty((0, 2)), *found]))

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        points, masses = (part.numpy() for part in self.quadrature())
        mean = weighted_sum(masses, points)
        covariance = np.einsum("k,ki,kj->ij", masses, points - mean, points - mean)
        return torch.from_numpy(mean), torch.from_numpy(covariance)


def _gauss(nodes: Reals, count: int) -> tuple[Reals, Reals]:
    """Return places and weights of Gauss-Legendre quadrature with ``count`` places in every gap between nodes."""
    places, weights = np.polynomial.legendre.leggauss(count)
    middles, halves = 0.5 * (nodes[1:] + nodes[:-1]), 0.5 * np.diff(nodes)
    return (middles[:, None] + halves[:, None] * places).ravel(), (halves[:, None] * weights).ravel()
