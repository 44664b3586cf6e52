"""Laws that are the same in all directions: a uniform direction times a radius that is a function of its rank.

X = centre + r(M) Θ with M uniform in [0, 1], Θ uniform on the sphere: M is the mass within the radius. The marginal of
a sphere of radius 1 in D dimensions is the Beta law of (1 + s)/2 with both parameters (D - 1)/2.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from scipy.special import betainc

from problems.arrays import Reals
from problems.laws import Law

# Ranks over which marginals are averaged, and halvings of the interval that a quantile is found in.
RANKS = 4096
HALVINGS = 60


class RadialLaw(Law):
    """A law about its ``centre`` (D,). A subclass gives ``radii`` and ``second_moment``."""

    centre: torch.Tensor

    @property
    def dim(self) -> int:
        return len(self.centre)

    @abstractmethod
    def radii(self, ranks: torch.Tensor) -> torch.Tensor:
        """Return r(M) at ``ranks`` (n,) in [0, 1), shape (n,), increasing."""

    @abstractmethod
    def second_moment(self) -> float:
        """Return E|X - centre|²."""

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        ranks = torch.rand(n, generator=generator, dtype=torch.float64)
        normal = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        points: torch.Tensor = self.centre + self.radii(ranks)[:, None] * normal / normal.norm(dim=1, keepdim=True)
        return points

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.centre, self.second_moment() / self.dim * torch.eye(self.dim, dtype=torch.float64)

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return self.radii(levels.double())

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        middles = (torch.arange(RANKS, dtype=torch.float64) + 0.5) / RANKS
        places = marginal_places(self.radii(middles).numpy(), self.dim, levels.double().numpy())
        return (directions.double() @ self.centre)[:, None] + torch.from_numpy(places)


def marginal_places(radii: Reals, dim: int, levels: Reals) -> Reals:
    """Return the quantiles at ``levels`` (l,), shape (l,), of one coordinate of uniform directions times ``radii``.

    Each of the radii (m,) counts the same.
    """
    upper = np.maximum(levels, 1 - levels)
    low, high = np.zeros(len(levels)), np.full(len(levels), float(radii.max()))
    shape = 0.5 * (dim - 1)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        share = np.divide(middle[:, None], radii, out=np.ones((len(levels), len(radii))), where=radii > middle[:, None])
        below = betainc(shape, shape, 0.5 * (1 + share)) if dim > 1 else np.where(share >= 1, 1.0, 0.5)
        less = below.mean(1) < upper
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return np.asarray(np.where(levels < 0.5, -0.5, 0.5) * (low + high))
