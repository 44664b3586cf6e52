"""Small instances that tests of several methods share."""

from __future__ import annotations

import torch

from problems.laws import GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from seeding import generator


def ornstein_uhlenbeck(dim: int = 4, seed: int = 0, **settings: object) -> Problem:
    """Return a random Ornstein-Uhlenbeck flow at β = 0.7, whose ρ0 and A do not commute."""
    family = OrnsteinUhlenbeck(instance="random", inverse_temperature=0.7, **settings)  # type: ignore[arg-type]
    return family.build(dim, seed, generator(seed))


def two_clusters() -> GaussianMixture:
    """Return two skew clusters in the plane, of weights 0.7 and 0.3."""
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    spread = torch.tensor([[[1.0, 0.4], [0.4, 0.8]], [[0.5, 0.0], [0.0, 0.3]]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.7, 0.3], dtype=torch.float64), means, spread)
