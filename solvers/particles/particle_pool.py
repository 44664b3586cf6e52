"""Particles that represent a law in training: more even than independent draws, in batches with exact moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.quasirandom import SobolEngine

from problems.laws import Gaussian, Law
from solvers.solver import Diverged

# A Sobol' point may lie on the boundary of the unit cube, which no normal variable maps to.
SMALLEST_UNIFORM = 2.0**-32
# Draws for each point of a stratified sample.
CANDIDATES = 16
# Points closer to each other, in their standard deviation, are at one place: matching moves equal ones by rounding.
SAME_PLACE = 1e-9


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


def factor_of(covariance: torch.Tensor) -> torch.Tensor:
    """Return the Cholesky factor (D, D) of the covariance (D, D) of a law.

    Raises ``Diverged`` where it has no full rank.
    """
    factor: torch.Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        raise Diverged("the covariance of the initial law has no full rank: its mass lies in a subspace")
    return factor


def spread_draws(law: Law, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` points (n, D), each distributed as ``law`` and together more even than independent draws.

    A Gaussian law is sampled at a scrambled Sobol' sequence (Owen, Annals of Statistics 25, 1997), other laws by
    independent draws; both are matched to the mean and covariance of the law. Raises ``Diverged`` where that has no
    full rank.
    """
    mean, covariance = law.moments()
    factor = factor_of(covariance)
    if isinstance(law, Gaussian):
        seed = int(torch.randint(2**31, (), generator=generator))
        uniform = SobolEngine(law.dim, scramble=True, seed=seed).draw(n, dtype=torch.float64)
        points = torch.special.ndtri(uniform.clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)) @ factor.T
    else:
        points = law.sample(n, generator)
    return matched(points[None], mean, factor[None])[0]


def places(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which place each of the ``points`` (n, D) is at, (n,), and how many are at each place, (k,)."""
    centred = points - points.mean(0)
    unit = max(SAME_PLACE * float(centred.square().mean().sqrt()), 1e-300)
    _, place, counts = torch.unique((centred / unit).round(), dim=0, return_inverse=True, return_counts=True)
    return place, counts


def stratified_draws(law: Law, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` points (n, D), each distributed as ``law`` but for ``CANDIDATES``⁻¹, one from each of n cells.

    Many more draws are cut in halves of equal numbers, across one coordinate after the other, until as many cells are
    left as points are asked for, and one is taken from each (stratified sampling, Cochran, Sampling Techniques, 1977,
    chapter 5): averages of functions that vary slowly then have far less noise than those of n draws, down to that of
    all of them. The points are matched to the mean and covariance of the law, and come in random order. Raises
    ``Diverged`` where the covariance has no full rank.
    """
    mean, covariance = law.moments()
    points = law.sample(CANDIDATES * n, generator)
    order = order_by_cells(points, n)
    chosen = torch.randint(CANDIDATES, (n,), generator=generator) + CANDIDATES * torch.arange(n)
    own = points[order[chosen]][torch.randperm(n, generator=generator)]
    return matched(own[None], mean, factor_of(covariance)[None])[0]


def order_by_cells(points: torch.Tensor, cells: int) -> torch.Tensor:
    """Return an order (n,) of the points (n, D) in which neighbours in it are neighbours in space.

    They are cut in halves of equal numbers, across one coordinate after the other, until there are as many ``cells``.
    """
    count, found = len(points), 1
    ranks = points.argsort(0).argsort(0)
    order = torch.arange(count)
    while found < cells:
        axis = (found.bit_length() - 1) % points.shape[1]
        cell = torch.arange(count) * found // count
        order = order[(cell * count + ranks[order, axis]).argsort()]
        found *= 2
    return order


def stratified_batches(pool: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield for ever which of a pool's points (n, D) a batch consists of, (size,): one from each of as many cells.

    None comes twice before the pool is used up. Points stay where they are, other than in ``even_batches``.
    """
    count = len(pool) // size
    cells = order_by_cells(pool, size)[: size * count].view(size, count)
    while True:
        turns = torch.rand(size, count, generator=generator).argsort(1)
        for own in cells.gather(1, turns).T:
            yield own[torch.randperm(size, generator=generator)]


def even_batches(
    pool: torch.Tensor, size: int, generator: torch.Generator, moved: bool = True
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches (size, D) of the pool (n, D) for ever, in random order, none twice before the pool is used up.

    With each comes which of the pool's points they are, (size,).

    If they are to be ``moved``, they get the pool's mean and covariance, which takes most of the noise off the
    derivatives: all batches of one pass at once.
    """
    count = len(pool) // size
    if moved:
        mean = pool.mean(0, keepdim=True)
        centred = pool - mean
        factor = torch.linalg.cholesky(centred.T @ centred / len(pool))
    while True:
        order = torch.randperm(len(pool), generator=generator)[: count * size].to(pool.device)
        if not moved:
            yield from ((pool[own], own) for own in order.split(size))
            continue
        yield from zip(matched(pool[order].view(count, size, -1), mean, factor[None]), order.split(size), strict=True)


class Batches:
    """Batches of ``size`` particles are drawn from several pools (n, D), each with its own generator.

    ``places`` holds which of the pool's points each latest batch consists of, (size,). They are ``moved`` as in
    ``even_batches``.
    """

    def __init__(
        self, pools: Sequence[torch.Tensor], size: int, generators: Sequence[torch.Generator], moved: bool = True
    ) -> None:
        self.streams = [even_batches(pool, size, source, moved) for pool, source in zip(pools, generators, strict=True)]
        self.latest = [pool[:size] for pool in pools]
        self.places = [torch.arange(size, device=pool.device) for pool in pools]

    def draw(self, drawing: Sequence[int], points: torch.Tensor) -> None:
        """Put a batch into ``points`` (S, size, D): a new one of the pools ``drawing``, the last one of the others."""
        for pool in drawing:
            self.latest[pool], self.places[pool] = next(self.streams[pool])
        torch.stack(self.latest, out=points)
