"""Hidden units laid out over the particles: in one dimension a basis of bumps for T', in two one of ridges.

A unit s(a(e·x - c)), s softplus, adds to ∇T the ridge a² s''(a(e·x - c)) e eᵀ of width 4/a about e·x = c. With
centres c a distance 2/a apart such ridges sum up to constants (the logistic density is even enough for that), and a
sum with weights ≥ 0 and a multiple of the identity meets every smooth T' on the line up to features below the distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from solvers.networks.convex_network import Weights

# Widths a⁻¹ of a unit to the distance of centres.
OVERLAP = 2.0


# Places at which a map's derivative is looked at, and the least change of it that units gather for.
LOOKED_AT = 4096
LEAST_CHANGE = 1e-2
BENT = 1 / 3

Slope = Callable[[torch.Tensor], torch.Tensor]
"""Gives T' of a map of the line at points (n, 1), shape (n,)."""


def centres(
    values: torch.Tensor, masses: torch.Tensor, count: int, slope: Slope | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``count`` centres among ``values`` (n,) of ``masses`` (n,) and the distance from one to the next there.

    They go by mass and evenly in asinh of the values, whose unit is their spread, half and half. Given the ``slope`` of
    a map like that sought, a third of them goes by how much it changes: most where it bends (de Boor, Good
    approximation by splines with variable knots, 1973).
    """
    order = values.argsort()
    place, mass = torch.asinh(values[order]), masses[order].cumsum(0)
    even = (place - place[0]) / (place[-1] - place[0]).clamp(min=1e-300)
    share = 0.5 * mass + 0.5 * even
    if slope is not None:
        grid = torch.linspace(0, 1, LOOKED_AT, dtype=place.dtype, device=place.device)
        looked_at = torch.lerp(place[0], place[-1], grid)
        change = slope(looked_at.sinh()[:, None]).diff().abs()
        bent = torch.cat([change.new_zeros(1), change.cumsum(0)])
        at = torch.searchsorted(place, looked_at).clamp(1, len(place) - 1)
        part = ((looked_at - place[at - 1]) / (place[at] - place[at - 1]).clamp(min=1e-300)).clamp(0, 1)
        share = torch.lerp(share[at - 1], share[at], part)
        weight = BENT * float(bent[-1]) / (float(bent[-1]) + LEAST_CHANGE)
        share = (1 - weight) * share + weight * bent / bent[-1].clamp(min=1e-300)
        place = looked_at
    wanted = (torch.arange(count, dtype=values.dtype, device=values.device) + 0.5) / count

    def place_of(level: torch.Tensor) -> torch.Tensor:
        found = torch.searchsorted(share, level).clamp(1, len(share) - 1)
        low, high = share[found - 1], share[found]
        part = ((level - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
        return torch.sinh(torch.lerp(place[found - 1], place[found], part))

    return place_of(wanted), place_of(wanted + 0.5 / count) - place_of(wanted - 0.5 / count)


def spread_units(weights: Weights, points: torch.Tensor, masses: torch.Tensor, slope: Slope | None = None) -> None:
    """Make the last hidden layer of one network (S = 1) ridges over ``points`` (n, D), in place; D is 1 or 2."""
    dim, width = points.shape[1], weights.output.shape[1]
    angles = 1 if dim == 1 else max(1, round(math.sqrt(width)))
    counts = [width // angles + (place < width % angles) for place in range(angles)]
    start = 0
    for place, count in enumerate(counts):
        turn = math.pi * (place + 0.5) / angles
        values = [1.0] if dim == 1 else [math.cos(turn), math.sin(turn)]
        direction = torch.tensor(values, dtype=points.dtype, device=points.device)
        middle, distance = centres(points @ direction, masses, count, slope)
        steepness = OVERLAP / distance.clamp(min=1e-3)
        own = slice(start, start + count)
        weights.forms[-1][0, own, :-1] = 0
        weights.forms[-1][0, own, -1] = (steepness[:, None] * direction).to(weights.output.dtype)
        weights.biases[-1][0, own] = (-steepness * middle).to(weights.output.dtype)
        start += count
    if weights.couplings:
        weights.couplings[-1][0].zero_()
