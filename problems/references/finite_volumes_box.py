"""The box of a finite-volume solution: what the initial law has mass in, widened until none of it meets a wall."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from problems.arrays import Reals
from problems.energies import PowerEntropy
from problems.flow import GradientFlow
from problems.laws import Density
from problems.references.finite_volumes import FiniteVolumes, equal_cells
from problems.references.finite_volumes_steps import Trace, march

# The mass that the cells beside a wall may hold in a box that is looked for, and in one that is given.
LOOKED_FOR = 1e-9
GIVEN = 1e-6
# Tails of fast diffusion, m < 1, fall by powers: no box holds all of them.
HEAVY_LOOKED_FOR = 1e-5
HEAVY_GIVEN = 1e-3
# ρ0 is looked for where it is above e^-25 = 1e-11 of its maximum.
DEPTH = 25.0
SURVEYED = {1: 4097, 2: 257}
SCOUTING = {1: 96, 2: 32}
WIDENINGS = 60
GROWTH = 0.3
# Gauss's rule of so many places takes the initial mass of a cell, in parts so many that an axis has this many places.
PLACES = 3
LEAST_PLACES = {1: 3072, 2: 384}
MOST_PLACES = {1: 100_000, 2: 1600}
CAUGHT = 5e-3
# Of a grid that a box is looked for on, which may cut through the edge of a law.
CAUGHT_SCOUTING = 5e-2

Box = tuple[tuple[float, ...], tuple[float, ...]]


class AtTheWall(ArithmeticError):
    """The error of mass that has come to a wall of the box: which, and when."""

    def __init__(self, axis: int, side: int, place: float, mass: float, time: float) -> None:
        self.axis, self.side = axis, side
        super().__init__(
            f"finite volumes: at t = {time:g} a mass of {mass:.2g} has come to the wall of the box at "
            f"x[{axis}] = {place:g}: the box must be larger than the support"
        )


def heavy(flow: GradientFlow) -> bool:
    """Return whether laws of the flow have tails that fall by powers: fast diffusion, m < 1."""
    internal = flow.energy.internal
    return isinstance(internal, PowerEntropy) and internal.exponent < 1


def initial_density(
    law: Density, lower: Sequence[float], upper: Sequence[float], shape: Sequence[int], scouting: bool = False
) -> Reals:
    """Return a law's mean densities on cells of ``shape`` between the corners, normalised, of that shape.

    Raises ``ValueError`` where cells and box do not catch the mass to half a per cent, or five when ``scouting``.
    """
    tolerance = CAUGHT_SCOUTING if scouting else CAUGHT
    parts = [1 if scouting else -(-LEAST_PLACES[len(shape)] // (PLACES * size)) for size in shape]
    extent = float(np.prod(np.subtract(upper, lower)))
    while True:
        density = _means(law, lower, upper, shape, parts)
        total = float(density.sum()) * extent / math.prod(shape)
        if abs(total - 1) < tolerance:
            return density / total
        # More places for a law that is narrow, or has edges.
        parts = [2 * count for count in parts]
        if any(PLACES * count * size > MOST_PLACES[len(shape)] for count, size in zip(parts, shape, strict=True)):
            break
    raise ValueError(
        f"finite volumes: {' x '.join(map(str, shape))} cells of the box from {_corner(lower)} to {_corner(upper)} "
        f"catch mass {total:.6g} of the initial law, which must be 1: widen the box, or take more cells if the law "
        f"is narrow"
    )


def _means(
    law: Density, lower: Sequence[float], upper: Sequence[float], shape: Sequence[int], parts: Sequence[int]
) -> Reals:
    """Return mean densities on cells by Gauss's rule on so many ``parts`` of a cell along each axis."""
    places, weights = np.polynomial.legendre.leggauss(PLACES)
    axes, shares = [], []
    for low, high, size, count in zip(lower, upper, shape, parts, strict=True):
        half = (high - low) / (2 * count * size)
        middles = low + half * (2 * np.arange(count * size) + 1)
        axes.append((middles[:, None] + half * places).reshape(size, -1))
        shares.append(np.tile(0.5 * weights, count) / count)
    if len(shape) == 1:
        points = torch.from_numpy(axes[0].reshape(-1, 1))
        found = law.log_prob(points).double().exp().numpy().reshape(shape[0], -1)
        return np.asarray((found * shares[0]).sum(1))
    density: Reals = np.empty(tuple(shape))
    across = axes[1].ravel()
    for row, along in enumerate(axes[0]):
        points = torch.from_numpy(np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2))
        block = law.log_prob(points).double().exp().numpy().reshape(len(along), shape[1], -1)
        density[row] = ((block * shares[1]).sum(2) * shares[0][:, None]).sum(0)
    return density


