"""Convex bodies that say where a density was fitted and how far it is trusted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.special import chdtri

from problems.laws import Gaussian

# What a Gaussian has outside its ellipsoid, and outside of that stretched by its reach.
OUTSIDE = 1e-4
BEYOND_REACH = 1e-6


class Region(ABC):
    """A region is a convex body: the points where its Minkowski gauge is at most 1.

    What was fitted on it is taken to be zero where the gauge is above ``reach``.
    """

    @property
    @abstractmethod
    def reach(self) -> float:
        """The factor by which the region is stretched to where an estimate ends that was fitted on it."""

    @property
    @abstractmethod
    def centre(self) -> torch.Tensor:
        """The centre (D,)."""

    def drawn_in(self, x: torch.Tensor) -> torch.Tensor:
        """Return points (n, D) moved towards the centre as far as the region's edge, if they are beyond it."""
        return self.centre + (x - self.centre) / self.gauge(x).clamp(min=1)[:, None]

    @abstractmethod
    def gauge(self, x: torch.Tensor) -> torch.Tensor:
        """Return by how much the region must be stretched about its centre to hold each of ``x`` (n, D), shape (n,)."""

    @abstractmethod
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the lower and upper corner (D,) of the box around it."""


@dataclass(frozen=True, eq=False)
class Box(Region):
    """The product of [middle - half_width, middle + half_width], of middle (D,); a fit reaches twice as far."""

    middle: torch.Tensor
    half_width: float

    @property
    def centre(self) -> torch.Tensor:
        return self.middle

    @property
    def reach(self) -> float:
        return 2.0

    def gauge(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.centre).abs().amax(1) / self.half_width

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.centre - self.half_width, self.centre + self.half_width


@dataclass(frozen=True, eq=False)
class Ellipsoid(Region):
    """The contour that a Gaussian is outside of once in 10⁴ draws; a fit reaches that of once in 10⁶."""

    law: Gaussian

    @property
    def centre(self) -> torch.Tensor:
        return self.law.mean

    @property
    def reach(self) -> float:
        return math.sqrt(chdtri(self.law.dim, BEYOND_REACH)) / self.radius

    @cached_property
    def radius(self) -> float:
        """The Mahalanobis radius."""
        return math.sqrt(chdtri(self.law.dim, OUTSIDE))

    def gauge(self, x: torch.Tensor) -> torch.Tensor:
        white = torch.linalg.solve_triangular(self.law.cholesky, (x - self.law.mean).T, upper=False)
        gauge: torch.Tensor = white.norm(dim=0) / self.radius
        return gauge

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        reach = self.radius * self.law.covariance.diagonal().sqrt()
        return self.law.mean - reach, self.law.mean + reach
