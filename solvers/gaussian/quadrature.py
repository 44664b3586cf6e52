"""Nodes and weights for averages over N(0, I): product Gauss-Hermite rules in few dimensions, Sobol' points in many."""

from __future__ import annotations

import functools

import numpy as np
import torch

from problems.laws import Gaussian
from solvers.particles.particle_pool import spread_draws

NODES = {1: 64, 2: 32, 3: 16}


@functools.cache
def hermite(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes (k, D) and log-weights (k,) of the product rule for N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES[dim])
    grid = torch.cartesian_prod(*[torch.from_numpy(nodes)] * dim).reshape(-1, dim)
    log_weights = torch.from_numpy(np.log(weights / weights.sum()))
    return grid, torch.cartesian_prod(*[log_weights] * dim).reshape(-1, dim).sum(1)


@functools.cache
def sobol_nodes(count: int, dim: int) -> torch.Tensor:
    """Return ``count`` nodes (count, D) of mean exactly 0 and covariance exactly I, equally weighted, for N(0, I).

    Half of them are spread as the particles of a pool are, the other half their reflections.
    """
    standard = Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
    half = spread_draws(standard, count // 2, torch.Generator().manual_seed(0))
    return torch.cat([half, -half])
