"""Inverses of smooth maps T by damped Newton, for many points at once.

    x ← x - α ∇T(x)⁻¹ (T(x) - y),

where α is halved for a point until its residual ‖T(x) - y‖ falls enough, which along a Newton direction it does for
small α (Nocedal, Wright, Numerical Optimization, 2006, section 11.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

# Residual of an inverted point, relative to the largest coordinate of the point where that is above 1.
RESIDUAL = 1e-10
# A step of length α must take this share of α off the residual.
SUFFICIENT = 1e-4


class Linearised(NamedTuple):
    """A map at points (n, D): its values ``mapped`` (n, D), and what its Jacobians do.

    ``solve`` maps residuals r (n, D) to ∇T⁻¹ r, (n, D), and ``log_det`` a mask (n,) to log det ∇T of the chosen ones.
    """

    mapped: torch.Tensor
    solve: Callable[[torch.Tensor], torch.Tensor]
    log_det: Callable[[torch.Tensor], torch.Tensor]


def inverted(
    y: torch.Tensor,
    guess: Callable[[torch.Tensor], torch.Tensor],
    linearised: Callable[[torch.Tensor], Linearised],
    most_iterations: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T⁻¹(y) of points ``y`` (n, D) and log det ∇T there (n,), both NaN for a point that is not found.

    ``guess`` maps points to where to begin.
    """
    found, log_dets = torch.full_like(y, torch.nan), y.new_full((len(y),), torch.nan)
    left = torch.isfinite(y).all(1).nonzero()[:, 0]
    target = y[left]
    place = guess(target)
    direction = torch.zeros_like(place)
    length, size = y.new_ones(len(left)), y.new_full((len(left),), torch.inf)
    for _ in range(most_iterations):
        if not len(left):
            break
        trial = torch.addcmul(place, length[:, None], direction)
        here = linearised(trial)
        residual = target - here.mapped
        trial_size = residual.norm(dim=1)
        better = trial_size <= (1 - SUFFICIENT * length) * size
        place = torch.where(better[:, None], trial, place)
        direction = torch.where(better[:, None], here.solve(residual), direction)
        size = torch.where(better, trial_size, size)
        length = torch.where(better, 1.0, 0.5 * length)
        done = better & (trial_size <= RESIDUAL * target.abs().amax(1).clamp(min=1))
        found[left[done]], log_dets[left[done]] = trial[done], here.log_det(done)
        left, target, place, direction, length, size = (
            state[~done] for state in (left, target, place, direction, length, size)
        )
    return found, log_dets
