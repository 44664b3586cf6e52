"""True marginals of flows in the plane: ``problems.references.fokker_planck_2d`` refined until it no longer changes.

A rectangle is found that holds all that matters, and grids on it are refined and extrapolated. The relative error of
the density grows outwards: at the accuracy asked for by default it is below 0.1 where the density is above e^-15 of its
maximum, while far tails, below e^-60, may be off by a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import RectBivariateSpline

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.laws import Density
from problems.linear_algebra import bilinear
from problems.references.fokker_planck_2d import DUST, Axis, FokkerPlanck2D, points
from problems.references.grid_law_2d import GridLaw2D

# A density this far below its maximum, e^-32 = 1e-14, is left outside the rectangle.
DEPTH = 32.0
# Nodes are close where exp(-βV) is above e^-10 of its maximum.
CORE_DEPTH = 10.0
SEARCH_NODES = 257

COARSEST = 48
MOST_NODES = 385


@dataclass(frozen=True, eq=False)
class Domain:
    """The computational domain, and per axis the centre and the width of exp(-βV): four arrays (2,).

    Outside the rectangle between ``lower`` and ``upper`` no density matters.
    """

    lower: Reals
    upper: Reals
    centre: Reals
    scale: Reals

    def axes(self, cells: int) -> tuple[Axis, Axis]:
        """Return the two axes with ``cells`` cells each."""
        first, second = (
            Axis.stretched(*ends, cells) for ends in zip(self.lower, self.upper, self.centre, self.scale, strict=True)
        )
        return first, second


def reference_marginals(
    flow: GradientFlow, times: Sequence[float], tolerance: float = 1e-6, most_cells: int = 768
) -> list[GridLaw2D]:
    """Return the laws of a two-dimensional flow at ``times``, each refined until converged.

    Every refinement doubles the cells along both axes, and the log-densities of each grid and the next are extrapolated
    to order 4 (Richardson 1911). What the finer of two extrapolations in a row still lacks in SymKL is estimated from
    how much they differ and how fast such differences fall: a law is returned when that is below ``tolerance``.

    Raises ``ValueError`` for a potential that does not confine, and ``ArithmeticError`` if ``most_cells`` along an axis
    are not enough.
    """
    domain = effective_domain(flow)
    cells = COARSEST
    while cells < most_cells and abs(_caught(flow, *domain.axes(cells)) - 1) > 1e-6:
        cells *= 2
    found: dict[float, GridLaw2D] = {}
    pending = dict.fromkeys(times, GridConvergence())
    coarse = dict(zip(pending, _log_densities(flow, domain, cells, list(pending)), strict=True))
    while pending and 2 * cells <= most_cells:
        cells *= 2
        fine = dict(zip(pending, _log_densities(flow, domain, cells, list(pending)), strict=True))
        for time, convergence in list(pending.items()):
            better = fine[time][::2, ::2] + (fine[time][::2, ::2] - coarse[time]) / 3
            pending[time] = convergence.after(better, domain.axes(cells // 4))
            if pending[time].error < tolerance:
                found[time] = _law(domain.axes(cells), fine[time], better)
                del pending[time]
        coarse = fine
    if pending:
        time, convergence = next(iter(pending.items()))
        raise ArithmeticError(
            f"reference marginal at time {time:g}: with {cells} cells along an axis its SymKL is uncertain by about "
            f"{convergence.error:.3g}, more than {tolerance:g}"
        )
    return [found[time] for time in times]


@dataclass(frozen=True, eq=False)
class Marginals2D:
    """The true marginals of a two-dimensional flow, each worked out when it is first asked for.

    Those at the flow's own times are worked out together, since later ones contain the work for earlier ones.
    """

    flow: GradientFlow
    known: dict[float, GridLaw2D] = field(default_factory=dict)

    def __call__(self, time: float) -> GridLaw2D:
        """Return the law at ``time`` > 0; raises as :func:`reference_marginals` does."""
        if time not in self.known:
            times = self.flow.times if time in self.flow.times else (time,)
            self.known.update(zip(times, reference_marginals(self.flow, times), strict=True))
        return self.known[time]


@dataclass(frozen=True, eq=False)
class GridConvergence:
    """The last extrapolated log-density (m, n) at a time, its change from the one before, and its estimated error."""

    last: Reals | None = None
    change: float = float("nan")
    error: float = float("inf")

    def after(self, better: Reals, axes: tuple[Axis, Axis]) -> GridConvergence:
        """Return what is known with the next extrapolation ``better`` (m, n); ``axes`` are those of the one before."""
        if self.last is None:
            return GridConvergence(better)
        change = _symmetric_divergence(self.last, better[::2, ::2], *axes)
        # At order 4 a divergence falls 256-fold; until two differences tell, 16-fold is taken for granted.
        fall = max(change / self.change, 1 / 256) if self.change > 0 else 1 / 16
        return GridConvergence(better, change, change * fall)


def effective_domain(flow: GradientFlow) -> Domain:
    """Return a rectangle on whose border ρ0 and exp(-βV) are below e^-32 of their maxima and V rises outwards.

    Raises ``ValueError`` for a potential that does not confine, or is NaN, -inf or nowhere finite.
    """
    mean, covariance = (moment.double().numpy() for moment in flow.initial.moments())
    radius = 10 * np.sqrt(np.diag(covariance))
    for _ in range(24):
        survey = Survey.of(flow, mean - radius, mean + radius)
        if survey.holds_what_matters():
            break
        radius = 1.5 * radius
    else:
        raise ValueError(
            f"Fokker-Planck grid: the potential does not confine, it does not rise to 32/β above its minimum and go on "
            f"rising within {survey.upper[0] - mean[0]:.3g} of the initial mean"
        )
    for _ in range(2):
        low, high = survey.bounds(survey.above(DEPTH))
        closer = Survey.of(flow, low - 0.02 * (high - low), high + 0.02 * (high - low))
        if not closer.holds_what_matters():
            break
        survey = closer
    spacing = (survey.upper - survey.lower) / (SEARCH_NODES - 1)
    core, both = (survey.bounds(survey.above(CORE_DEPTH, initial=initial)) for initial in (False, True))
    # Wide enough for what ρ0 has to cross on its way in, which the errors of early times come from.
    scale = np.maximum(0.5 * (core[1] - core[0]), 0.25 * (both[1] - both[0]))
    return Domain(survey.lower, survey.upper, 0.5 * (both[0] + both[1]), np.maximum(scale, spacing))


@dataclass(frozen=True, eq=False)
class Survey:
    """The tables βV and log ρ0 (n, n) at equidistant nodes between the corners ``lower`` (2,) and ``upper`` (2,)."""

    lower: Reals
    upper: Reals
    energy: Reals
    log_initial: Reals

    @classmethod
    def of(cls, flow: GradientFlow, lower: Reals, upper: Reals) -> Survey:
        """Return the tables between the corners ``lower`` (2,) and ``upper`` (2,).

        Raises ``ValueError`` where V is NaN or -inf, or nowhere finite.
        """
        assert isinstance(flow.initial, Density)
        places = points(*np.linspace(lower, upper, SEARCH_NODES).T)
        shape = (SEARCH_NODES, SEARCH_NODES)
        energy = flow.inverse_temperature * flow.potential.value(places).double().numpy().reshape(shape)
        if not (energy > -np.inf).all() or np.isinf(energy).all():
            raise ValueError(f"Fokker-Planck grid: the potential is NaN, -inf or only inf between {lower} and {upper}")
        return cls(lower, upper, energy, flow.initial.log_prob(places).double().numpy().reshape(shape))

    def above(self, depth: float, *, initial: bool = True) -> npt.NDArray[np.bool_]:
        """Return at which nodes exp(-βV), or ρ0 with ``initial``, is above e^-depth of its maximum, shape (n, n)."""
        deep = self.energy <= self.energy.min() + depth
        return np.asarray(deep | (self.log_initial > self.log_initial.max() - depth)) if initial else deep

    def bounds(self, nodes: npt.NDArray[np.bool_]) -> tuple[Reals, Reals]:
        """Return the corners (2,) and (2,) of the smallest rectangle that holds the marked ``nodes`` (n, n)."""
        places = np.linspace(self.lower, self.upper, SEARCH_NODES)
        ends = [np.flatnonzero(nodes.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
        low, high = (np.array([places[ends[axis][side], axis] for axis in (0, 1)]) for side in (0, 1))
        return low, high

    def holds_what_matters(self) -> bool:
        """Return whether the border is free of what matters, and V nowhere falls on the way out across it."""
        border = np.ones(self.energy.shape, dtype=bool)
        border[1:-1, 1:-1] = False
        rises = all(
            bool((edge >= inner).all())
            for rows in (self.energy, self.energy[::-1], self.energy.T, self.energy.T[::-1])
            for edge, inner in [(rows[0], rows[1])]
        )
        return rises and not bool((self.above(DEPTH) & border).any())


def _initial_density(flow: GradientFlow, x: Axis, y: Axis) -> Reals:
    assert isinstance(flow.initial, Density)
    density = flow.initial.log_prob(points(x.nodes, y.nodes)).double().exp().numpy()
    return np.asarray(density.reshape(len(x.nodes), len(y.nodes)))


def _caught(flow: GradientFlow, x: Axis, y: Axis) -> float:
    """Return the mass of ρ0 by the trapezoidal rule, which is 1 when the nodes resolve it."""
    return _integral(_initial_density(flow, x, y), x, y)


def _log_densities(flow: GradientFlow, domain: Domain, cells: int, times: Sequence[float]) -> list[Reals]:
    """Return the log-density at the nodes at each time, normalised by the trapezoidal rule."""
    x, y = domain.axes(cells)
    operator = FokkerPlanck2D.discretise(flow, x, y)
    found = []
    for masses in operator.propagate(_initial_density(flow, x, y) * operator.areas, times):
        log_density = np.log(np.maximum(masses, DUST)) - np.log(operator.areas)
        found.append(log_density - np.log(_integral(np.exp(log_density), x, y)))
    return found


def _symmetric_divergence(log_p: Reals, log_q: Reals, x: Axis, y: Axis) -> float:
    return _integral((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q), x, y)


def _integral(values: Reals, x: Axis, y: Axis) -> float:
    return bilinear(x.weights, values, y.weights)


def _law(axes: tuple[Axis, Axis], log_density: Reals, better: Reals) -> GridLaw2D:
    """Return the law with the log-density on the nodes of ``axes``, corrected by what is better on every other node.

    With more than 385 nodes along an axis, every other node is enough.
    """
    (x, y), (rows, columns) = (axis.nodes for axis in axes), (np.arange(0.0, count) for count in log_density.shape)
    if max(log_density.shape) > MOST_NODES:
        return GridLaw2D(torch.from_numpy(x[::2]), torch.from_numpy(y[::2]), torch.from_numpy(better))
    correction = RectBivariateSpline(rows[::2], columns[::2], better - log_density[::2, ::2])
    return GridLaw2D(
        torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(log_density + correction(rows, columns))
    )
