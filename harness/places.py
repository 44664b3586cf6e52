"""Places at which the densities of answers are looked at, on the line and in the plane; the truth alone decides them.

A law that lives in a ball is seen to a quarter beyond its edge, and on the line closely about that edge, where the
density of a porous medium has a kink or falls without bound. Any other is seen to several standard deviations.
"""

from __future__ import annotations

import math

import torch

from problems.laws import Law

PLACES = 201
"""So many places are looked at on the line."""
NODES = 61
"""So many are looked at along each axis of the plane."""
REACH, PLANE_REACH = 5.0, 4.0
"""Standard deviations on each side of the mean, on the line and in the plane."""
BEYOND = 1.25
"""Radii of the support that are looked at on each side."""
OUTSIDE = 25
"""Of the places on the line, those beyond each edge of the support."""


def line_places(law: Law) -> torch.Tensor | None:
    """Return places x (201,), rising, that show a law on the line; ``None`` for one without a variance.

    Within a support they are as close as Chebyshev's nodes, beyond it as squares: dense at the edges on both sides.
    """
    mean, covariance = (float(moment) for moment in law.moments())
    radius = law.support_radius
    if radius is None:
        reach = REACH * math.sqrt(covariance)
        return torch.linspace(mean - reach, mean + reach, PLACES, dtype=torch.float64) if _usable(mean, reach) else None
    if not _usable(mean, radius):
        return None
    within = -torch.cos(torch.linspace(0.0, math.pi, PLACES - 2 * OUTSIDE, dtype=torch.float64))
    beyond = 1 + (BEYOND - 1) * torch.linspace(0.0, 1.0, OUTSIDE + 1, dtype=torch.float64)[1:] ** 2
    return mean + radius * torch.cat([-beyond.flip(0), within, beyond])


def plane_places(law: Law) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the places x and y (61,) of a grid that shows a law in the plane; ``None`` for one without variances."""
    mean, covariance = (moment.double().cpu() for moment in law.moments())
    reaches = PLANE_REACH * covariance.diagonal().sqrt()
    radius = law.support_radius
    if radius is not None:
        reaches = reaches.clamp(max=BEYOND * radius)
    sides = []
    for middle, reach in zip(mean.tolist(), reaches.tolist(), strict=True):
        if not _usable(middle, reach):
            return None
        sides.append(torch.linspace(middle - reach, middle + reach, NODES, dtype=torch.float64))
    return sides[0], sides[1]


def _usable(mean: float, reach: float) -> bool:
    return math.isfinite(mean + reach) and reach > 0
