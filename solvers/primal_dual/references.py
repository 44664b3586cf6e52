"""The reference law γ of a step and its coordinates z, in which it is the same law in every step.

*carried*: the law of T(x) itself, for T as it is when an update is made. Particles carry log ρ_k, and the density there
is ρ_k/det ∇T. The dual is then a mean over particles of U'(h) - P(h)/ρ, each of which is largest at h = ρ: the best h
is the best at every particle, no noise is left at it, and no mass of γ lies where the law has none. The dual network is
g of h = γ₀g with γ₀ the Gaussian law below.

*gaussian*: the moments of ρ_k, moved by the affine map that a step starts from: z is standard normal, and g is nearly 1
where the law is nearly Gaussian. The variance of what it estimates is that of (h/γ)², a few per cent in any dimension.
*box*: uniform on the cube of half width ``box_scale`` · max|x| about the origin, as published. The share of it where h
is not 0 falls exponentially in the dimension, and with it everything that draws from it can say of h: at the best h the
second term of the dual has relative deviations of 63 % for a batch of 1024 in six dimensions and 890 % in ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.laws import Gaussian
from solvers.particles.particle_pool import spread_draws
from solvers.primal_dual.step_maps import Frame

HALF_WIDTH = math.sqrt(3)


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference law: its coordinates z = K⁻¹(x - ``mean``) with K = ``factor`` (D, D), and log γ at its highest."""

    mean: torch.Tensor
    factor: torch.Tensor
    log_peak: float
    box: bool

    def coordinates(self, x: torch.Tensor) -> torch.Tensor:
        """Return z at ``x`` (n, D), shape (n, D)."""
        z: torch.Tensor = torch.linalg.solve(self.factor, (x - self.mean).T).T
        return z

    def within(self, frame: Frame) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return b (D,) and P (D, D) of z = b + P o for the values o of a frame; ``None`` where P is the identity."""
        if self.factor is frame.target:
            return torch.zeros_like(self.mean), None
        turn = torch.linalg.solve(self.factor, frame.target)
        return torch.linalg.solve(self.factor, frame.moved - self.mean), turn


def gaussian_reference(whitening: Frame) -> Reference:
    """Return the Gaussian law with the moments after the affine map of ``whitening``."""
    log_det = float(torch.linalg.slogdet(whitening.target)[1])
    dim = len(whitening.mean)
    return Reference(whitening.moved, whitening.target, -0.5 * dim * math.log(2 * math.pi) - log_det, False)


def box_reference(points: torch.Tensor, box_scale: float) -> Reference:
    """Return the uniform law on the cube of half width ``box_scale`` times the largest coordinate of points (n, D)."""
    dim, half = points.shape[1], box_scale * float(points.abs().max())
    factor = half / HALF_WIDTH * torch.eye(dim, dtype=points.dtype)
    return Reference(torch.zeros(dim, dtype=points.dtype), factor, -dim * math.log(2 * half), True)


def reference_draws(dim: int, box: bool, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` draws (n, D), float64, of a reference law in its coordinates."""
    if box:
        return HALF_WIDTH * (2 * torch.rand(n, dim, generator=generator, dtype=torch.float64) - 1)
    identity = torch.eye(dim, dtype=torch.float64)
    return spread_draws(Gaussian(torch.zeros(dim, dtype=torch.float64), identity), n, generator)
