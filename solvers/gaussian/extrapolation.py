"""Richardson extrapolation of moments, which may leave the cone of covariances."""

from __future__ import annotations

import torch

from solvers.gaussian.exact_step import Moments
from solvers.solver import Diverged


def extrapolated(fine: Moments, coarse: Moments) -> Moments:
    """Return mean (D,) and covariance (D, D) of order 2 from those of order 1 at half a step size and at the whole.

    The covariance need not be positive definite.
    """
    return 2 * fine[0] - coarse[0], 2 * fine[1] - coarse[1]


def require_definite(covariance: torch.Tensor, time: float, step_size: float) -> None:
    """Raise ``Diverged``, with the time and the step size, unless a covariance (D, D) is positive definite."""
    smallest = float(torch.linalg.eigvalsh(covariance)[0])
    if not smallest > 0:
        raise Diverged(
            f"the covariance at t = {time:g} is not positive definite (smallest eigenvalue {smallest:.3g}); "
            f"a step_size below {step_size:g} may help"
        )
