"""Affine maps in double precision, what a step is where hidden units have nothing to add."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from solvers.maps import ScoreCarryingMap
from solvers.solver import Diverged
from solvers.threads import workers

BLOCK = 4096


@dataclass(frozen=True, eq=False)
class PositiveMap(ScoreCarryingMap):
    """The map x ↦ Sx + b with S = ``matrix`` (D, D) symmetric positive definite and b = ``shift`` (D,), float64.

    ``inverse`` raises ``Diverged`` with the number of points that are not finite.
    """

    matrix: torch.Tensor
    shift: torch.Tensor

    @cached_property
    def _factor(self) -> torch.Tensor:
        factor: torch.Tensor = torch.linalg.cholesky(self.matrix)
        return factor

    @property
    def log_det(self) -> torch.Tensor:
        """log det S, a scalar."""
        return 2 * self._factor.diagonal().log().sum()

    def push(self, x: torch.Tensor) -> torch.Tensor:
        with workers() as run:
            return torch.cat(run(lambda block: self.shift + block @ self.matrix, x.double().split(BLOCK)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.push(x), self.log_det.expand(len(x))

    def push_with_score(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.push(x), torch.cholesky_solve(score.double().T, self._factor).T

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if failed := int((~torch.isfinite(y)).any(1).sum()):
            raise Diverged(f"the inverse map was not found at {failed} of {len(y)} points, which are not finite")
        with workers() as run:
            inverse = torch.cholesky_inverse(self._factor)
            found = run(lambda block: (block - self.shift) @ inverse, y.detach().double().split(BLOCK))
        return torch.cat(found), self.log_det.expand(len(y))
