"""A constant metric Q for particles: the mean curvature of the law that they are to represent.

In the coordinates y = Q^{½} x distances are ‖x-x'‖²_Q = (x-x')ᵀ Q (x-x') and a score s of x becomes Q^{-½} s. Where

    Q = |β∇²V|,   the mean over particles, every eigenvalue λ of it replaced by max(|λ|, 10⁻⁸ λ_max),

all directions of N(b, (βA)⁻¹) are equally wide. Where V is not convex the mean curvature need not be positive: |λ| is
then as large as the rate at which particles leave the saddle, and Newton's method uses it so (``solvers.laplace``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.potentials import Potential
from solvers.blocks import Run
from solvers.solver import Diverged

# Particles over which the Hessian is averaged, the first ones, and those that a thread works on at a time.
HESSIAN_PARTICLES = 128
HESSIAN_BLOCK = 8

# Least eigenvalue of Q beside the largest, far below what float32 can tell.
SINGULAR = 1e-8


@dataclass(frozen=True)
class Metric:
    """Q by its symmetric ``root`` Q^{½} and ``inverse_root`` Q^{-½}, both (D, D); ``None`` stands for Q = I."""

    root: torch.Tensor | None = None
    inverse_root: torch.Tensor | None = None

    @classmethod
    def of(cls, curvature: torch.Tensor) -> Metric:
        """Return Q = |H| of a symmetric matrix H (D, D) that is finite and not 0."""
        rates, basis = torch.linalg.eigh(0.5 * (curvature + curvature.T))
        sizes = rates.abs()
        roots = sizes.clamp(min=SINGULAR * float(sizes.max())).sqrt()
        return cls((basis * roots) @ basis.T, (basis / roots) @ basis.T)

    def to(self, device: torch.device, dtype: torch.dtype) -> Metric:
        """Return the metric on ``device`` in ``dtype``."""
        if self.root is None or self.inverse_root is None:
            return self
        return Metric(self.root.to(device, dtype), self.inverse_root.to(device, dtype))

    def flat(self, points: torch.Tensor) -> torch.Tensor:
        """Return y = Q^{½} x of ``points`` x (n, D)."""
        return points if self.root is None else points @ self.root

    def points(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the points x = Q^{-½} y (n, D) of ``flat`` y."""
        return flat if self.inverse_root is None else flat @ self.inverse_root

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores in the coordinates y of ``scores`` in those of x, both (n, D)."""
        return scores if self.inverse_root is None else scores @ self.inverse_root


def mean_curvature(potential: Potential, points: torch.Tensor, beta: float, run: Run) -> Metric:
    """Return the metric Q = |E β∇²V|, the mean over the first 128 of ``points`` (n, D), in their dtype.

    Raises ``Diverged`` where the Hessian is not finite at one of them, or is 0.
    """
    some = points[:HESSIAN_PARTICLES].double()
    parts = run(lambda block: potential.hessian(block).sum(0), some.split(HESSIAN_BLOCK))
    hessian = torch.stack(parts).sum(0).mul_(beta / len(some)).cpu()
    if not bool(torch.isfinite(hessian).all()):
        raise Diverged("the mean of ∇²V is not finite")
    if not bool(hessian.any()):
        raise Diverged("the mean of ∇²V is 0")
    return Metric.of(hessian).to(points.device, points.dtype)


def without_hessian(potential: Potential) -> str | None:
    """Return what goes wrong with the potential's Hessian, tried at the origin, or ``None`` if nothing does."""
    try:
        potential.hessian(torch.zeros(1, potential.dim, dtype=torch.float64))
    except (NotImplementedError, RuntimeError, TypeError) as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    return None