def walls_watched(scheme: FiniteVolumes, most: float) -> Callable[[float, Reals], None]:
    """Return a function of time and density (m,) or (m, n) that raises ``AtTheWall`` where a wall holds too much mass.

    ``most`` is what the cells at a wall may hold.
    """

    def watch(time: float, density: Reals) -> None:
        for axis in range(scheme.dim):
            for side, place in ((0, scheme.lower[axis]), (-1, scheme.upper[axis])):
                mass = scheme.volume * float(density.take(side, axis=axis).sum())
                if mass > most:
                    raise AtTheWall(axis, side, place, mass, time)

    return watch


def find_box(flow: GradientFlow, limiter: float) -> Box:
    """Return the corners of a box that the flow's mass stays in until its last time, found on a coarse grid.

    Raises ``ValueError`` where the initial law has no finite variance, or no box is large enough.
    """
    assert isinstance(flow.initial, Density)
    lower, upper = (corner.tolist() for corner in _initial_box(flow.initial))
    most = HEAVY_LOOKED_FOR if heavy(flow) else LOOKED_FOR
    for _ in range(WIDENINGS):
        shape = equal_cells(SCOUTING[flow.dim], lower, upper)
        scheme = FiniteVolumes(flow.energy, tuple(lower), tuple(upper), shape, limiter)
        watch, seen = walls_watched(scheme, most), Seen(np.zeros(shape))

        def both(time: float, density: Reals, watch: Callable[[float, Reals], None] = watch, seen: Seen = seen) -> None:
            seen(time, density)
            watch(time, density)

        try:
            start = initial_density(flow.initial, lower, upper, shape, scouting=True)
            for _ in march(scheme, start, (flow.horizon,), Trace(), both):
                pass
        except AtTheWall as wall:
            lower, upper = map(list, widened((tuple(lower), tuple(upper)), wall))
            continue
        return seen.box(scheme, most)
    raise ValueError(
        f"finite volumes: mass reaches the walls of every box, the last from {_corner(lower)} to {_corner(upper)}: "
        f"give a box, or earlier times"
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """The highest density (m,) or (m, n) that every cell has had."""

    highest: Reals

    def __call__(self, time: float, density: Reals) -> None:
        """Take the density at a time in."""
        np.maximum(self.highest, density, out=self.highest)

    def box(self, scheme: FiniteVolumes, most: float) -> Box:
        """Return what holds all cells that ever had mass, and two cells beyond it."""
        lower, upper = [], []
        for axis, width in enumerate(scheme.widths):
            others = tuple(other for other in range(scheme.dim) if other != axis)
            held = scheme.volume * self.highest.sum(axis=others)
            filled = np.flatnonzero(held > 0.1 * most)
            lower.append(scheme.lower[axis] + width * max(0, int(filled[0]) - 2))
            upper.append(scheme.lower[axis] + width * min(scheme.shape[axis], int(filled[-1]) + 3))
        return tuple(lower), tuple(upper)


def widened(box: Box, wall: AtTheWall) -> Box:
    """Return the box with the wall that mass has come to moved outwards, by ``GROWTH`` of its length."""
    lower, upper = (list(corner) for corner in box)
    more = GROWTH * (upper[wall.axis] - lower[wall.axis])
    if wall.side == 0:
        lower[wall.axis] -= more
    else:
        upper[wall.axis] += more
    return tuple(lower), tuple(upper)


def _initial_box(law: Density) -> tuple[Reals, Reals]:
    """Return corners (D,) that hold what ρ0 has mass in."""
    mean, covariance = (moment.double().numpy() for moment in law.moments())
    spread = np.sqrt(np.diag(covariance))
    if not (np.isfinite(mean).all() and np.isfinite(spread).all()):
        raise ValueError("finite volumes: the initial law has no finite variance to find a box by: give one")
    # Its bound where it is known; sides a sixteenth longer, so that none of its mass lies beside a wall.
    reach = law.support_radius
    radius = 10 * spread if reach is None else np.full(law.dim, 1.0625 * reach)
    low, high = mean - radius, mean + radius
    axes = [np.linspace(a, b, SURVEYED[law.dim]) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, law.dim)
    found = law.log_prob(torch.from_numpy(places)).double().numpy().reshape([len(axis) for axis in axes])
    filled = found > found.max() - DEPTH
    corners = np.empty((2, law.dim))
    for axis, nodes in enumerate(axes):
        others = tuple(other for other in range(law.dim) if other != axis)
        where = np.flatnonzero(filled.any(axis=others))
        margin = 0.0625 * (nodes[where[-1]] - nodes[where[0]]) + nodes[1] - nodes[0]
        corners[:, axis] = nodes[where[0]] - margin, nodes[where[-1]] + margin
    return corners[0], corners[1]


def _corner(corner: Sequence[float]) -> str:
    return f"({', '.join(f'{float(value):g}' for value in corner)})"
