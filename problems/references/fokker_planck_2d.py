"""The Fokker-Planck equation ∂ρ = ∇·(ρ∇V) + β⁻¹Δρ in the plane, on a rectangular grid between walls without flux.

Between neighbouring nodes a distance d apart passes the flux of Scharfetter & Gummel (1969), IEEE Trans. Electron
Devices 16: with B(z) = z / (eᶻ - 1), towards increasing x,

    J = (B(z) ρ_i - B(-z) ρ_{i+1}) / (β d),    z = β (V_{i+1} - V_i),

and likewise along y; masses p = w ρ on cells of area w then obey dp/dt = L p with the generator L of a Markov chain.
It is of second order, keeps masses positive and their sum constant, and w exp(-βV) is stationary.

Time is exact by uniformisation (Jensen 1953, Skand. Aktuarietidskr. 36): with Λ the largest rate of leaving a cell,
P = I + L/Λ has no negative entry, and

    exp(tL) p = Σ_k e^{-Λt} (Λt)^k / k!  P^k p

adds nothing but what is not negative, so that small masses in the tails are as right as large ones. It takes about
Λt + 11√(Λt) products with P; Λ grows with the square of the number of cells along an axis.

Nodes stand close in the middle and wide in the tails: x = c + a sinh ξ with equidistant ξ, so that errors are still
powers of the squared distance in ξ, and the solutions on two grids can be extrapolated to order 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import dia_matrix
from scipy.special import gammaln

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.references.fokker_planck import bernoulli

# Masses below are dropped: near 1e-308 arithmetic is slow, and no figure sees them.
DUST = 1e-280
PRODUCTS_BETWEEN_SWEEPS = 8

# Terms of the Poisson sum below e^-60 = 1e-26 of the largest are left out.
POISSON_DEPTH = 60.0


@dataclass(frozen=True, eq=False)
class Axis:
    """The nodes (n,) of an axis from wall to wall, and the ``widths`` (n,) of their cells, half ones at the ends.

    ``weights`` are those of the trapezoidal rule in ξ, which is exact to all orders for densities that vanish at the
    walls.
    """

    nodes: Reals
    widths: Reals
    weights: Reals

    @classmethod
    def stretched(cls, lower: float, upper: float, centre: float, scale: float, cells: int) -> Axis:
        """Return the axis x = centre + scale·sinh ξ of ``cells`` + 1 equidistant ξ from ``lower`` to ``upper``."""
        first, last = np.arcsinh((lower - centre) / scale), np.arcsinh((upper - centre) / scale)
        xi, step = np.linspace(first, last, cells + 1, retstep=True)
        between = np.concatenate([xi[:1], 0.5 * (xi[1:] + xi[:-1]), xi[-1:]])
        weights = step * scale * np.cosh(xi)
        weights[[0, -1]] *= 0.5
        return cls(centre + scale * np.sinh(xi), scale * np.diff(np.sinh(between)), weights)


@dataclass(frozen=True, eq=False)
class FokkerPlanck2D:
    """The generator L between the nodes of two axes; masses are arrays of shape (m, n).

    ``right`` and ``left`` (m - 1, n) are the rates of passing from a node to the next along x and back, ``up`` and
    ``down`` (m, n - 1) along y.
    """

    x: Axis
    y: Axis
    right: Reals
    left: Reals
    up: Reals
    down: Reals

    @classmethod
    def discretise(cls, flow: GradientFlow, x: Axis, y: Axis) -> FokkerPlanck2D:
        """Return the generator of a two-dimensional ``flow``; raises ``ValueError`` where V is not finite."""
        places = points(x.nodes, y.nodes)
        potential = flow.potential.value(places).double().numpy().reshape(len(x.nodes), len(y.nodes))
        if not np.isfinite(potential).all():
            where = places[int(np.flatnonzero(~np.isfinite(potential))[0])].tolist()
            raise ValueError(f"Fokker-Planck grid: the potential is not finite at x = {where}")
        beta = flow.inverse_temperature
        along, across = beta * np.diff(potential, axis=0), beta * np.diff(potential, axis=1)
        dx, dy = beta * np.diff(x.nodes)[:, None], beta * np.diff(y.nodes)
        return cls(
            x,
            y,
            bernoulli(along) / (dx * x.widths[:-1, None]),
            bernoulli(-along) / (dx * x.widths[1:, None]),
            bernoulli(across) / (dy * y.widths[:-1]),
            bernoulli(-across) / (dy * y.widths[1:]),
        )

    @property
    def areas(self) -> Reals:
        """Areas of the cells, shape (m, n)."""
        return np.asarray(np.multiply.outer(self.x.widths, self.y.widths))

    def apply(self, masses: Reals) -> Reals:
        """Return L p of masses p (m, n), shape (m, n), as differences of fluxes, which sum to zero."""
        along = self.right * masses[:-1] - self.left * masses[1:]
        across = self.up * masses[:, :-1] - self.down * masses[:, 1:]
        change = np.zeros_like(masses)
        change[:-1] -= along
        change[1:] += along
        change[:, :-1] -= across
        change[:, 1:] += across
        return change

    @cached_property
    def chain(self) -> tuple[dia_matrix, float]:
        """The matrix P = I + L/Λ of flattened masses, shape (m n, m n), and the rate Λ."""
        shape = len(self.x.nodes), len(self.y.nodes)
        leaving = np.zeros(shape)
        leaving[:-1] += self.right
        leaving[1:] += self.left
        leaving[:, :-1] += self.up
        leaving[:, 1:] += self.down
        rate = float(leaving.max())
        # A column of P holds where the mass of a node goes.
        diagonals = np.zeros((5, leaving.shape[0], leaving.shape[1]))
        diagonals[0] = 1 - leaving / rate
        diagonals[1, :-1] = self.right / rate
        diagonals[2, 1:] = self.left / rate
        diagonals[3, :, :-1] = self.up / rate
        diagonals[4, :, 1:] = self.down / rate
        offsets = [0, -shape[1], shape[1], -1, 1]
        size = leaving.size
        return dia_matrix((diagonals.reshape(5, size), offsets), shape=(size, size)), rate

    def propagate(self, masses: Reals, times: Sequence[float]) -> list[Reals]:
        """Return exp(tL) p of masses p (m, n) for each of ``times``, each (m, n); masses below 1e-280 are dropped."""
        transition, rate = self.chain
        poisson = [_poisson(rate * time) for time in times]
        results = [np.zeros(masses.size) for _ in times]
        power: Reals = masses.ravel().copy()
        last = max(first + len(weights) for first, weights in poisson)
        for k in range(last):
            for (first, weights), result in zip(poisson, results, strict=True):
                if first <= k < first + len(weights):
                    result += weights[k - first] * power
            power = transition @ power
            if k % PRODUCTS_BETWEEN_SWEEPS == 0:
                power[power < DUST] = 0
        return [result.reshape(masses.shape) for result in results]


def points(x: Reals, y: Reals) -> torch.Tensor:
    """Return all pairs of ``x`` (m,) and ``y`` (n,), shape (m n, 2), y running fastest."""
    return torch.from_numpy(np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2))


def _poisson(mean: float) -> tuple[int, Reals]:
    """Return the first k whose Poisson probability matters, and the probabilities from there on, of sum 1."""
    reach = (2 * POISSON_DEPTH * mean) ** 0.5 + POISSON_DEPTH
    k = np.arange(max(0, int(mean - reach)), int(mean + reach) + 1)
    log_weights = k * np.log(mean) - gammaln(k + 1)
    kept = log_weights > log_weights.max() - POISSON_DEPTH
    weights = np.exp(log_weights[kept] - log_weights.max())
    return int(k[kept][0]), weights / weights.sum()
