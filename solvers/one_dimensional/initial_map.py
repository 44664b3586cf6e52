"""The initial law of a flow on the line as a map of a reference law that behaves as the flow will make it behave.

A law with edges becomes one piece for each interval of its support, a map of (1 - y²)^p: p = 1/(m - 1) under ∫ρᵐ,
½ where masses repel like charges (the semicircle's), and else what the initial density itself has at its edges. Other
laws are maps of the normal law, or for m < 1 of the one with the tails that ∫ρᵐ makes at once. For m > 1 they are maps
of (1 - y²)^p as well, which fronts form like, and lose the outermost 1e-10 of their mass on either side.

Half the nodes are evenly spread over the reference law's own coordinate, half over where the law is: what separates two
bumps, almost without mass, is seen, too.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from problems.arrays import Reals
from problems.energies import InternalEnergy, PowerEntropy
from problems.interactions import Interaction
from problems.laws import Density, Gaussian
from solvers.one_dimensional.mesh import Mesh
from solvers.one_dimensional.reference_laws import REACH, EdgeLaw, NormalLaw, ReferenceLaw, TailLaw
from solvers.one_dimensional.reference_map import ReferenceMap, increasing_spline

GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(5)
SCAN = 8193
# Places at which the initial density is integrated, for each node.
FINER = 16
# A density so far below its maximum at this share of the support from its end has no edge there that matters.
EDGE_DEPTH = 40.0
EDGE_SHARE = 1e-3
# exp(-45) = 3e-20: what lies beyond is not missed in float64.
DEPTH = 45.0
# Largest power of an edge: the cells there would have less mass than float64 holds.
STEEPEST = 10.0
# Mass left out at either end of a law without edges that is to have some.
CUT = 1e-10
# Least distance of nodes over the support's width: they are to stay apart in float64.
APART = 1e-12


def initial_map(
    law: Density, internal: InternalEnergy | None, interaction: Interaction | None, nodes: int
) -> ReferenceMap:
    """Return the law as a map of about so many ``nodes``, at least half of them.

    Raises ``ValueError`` for a law whose density is nowhere finite and positive.
    """
    mean, covariance = law.moments()
    origin, width = float(mean[0]), math.sqrt(float(covariance[0, 0]))
    if isinstance(law, Gaussian) and not front_law(internal):
        reference = tail_law(internal)
        y = reference.nodes(nodes)
        return ReferenceMap(Mesh(reference, (1.0,), (y,)), width * np.linspace(-REACH, REACH, nodes), origin)
    density = _Centred(law, origin)
    pieces = bounded_support(density, width, law.support_radius)
    if pieces is None:
        return _unbounded(density, width, front_law(internal) or tail_law(internal), nodes, origin)
    return _bounded(density, pieces, edge_law(internal, interaction, density, pieces), nodes, origin)


def tail_law(internal: InternalEnergy | None) -> ReferenceLaw:
    """Return the reference law of laws without edges."""
    if isinstance(internal, PowerEntropy) and internal.exponent < 1:
        return TailLaw(1 / (1 - internal.exponent))
    return NormalLaw()


def front_law(internal: InternalEnergy | None) -> ReferenceLaw | None:
    """Return the reference law of what ∫ρᵐ makes for m > 1, or ``None`` where it makes no edges that are resolved."""
    if isinstance(internal, PowerEntropy) and internal.exponent >= 1 + 1 / STEEPEST:
        return EdgeLaw(1 / (internal.exponent - 1))
    return None


def edge_law(
    internal: InternalEnergy | None,
    interaction: Interaction | None,
    density: _Centred,
    pieces: list[tuple[float, float]],
) -> ReferenceLaw:
    """Return the reference law of a law with edges, on ``pieces`` about its mean."""
    if internal is not None:
        return front_law(internal) or tail_law(internal)
    if interaction is not None and interaction.singular:
        return EdgeLaw(0.5)
    found = []
    for low, high in pieces:
        near = 1e-4 * (high - low)
        heights = density.log(np.array([low + near, low + 2 * near, high - 2 * near, high - near]))
        found += [heights[1] - heights[0], heights[2] - heights[3]]
    power = float(np.mean(found)) / math.log(2)
    return EdgeLaw(min(max(0.0, round(power, 2)), STEEPEST)) if math.isfinite(power) else EdgeLaw(0.0)


class _Centred:
    """The log-density of a law on the line as a function of numpy arrays, about an origin."""

    def __init__(self, law: Density, origin: float) -> None:
        self.law, self.origin = law, origin

    def log(self, x: Reals) -> Reals:
        points = torch.from_numpy(np.ascontiguousarray(x.ravel() + self.origin))[:, None]
        return np.asarray(self.law.log_prob(points).double().numpy().reshape(x.shape))

    def log_masses(self, places: Reals) -> Reals:
        """Return the log-masses between ``places`` (k,), (k - 1,)."""
        half = 0.5 * np.diff(places)
        log_density = self.log(places[:-1, None] + half[:, None] * (1 + GAUSS_NODES))
        peak = np.maximum(log_density.max(axis=1), -700.0)
        shares = (half[:, None] * GAUSS_WEIGHTS * np.exp(log_density - peak[:, None])).sum(1)
        return np.asarray(peak + np.log(np.maximum(shares, 1e-300)))


def bounded_support(density: _Centred, width: float, radius: float | None) -> list[tuple[float, float]] | None:
    """Return the intervals that hold the mass, or ``None`` where the law has no edges that matter.

    Raises ``ValueError`` for a law whose density is nowhere finite and positive.
    """
    reach = 10 * width if radius is None else radius * (1 + 1e-6)
    grid = np.linspace(-reach, reach, SCAN)
    height = density.log(grid)
    inside = height > -np.inf
    if np.isnan(height).any() or not inside.any() or height.max() == np.inf:
        raise ValueError("quantile-jko: the density of the initial law is not finite, or zero all over")
    if inside[0] or inside[-1]:
        return None
    changes = np.flatnonzero(inside[1:] != inside[:-1])
    edges = [_edge(density, float(grid[at]), float(grid[at + 1])) for at in changes]
    pieces = list(zip(edges[::2], edges[1::2], strict=True))
    if radius is None:
        ends = np.array([pieces[0][0] + EDGE_SHARE * (pieces[0][1] - pieces[0][0])])
        others = np.array([pieces[-1][1] - EDGE_SHARE * (pieces[-1][1] - pieces[-1][0])])
        if max(density.log(ends)[0], density.log(others)[0]) < height.max() - EDGE_DEPTH:
            return None
    return pieces


def _edge(density: _Centred, low: float, high: float) -> float:
    """Return the place between ``low`` and ``high`` at which the density becomes, or ceases to be, zero."""
    starts = bool(density.log(np.array([low]))[0] > -np.inf)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if bool(density.log(np.array([middle]))[0] > -np.inf) == starts:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _bounded(
    density: _Centred, pieces: list[tuple[float, float]], reference: ReferenceLaw, nodes: int, origin: float
) -> ReferenceMap:
    if not reference.bounded:
        lowest, highest = pieces[0][0], pieces[-1][1]
        places = np.linspace(lowest, highest, FINER * nodes)
        return _map(reference, [places], [density.log_masses(places)], nodes, origin)
    placed = [_graded(low, high, FINER * nodes) for low, high in pieces]
    return _map(reference, placed, [density.log_masses(places) for places in placed], nodes, origin)


def _graded(low: float, high: float, count: int) -> Reals:
    """Return ``count`` places, graded towards both ends as the squares of their number from there."""
    places = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0, math.pi, count))
    places[0], places[-1] = low, high
    return places


def _unbounded(density: _Centred, width: float, reference: ReferenceLaw, nodes: int, origin: float) -> ReferenceMap:
    """Place by x = width sinh(c), so far that what is left outside does not count: tails may be heavy."""
    reach = 3.0
    while reach < 40:
        ends = width * np.sinh(np.array([-reach, reach]))
        top = density.log(width * np.sinh(np.linspace(-reach, reach, SCAN))).max()
        if (density.log(ends) + np.log(np.abs(ends)) < top + math.log(width) - DEPTH).all():
            break
        reach += 0.5
    places = width * np.sinh(np.linspace(-reach, reach, FINER * nodes))
    log_masses = density.log_masses(places)
    if reference.bounded:
        masses = np.exp(log_masses - log_masses.max())
        kept = np.minimum(np.cumsum(masses), np.cumsum(masses[::-1])[::-1]) > CUT * masses.sum()
        log_masses = log_masses[kept]
        places = places[np.append(kept, False) | np.append(False, kept)]
    return _map(reference, [places], [log_masses], nodes, origin)


def _map(
    reference: ReferenceLaw, placed: list[Reals], log_masses: list[Reals], nodes: int, origin: float
) -> ReferenceMap:
    """Return the map of the law with these log-masses, (k - 1,) each, between the places (k,) of each piece."""
    top = max(float(each.max()) for each in log_masses)
    masses = [np.exp(each - top) for each in log_masses]
    totals = np.array([each.sum() for each in masses])
    shares = totals / totals.sum()
    all_y, all_x = [], []
    for places, of_cells, share in zip(placed, masses, shares, strict=True):
        count = max(16, round(nodes * 0.5 * (share + 1 / len(placed))))
        y, x = _piece(reference, places, of_cells / of_cells.sum(), count)
        all_y.append(y)
        all_x.append(x)
    return ReferenceMap(Mesh(reference, tuple(shares.tolist()), tuple(all_y)), np.concatenate(all_x), origin)


def _piece(reference: ReferenceLaw, places: Reals, masses: Reals, count: int) -> tuple[Reals, Reals]:
    """Return nodes y and values x, each (n,), n about ``count``, by ``masses`` (k - 1,) between ``places`` (k,)."""
    below = np.concatenate([[0.0], np.cumsum(masses)])
    above = np.concatenate([np.cumsum(masses[::-1])[::-1], [0.0]])
    scale = ndtri(np.minimum(below, above))
    scores = np.where(below < above, scale, -scale)
    kept = np.isfinite(scores) & (np.abs(scores) <= REACH + 0.5)
    if reference.bounded:
        kept[0] = kept[-1] = True
    # Cells without mass add no rank: of places with the same rank one is kept.
    order = np.flatnonzero(kept)
    coordinate = reference.place(below, above) if reference.bounded else scores
    kept[order[1:]] &= np.diff(coordinate[order]) > 1e-12
    y, x = coordinate[kept], places[kept]
    if reference.bounded:
        y[0], y[-1], x[0], x[-1] = -1.0, 1.0, places[0], places[-1]
    ends = [float(np.interp(level, scores[kept], x)) for level in (-3.7, 3.7)]
    if reference.bounded and ends[1] - ends[0] > 0.5 * (x[-1] - x[0]):
        ends = [x[0], x[-1]]
    where = np.clip((x - ends[0]) / (ends[1] - ends[0]), 0, 1)
    mixed = 0.5 * (y - y[0]) / (y[-1] - y[0]) + 0.5 * where
    goal = np.linspace(0, mixed[-1], count)
    nodes, values = increasing_spline(mixed, y)(goal), increasing_spline(mixed, x)(goal)
    nodes[0], nodes[-1], values[0], values[-1] = y[0], y[-1], x[0], x[-1]
    chosen = _apart(values, APART * (x[-1] - x[0]))
    nodes, values = nodes[chosen], values[chosen]
    if not reference.bounded:
        ranks = ndtr(-np.abs(nodes))
        nodes = np.where(nodes < 0, 1, -1) * reference.place_below(ranks)
    return nodes, values


def _apart(values: Reals, least: float) -> list[int]:
    """Return the numbers of those of increasing ``values`` (n,) that are this far from the last chosen, ends kept."""
    chosen = [0]
    for number in range(1, len(values) - 1):
        if values[number] - values[chosen[-1]] > least and values[-1] - values[number] > least:
            chosen.append(number)
    return [*chosen, len(values) - 1]
