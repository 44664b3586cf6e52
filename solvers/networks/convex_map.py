"""The gradient of a convex network as an invertible map, and its inverse by damped Newton.

T = ∇ψ with ψ strongly convex is one to one, and T⁻¹(y) is the minimiser of ψ(x) - x·y, the point where the convex
conjugate of ψ at y is attained. Newton's method (``solvers.networks.inversion``) has the exact Hessian; the few points
that it does not find in curved valleys are found by trust regions (Conn, Gould, Toint, Trust-Region Methods, 2000).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize

from solvers.maps import ScoreCarryingMap
from solvers.networks.convex_derivatives import Folded, derivatives, fold, gradient
from solvers.networks.convex_network import Weights, potential
from solvers.networks.inversion import RESIDUAL, Linearised, inverted
from solvers.networks.path_derivatives import score_pushed, slope_of_hessian
from solvers.solver import Diverged
from solvers.threads import workers

MAX_ITERATIONS = 1000
# Entries of the Jacobians that a thread works on at a time: fewer, and threads wait for each other more than they work;
# more, and memory is slower than they are.
BLOCK_ENTRIES = 2**19
MOST_POINTS = 1024


@dataclass(frozen=True, eq=False)
class ConvexMap(ScoreCarryingMap):
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

    def push_with_score(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        blocks = self._blocks(x)
        pairs = list(zip(blocks, score.double().split(len(blocks[0])), strict=True))
        with workers() as run:
            parts = run(partial(_push_with_score, fold(self.weights)), pairs)
        return torch.cat([mapped for mapped, _ in parts]), torch.cat([found for _, found in parts])

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        folded = fold(self.weights)
        with workers() as run:
            parts = run(partial(_inverse, folded), self._blocks(y))
        x, log_det = torch.cat([x for x, _ in parts]), torch.cat([log_det for _, log_det in parts])
        left = (torch.isnan(log_det) & torch.isfinite(y).all(1)).nonzero()[:, 0]
        if len(left):
            target = y[left].detach().double()
            x[left], log_det[left] = _inverse(folded, target, lambda _: self._minima(folded, target))
        failed = int(torch.isnan(log_det).sum())
        if failed:
            raise Diverged(
                f"the inverse map was not found at {failed} of {len(y)} points (residual above {RESIDUAL:g})"
            )
        return x, log_det

    def _minima(self, folded: Folded, y: torch.Tensor) -> torch.Tensor:
        """Return about where ψ(x) - y·x is least for points ``y`` (n, D), by trust regions one after the other.

        In long curved valleys the residual does not fall along Newton's directions for many short steps; this does.
        """

        def least(target: np.ndarray) -> np.ndarray:
            def value(x: np.ndarray) -> float:
                return float(potential(self.weights, torch.from_numpy(x)[None, None])) - float(target @ x)

            def slope(x: np.ndarray) -> np.ndarray:
                return np.asarray(gradient(folded, torch.from_numpy(x)[None, None])[0, 0].numpy() - target)

            def curvature(x: np.ndarray) -> np.ndarray:
                return np.asarray(derivatives(folded, torch.from_numpy(x)[None, None])[1][0, 0].numpy())

            found = minimize(value, target, jac=slope, hess=curvature, method="trust-exact", tol=RESIDUAL)
            return np.asarray(found.x)

        with workers():
            return torch.from_numpy(np.stack([least(each) for each in y.numpy()]))

    def _blocks(self, points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        size = BLOCK_ENTRIES // (self.dim * self.weights.output.shape[1])
        parts: tuple[torch.Tensor, ...] = points.detach().double().split(min(max(1, size), MOST_POINTS))
        return parts


def _push(folded: Folded, x: torch.Tensor) -> torch.Tensor:
    return gradient(folded, x[None])[0]


def _forward(folded: Folded, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mapped, hessian, _ = derivatives(folded, x[None])
    return mapped[0], _log_det(torch.linalg.cholesky(hessian[0]))


def _push_with_score(folded: Folded, at: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, score = at
    mapped, hessian, tape = derivatives(folded, x[None])
    return mapped[0], score_pushed(score[None], hessian, partial(slope_of_hessian, folded, tape))[0]


def _inverse(
    folded: Folded, y: torch.Tensor, guess: Callable[[torch.Tensor], torch.Tensor] = lambda target: target
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T⁻¹(y) and log det ∇T there, NaN for points that were not found from ``guess``."""

    def linearised(x: torch.Tensor) -> Linearised:
        mapped, hessian, _ = derivatives(folded, x[None])
        factor, _ = torch.linalg.cholesky_ex(hessian[0])
        return Linearised(
            mapped[0],
            lambda residual: torch.cholesky_solve(residual[:, :, None], factor)[:, :, 0],
            lambda chosen: _log_det(factor[chosen]),
        )

    return inverted(y, guess, linearised, MAX_ITERATIONS)


def _log_det(factor: torch.Tensor) -> torch.Tensor:
    """log det A from the Cholesky factors of A (n, D, D), shape (n,)."""
    log_det: torch.Tensor = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return log_det
