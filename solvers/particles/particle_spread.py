"""How far particles have spread since the start, by which the blob method chooses its width anew."""

from __future__ import annotations

import math

import torch

from solvers.particles.weighted_lattice import Lattice

# The share of the mass within whose spacing all of it counts.
MASS = 0.9
# A distance that has shrunk by more counts as this.
LEAST = 1e-12


class LatticeSpread:
    """The spread of particles that start as a lattice, by the distances of those that were neighbours there.

    A width is chosen anew after ``most`` times the growth that it was chosen for, and so that it is ``left`` times.
    """

    # With 200 particles of a Gaussian and these, the lattice shows in the energy by 1e-3 at the most, then by 1e-6.
    most, left = 2.5, 1.5

    def __init__(self, lattice: Lattice) -> None:
        self._spacing, self._edges = lattice.spacing, []
        for mine, following in lattice.neighbours():
            if len(mine):
                masses = lattice.masses[mine] + lattice.masses[following]
                self._edges.append((mine, following, masses / masses.numpy().sum()))

    def growth(self, points: torch.Tensor) -> float:
        """Return how many times as far apart as on the lattice ``points`` (n, D) are, as a geometric mean."""
        logs = []
        for mine, following, masses in self._edges:
            distances = (points[following] - points[mine]).norm(dim=1).div(self._spacing).clamp(min=LEAST)
            logs.append(float((masses * distances.log()).numpy().sum()))
        return math.exp(sum(logs) / len(logs)) if logs else 1.0

    def farthest(self, points: torch.Tensor) -> float:
        """Return the distance of neighbours, of ``points`` (n, D), that ``MASS`` of the mass is within.

        Along the axis of the lattice where that is most.
        """
        return max(
            (
                upper((points[following] - points[mine]).norm(dim=1), masses, MASS)
                for mine, following, masses in self._edges
            ),
            default=0.0,
        )


class DrawnSpread:
    """The spread of draws, by their standard deviations along the coordinates; ``most``, ``left``: as of a lattice."""

    # Scott's rule leaves draws in many dimensions hardly as close to each other as they must be.
    most, left = 1.2, 1.0

    def __init__(self, points: torch.Tensor) -> None:
        self._deviations = deviations(points)

    def growth(self, points: torch.Tensor) -> float:
        """Return how many times as wide ``points`` (n, D) are, as a geometric mean over coordinates."""
        return math.exp(float((deviations(points) / self._deviations).log().numpy().mean()))


def upper(values: torch.Tensor, weights: torch.Tensor, level: float) -> float:
    """Return what ``level`` of the ``weights`` (n,), which sum to 1, are at or below in ``values`` (n,)."""
    ordered, order = values.sort()
    place = int(torch.searchsorted(weights[order].cumsum(0), level))
    return float(ordered[min(place, len(ordered) - 1)])


def deviations(points: torch.Tensor) -> torch.Tensor:
    """Return the standard deviations of ``points`` (n, D), shape (D,), none of them 0."""
    centred = points - points.mean(0)
    return (centred * centred).mean(0).sqrt().clamp(min=1e-300)
