"""Particles of a density on a regular lattice, with the density times the volume of a cell as their masses.

The midpoint rule, which is how the blob method starts (Carrillo, Craig, Patacchini, Calc. Var. 58, 2019, §6): no random
numbers, and a law of compact support, or with smooth tails, is met far more closely than by as many draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from problems.laws import Density
from solvers.solver import Diverged

MOST_DIMENSIONS = 3
# Half-width of the region that is looked at, in standard deviations along each axis, where the support has no bound.
REACH = 8.0
# Cells along each axis of the grid by which the volume is found where the mass is.
CELLS = {1: 8192, 2: 512, 3: 96}
# Coordinates more correlated than this get a lattice along their principal axes.
CORRELATED = 0.1
# The midpoint rule's mass may be off by this before the lattice is too coarse for the density.
LARGEST_MASS_ERROR = 0.1
# Spacings that are tried one after the other, in parts of the widest.
FINER = (1.0, 0.97, 0.93, 0.88)
POINTS_AT_ONCE = 2**18
MOST_POINTS = 2**24


@dataclass(frozen=True)
class Lattice:
    """A law as ``points`` (n, D) with ``masses`` (n,) that sum to 1, at a ``spacing``; its ``mass`` was that before.

    Points go in the order of their places along the orthonormal ``axes``, columns (D, D), the last running fastest.
    """

    points: torch.Tensor
    masses: torch.Tensor
    spacing: float
    mass: float
    axes: torch.Tensor

    def neighbours(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return, for each axis, which points have a next one along it, (k,), and which that is, (k,)."""
        places = ((self.points - self.points[0]) @ self.axes / self.spacing).round().long()
        places = places - places.amin(0)
        counts = places.amax(0) + 2  # so that the place after the last of a row is empty
        strides = counts.flip(0).cumprod(0).div(counts.flip(0), rounding_mode="floor").flip(0)
        keys = (places * strides).sum(1)
        pairs = []
        for stride in strides:
            following = torch.searchsorted(keys, keys + stride).clamp(max=len(keys) - 1)
            mine = (keys[following] == keys + stride).nonzero()[:, 0]
            pairs.append((mine, following[mine]))
        return pairs


def weighted_lattice(law: Density, particles: int) -> Lattice:
    """Return about ``particles`` points for a law in at most three dimensions with finite covariance.

    A law of unbounded support is cut off where its density is least: by a mass of ``particles``^(-2/D), which goes to
    zero as the spacing squared.

    Raises ``Diverged`` where the lattice is too coarse for the density, or its covariance is not finite.
    """
    dim = law.dim
    mean, covariance = (each.double() for each in law.moments())
    if not bool(torch.isfinite(covariance).all()):
        raise Diverged("at step 0 the covariance of the initial law is not finite: no region to lay a lattice over")
    axes, deviations = lattice_axes(covariance)
    radius = law.support_radius
    half = torch.full((dim,), radius, dtype=torch.float64) if radius is not None else REACH * deviations
    cells, level = CELLS[dim], 0.0
    densities = torch.cat(
        [law.log_prob(mean + block @ axes.T).double().exp() for block in midpoints(half, [cells] * dim)]
    )
    ordered = np.sort(densities.numpy())[::-1]
    if radius is None:
        kept = np.cumsum(ordered) <= (1 - particles ** (-2 / dim)) * ordered.sum()
        level = float(ordered[min(int(kept.sum()), len(ordered) - 1)])
    volume = float(((densities >= level) & (densities > 0)).sum()) * float((2 * half / cells).prod())
    if not (volume > 0 and math.isfinite(volume)):
        raise Diverged("at step 0 no mass of the initial law is found on a lattice")
    widest = (volume / particles) ** (1 / dim)
    # A lattice that has its points on the very edges of a law catches too much of it: a finer one has not.
    for spacing in (widest * share for share in FINER):
        counts = [max(1, math.ceil(2 * float(each) / spacing - 1e-6)) for each in half]
        if math.prod(counts) > MOST_POINTS:
            raise Diverged("at step 0 the initial law fills too little of its region for a lattice")
        found, values = [], []
        for block in midpoints(0.5 * spacing * torch.tensor(counts, dtype=torch.float64), counts):
            points = mean + block @ axes.T
            density = law.log_prob(points).double().exp()
            chosen = (density >= level) & (density > 0)
            found.append(points[chosen])
            values.append(density[chosen])
        points, masses = torch.cat(found), torch.cat(values) * spacing**dim
        mass = float(masses.numpy().sum())
        if abs(mass - 1) <= LARGEST_MASS_ERROR:
            return Lattice(points, masses / mass, spacing, mass, axes)
    raise Diverged(
        f"at step 0 the mass of the initial law on a lattice of {len(points)} points is {mass:.3g}, not 1: "
        "more particles are needed"
    )


def lattice_axes(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return orthonormal axes, columns (D, D), and the standard deviations along them (D,)."""
    deviations = covariance.diagonal().sqrt()
    correlation = covariance / torch.outer(deviations, deviations)
    if float((correlation - torch.eye(len(covariance), dtype=torch.float64)).abs().max()) <= CORRELATED:
        return torch.eye(len(covariance), dtype=torch.float64), deviations
    variances, axes = torch.linalg.eigh(covariance)
    return axes, variances.clamp(min=0).sqrt()


def midpoints(half: torch.Tensor, counts: list[int]) -> Iterator[torch.Tensor]:
    """Yield the middles of the ``counts`` cells along each axis of the box of half-widths ``half`` (D,), in blocks."""
    total = math.prod(counts)
    for start in range(0, total, POINTS_AT_ONCE):
        places = np.unravel_index(np.arange(start, min(start + POINTS_AT_ONCE, total)), counts)
        shares = [
            (torch.from_numpy(place).double() + 0.5) * 2 / count - 1
            for place, count in zip(places, counts, strict=True)
        ]
        yield torch.stack(shares, dim=1) * half
