"""Particles that stand for a law in training: more even than independent draws, and batches with exact moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.quasirandom import SobolEngine

from problems.laws import Gaussian, Law

# A Sobol' point may lie on the boundary of the unit cube, which no normal variable maps to.
SMALLEST_UNIFORM = 2.0**-32


def matched(points: torch.Tensor, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return S clouds ``points`` (S, n, D), moved by the affine maps that give them exact means and covariances.

    Means are ``mean`` (S, 1, D), covariances LLᵀ with L = ``factor`` (S, D, D), lower triangular; a cloud that has no
    covariance of full rank becomes NaN. A step depends most on these two moments of its particles: where they are
    exact, a finite sample errs in the rest alone. On Gaussian laws nothing is left to err.
    """
    centred = points - points.mean(1, keepdim=True)
    # Without a check that would have a GPU wait.
    own, failed = torch.linalg.cholesky_ex((centred.mT @ centred).div_(points.shape[1]))
    change = torch.linalg.solve_triangular(own, factor, upper=False, left=False)
    return torch.where((failed == 0)[:, None, None], torch.baddbmm(mean, centred, change.mT), torch.nan)


def spread_draws(law: Law, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` points (n, D), each distributed as ``law`` and together more even than independent draws.

    A Gaussian law is sampled at a scrambled Sobol' sequence (Owen, Annals of Statistics 25, 1997), other laws by
    independent draws; both are matched to the mean and covariance of the law.
    """
    mean, covariance = law.moments()
    factor = torch.linalg.cholesky(covariance)
    if isinstance(law, Gaussian):
        seed = int(torch.randint(2**31, (), generator=generator))
        uniform = SobolEngine(law.dim, scramble=True, seed=seed).draw(n, dtype=torch.float64)
        points = torch.special.ndtri(uniform.clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)) @ factor.T
    else:
        points = law.sample(n, generator)
    return matched(points[None], mean, factor[None])[0]


def shuffled(pool: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield batches (size, D) of the pool (n, D) for ever, in random order, none twice before the pool is used up."""
    while True:
        order = torch.randperm(len(pool), generator=generator).to(pool.device)
        yield from pool[order].split(size)[: len(pool) // size]


class Batches:
    """Batches of ``size`` from several pools (n, D), in random orders.

    They are moved to have their pool's mean and covariance, which takes most of the noise off the derivatives.
    """

    def __init__(self, pools: Sequence[torch.Tensor], size: int, generators: Sequence[torch.Generator]) -> None:
        self.mean = torch.stack([pool.mean(0, keepdim=True) for pool in pools])
        centred = [pool - mean for pool, mean in zip(pools, self.mean, strict=True)]
        self.factor = torch.linalg.cholesky(torch.stack([each.T @ each / len(each) for each in centred]))
        self.streams = [shuffled(pool, size, source) for pool, source in zip(pools, generators, strict=True)]
        self.latest = [pool[:size] for pool in pools]

    def __call__(self, drawing: Sequence[int]) -> torch.Tensor:
        """Return a batch (S, size, D): a new one of the pools that are ``drawing``, the last one of the others."""
        for pool in drawing:
            self.latest[pool] = next(self.streams[pool])
        return matched(torch.stack(self.latest), self.mean, self.factor)
