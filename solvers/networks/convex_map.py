"""The gradient of a convex network as an invertible map, and its inverse by damped Newton.

T = ∇ψ with ψ strongly convex is one to one, and T⁻¹(y) is the minimiser of ψ(x) - x·y, the point where the convex
conjugate of ψ at y is attained. Newton's method with the exact Hessian,

    x ← x - α ∇²ψ(x)⁻¹ (∇ψ(x) - y),

is run for all points at once; α is halved for a point until its residual ‖∇ψ(x) - y‖ falls enough, which along a
Newton direction it does for small α (Nocedal, Wright, Numerical Optimization, 2006, section 11.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from solvers.maps import InvertibleMap
from solvers.networks.convex_derivatives import Folded, derivatives, fold, gradient
from solvers.networks.convex_network import Weights
from solvers.solver import Diverged
from solvers.threads import workers

# Residual of an inverted point, relative to the largest coordinate of the point where that is above 1.
RESIDUAL = 1e-10
MAX_ITERATIONS = 1000
# A step of length α must take this share of α off the residual.
SUFFICIENT = 1e-4
# Entries of the Jacobians that a thread works on at a time: fewer, and threads wait for each other more than they work;
# more, and memory is slower than they are.
BLOCK_ENTRIES = 2**19
MOST_POINTS = 1024


@dataclass(frozen=True, eq=False)
class ConvexMap(InvertibleMap):
    """A convex map is T = ∇ψ of one network (S = 1) with float64 weights on the CPU.

    ``inverse`` raises ``Diverged`` with the number of points whose residual stays above 1e-10 (relative to the largest
    coordinate of the point, where that is above 1).
    """

    weights: Weights

    @property
    def dim(self) -> int:
        return self.weights.shift.shape[1]

    def push(self, x: torch.Tensor) -> torch.Tensor:
        with workers() as run:
            return torch.cat(run(partial(_push, fold(self.weights)), self._blocks(x)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with workers() as run:
            parts = run(partial(_forward, fold(self.weights)), self._blocks(x))
        return torch.cat([mapped for mapped, _ in parts]), torch.cat([log_det for _, log_det in parts])

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with workers() as run:
            parts = run(partial(_inverse, fold(self.weights)), self._blocks(y))
        failed = sum(failures for _, _, failures in parts)
        if failed:
            raise Diverged(
                f"the inverse map was not found at {failed} of {len(y)} points (residual above {RESIDUAL:g})"
            )
        return torch.cat([x for x, _, _ in parts]), torch.cat([log_det for _, log_det, _ in parts])

    def _blocks(self, points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        size = BLOCK_ENTRIES // (self.dim * self.weights.output.shape[1])
        parts: tuple[torch.Tensor, ...] = points.detach().double().split(min(max(1, size), MOST_POINTS))
        return parts


def _push(folded: Folded, x: torch.Tensor) -> torch.Tensor:
    return gradient(folded, x[None])[0]


def _forward(folded: Folded, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mapped, hessian, _ = derivatives(folded, x[None])
    return mapped[0], _log_det(torch.linalg.cholesky(hessian[0]))


def _inverse(folded: Folded, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return T⁻¹(y), log det ∇T there, and the number of points that were not found."""
    found, log_dets = torch.full_like(y, torch.nan), y.new_full((len(y),), torch.nan)
    left = torch.isfinite(y).all(1).nonzero()[:, 0]
    target, place = y[left], y[left]
    direction = torch.zeros_like(place)
    length, size = y.new_ones(len(left)), y.new_full((len(left),), torch.inf)
    for _ in range(MAX_ITERATIONS):
        if not len(left):
            break
        trial = torch.addcmul(place, length[:, None], direction)
        mapped, hessian, _ = derivatives(folded, trial[None])
        residual = target - mapped[0]
        trial_size = residual.norm(dim=1)
        better = trial_size <= (1 - SUFFICIENT * length) * size
        factor, _ = torch.linalg.cholesky_ex(hessian[0])
        newton = torch.cholesky_solve(residual[:, :, None], factor)[:, :, 0]
        place = torch.where(better[:, None], trial, place)
        direction = torch.where(better[:, None], newton, direction)
        size = torch.where(better, trial_size, size)
        length = torch.where(better, 1.0, 0.5 * length)
        done = better & (trial_size <= RESIDUAL * target.abs().amax(1).clamp(min=1))
        found[left[done]], log_dets[left[done]] = trial[done], _log_det(factor[done])
        left, target, place, direction, length, size = (
            state[~done] for state in (left, target, place, direction, length, size)
        )
    return found, log_dets, int(torch.isnan(log_dets).sum())


def _log_det(factor: torch.Tensor) -> torch.Tensor:
    """log det A from the Cholesky factors of A (n, D, D), shape (n,)."""
    log_det: torch.Tensor = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return log_det
