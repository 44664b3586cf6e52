"""The size of a step in the coordinates of its networks: what their values are multiplied by."""

from __future__ import annotations

import torch

from problems.potentials import Potential
from solvers.primal_dual.step_maps import Frame
from solvers.solver import Diverged

LOOKED_AT = 4096
GRADIENT_BLOCK = 512
# Least and largest size of a step, in standard deviations of the law, that networks are scaled to.
SMALLEST_STEP, LARGEST_STEP = 1e-6, 1.0


def slopes_at(points: torch.Tensor, potential: Potential) -> torch.Tensor:
    """Return ∇V at the first of ``points`` (n, D), shape (m, D); raises ``Diverged`` where some are not finite."""
    blocks = points[:LOOKED_AT].split(GRADIENT_BLOCK)
    slopes = torch.cat([potential.gradient(block) for block in blocks])
    bad = int((~torch.isfinite(slopes)).any(1).sum())
    if bad:
        raise Diverged(f"the gradient of the potential is not finite at {bad} of {len(slopes)} particles")
    return slopes


def size_of_step(
    whitening: Frame, pool: torch.Tensor, potential: Potential, step_size: float, pressure: float
) -> float:
    """Return how far a step of ``step_size`` moves particles ``pool`` (n, D), in standard deviations of their law.

    It is the largest of what its affine start moves them by, what the potential alone would, and what diffusion at the
    mean ``pressure`` P(ρ)/ρ would. Raises ``Diverged`` where ∇V is not finite.
    """
    few = pool[:LOOKED_AT]
    places = whitening.affine.push(few)
    shift = whitening.coordinates(places) - whitening.coordinates(few)
    force = step_size * slopes_at(places, potential) @ whitening.inverse.T
    spread = float(torch.linalg.matrix_norm(whitening.source)) ** 2 / few.shape[1]
    moved, pulled = (float(each.square().mean().sqrt()) for each in (shift, force))
    return min(max(moved, pulled, step_size * pressure / spread, SMALLEST_STEP), LARGEST_STEP)
