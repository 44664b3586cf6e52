"""The gradient of a convex network as an invertible map, and its inverse by damped Newton.

T = ∇ψ with ψ strongly convex is one to one, and T⁻¹(y) is the minimiser of ψ(x) - x·y, the point where the convex
conjugate of ψ at y is attained. Newton's method (``solvers.networks.inversion``) has the exact Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from solvers.maps import InvertibleMap
from solvers.networks.convex_derivatives import Folded, derivatives, fold, gradient
from solvers.networks.convex_network import Weights
from solvers.networks.inversion import RESIDUAL, Linearised, inverted
from solvers.solver import Diverged
from solvers.threads import workers

MAX_ITERATIONS = 1000
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

    def linearised(x: torch.Tensor) -> Linearised:
        mapped, hessian, _ = derivatives(folded, x[None])
        factor, _ = torch.linalg.cholesky_ex(hessian[0])
        return Linearised(
            mapped[0],
            lambda residual: torch.cholesky_solve(residual[:, :, None], factor)[:, :, 0],
            lambda chosen: _log_det(factor[chosen]),
        )

    found, log_dets = inverted(y, lambda target: target, linearised, MAX_ITERATIONS)
    return found, log_dets, int(torch.isnan(log_dets).sum())


def _log_det(factor: torch.Tensor) -> torch.Tensor:
    """log det A from the Cholesky factors of A (n, D, D), shape (n,)."""
    log_det: torch.Tensor = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return log_det
