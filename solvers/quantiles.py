"""Moments of any estimate and, in one dimension, its quantiles and its distribution function.

Grids, ranked densities and weighted particles have their own; other estimates are judged by draws from a fixed stream,
so that looking at them changes nothing that comes after.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from problems.laws import Gaussian
from problems.references.grid_law import GridLaw
from solvers.estimates import DensityEstimate, Estimate, Exact, GridDensity, Particles

DRAWS = 2**14


class RankedDensity(DensityEstimate):
    """A density on the line that knows its moments, its quantiles and its distribution function."""

    @abstractmethod
    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean (1,) and covariance (1, 1)."""

    @abstractmethod
    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """Return the quantiles at these levels."""

    @abstractmethod
    def cumulative(self, place: float) -> float:
        """Return the mass below ``place``."""


def weighted_points(estimate: Estimate) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (n, D) that stand for the estimate and their weights (n,), which sum to one."""
    if not isinstance(estimate, Particles):
        estimate = Particles(estimate.sample(DRAWS, torch.Generator().manual_seed(0)))
    return estimate.points.double(), estimate.normalised_log_weights.exp()


def grid_of(estimate: Estimate) -> GridLaw | None:
    """Return the grid that an estimate is, or ``None`` where it is none."""
    law = estimate.law if isinstance(estimate, Exact | GridDensity) else None
    return law if isinstance(law, GridLaw) else None


def moments(estimate: Estimate) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and covariance (D, D) of an estimate."""
    if isinstance(estimate, Exact | GridDensity):
        return estimate.law.moments()
    if isinstance(estimate, RankedDensity):
        return estimate.moments()
    points, weights = weighted_points(estimate)
    # numpy's einsum adds on one thread, in one order: the bits must not depend on the number of threads.
    mean = torch.from_numpy(np.einsum("n,ni->i", weights.numpy(), points.numpy()))
    centred = (points - mean).numpy()
    return mean, torch.from_numpy(np.einsum("n,ni,nj->ij", weights.numpy(), centred, centred))


def quantiles(estimate: Estimate, levels: Sequence[float]) -> list[float]:
    """Return the quantiles of a one-dimensional estimate at these levels."""
    if isinstance(estimate, Exact) and isinstance(estimate.law, Gaussian):
        mean, std = float(estimate.law.mean), math.sqrt(float(estimate.law.covariance))
        return [mean + std * float(ndtri(level)) for level in levels]
    if isinstance(estimate, RankedDensity):
        return estimate.quantiles(levels)
    grid, goals = grid_of(estimate), torch.tensor(levels, dtype=torch.float64)
    if grid is not None:
        return [float(value) for value in grid.quantile(goals)]
    points, weights = weighted_points(estimate)
    x = points[:, 0].numpy()
    order = np.argsort(x)
    place = np.searchsorted(np.cumsum(weights.numpy()[order]), goals.numpy()).clip(max=len(x) - 1)
    return [float(value) for value in x[order[place]]]


def cumulative(estimate: Estimate, place: float) -> float:
    """Return the mass of a one-dimensional estimate below ``place``; half of what lies exactly there counts."""
    if isinstance(estimate, Exact) and isinstance(estimate.law, Gaussian):
        return float(ndtr((place - float(estimate.law.mean)) / math.sqrt(float(estimate.law.covariance))))
    grid = grid_of(estimate)
    if grid is not None:
        return float(grid.cumulative(torch.tensor([place], dtype=torch.float64)))
    if isinstance(estimate, RankedDensity):
        return estimate.cumulative(place)
    points, weights = weighted_points(estimate)
    x = points[:, 0]
    return float(weights[x < place].numpy().sum() + 0.5 * weights[x == place].numpy().sum())
