"""Gaussian kernel density estimate, p(x) = Σ_i w_i N(x; x_i, h² S) with S the covariance of the points.

h = m^{-1/(D+4)} is Scott's rule (Scott 1992, *Multivariate Density Estimation*, eq. 6.42) at the effective sample size
m = 1/Σ w_i². In coordinates y that whiten h² S, log p is up to a constant the log-sum-exp over the points of

    log w_i - ½|y - y_i|² = y·y_i + (log w_i - ½|y_i|²) - ½|y|²,

which one matrix product of the queries (y, 1, -½|y|²) with the points (y_i, log w_i - ½|y_i|², 1) gives a tile at a
time; times log₂ e, since torch's exp2 is three times as fast as its exp on AMD's processors. No exponent is above
zero, so their exponentials can be added as they are. Where they all but vanish, or where |y| is so large that the
expanded square cancels, differences are taken instead and the largest exponent is taken out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from problems.laws import Density, standard_normal
from problems.linear_algebra import weighted_moments
from problems.validation import require_finite
from solvers.threads import one_thread, workers

# A tile of exponents (1 MiB) stays in a core's cache through the four passes that are made over it.
QUERIES_PER_TILE = 256
POINTS_PER_TILE = 512
LOG2_E = 1 / math.log(2)
# torch's float64 exp is fifty times slower below -708, where results are subnormal; exp(-700) adds nothing to a sum
# above exp(-600), and smaller sums are taken about their largest term.
LEAST_EXPONENT = -700.0
LEAST_PLAIN_LOG_SUM = -600.0
# Rounding of the expanded square is about ε|y|²: 1e-12 here.
LARGEST_EXPANDED_SQUARE = 5e3


class SingularPoints(ValueError):
    """The points lie in a lower-dimensional plane, so that no density can be fitted to them."""


@dataclass(frozen=True, eq=False)
class KernelDensity(Density):
    """Gaussian kernel density estimate of ``points`` (n, D) with optional ``log_weights`` (n,), by Scott's rule.

    Weights need not be normalised. Everything is computed in float64, and agrees with ``scipy.stats.gaussian_kde`` of
    the same points and weights.

    Raises ``SingularPoints`` (a ``ValueError``) when the points do not span R^D, and ``ValueError`` for points that
    are not finite or weights that are NaN, +∞ or all zero.
    """

    points: torch.Tensor
    log_weights: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2:
            raise ValueError(f"KernelDensity: points must have shape (n, D), got {tuple(self.points.shape)}")
        require_finite("KernelDensity", points=self.points)
        weights = self.log_weights
        if weights is not None:
            if weights.shape != self.points.shape[:1]:
                raise ValueError(
                    f"KernelDensity: {len(self.points)} points need as many log_weights, got {tuple(weights.shape)}"
                )
            if not (bool((weights < torch.inf).all()) and bool((weights > -torch.inf).any())):
                raise ValueError("KernelDensity: log_weights must be below +inf and not all -inf")
        count = len(self._weighted_points[0])
        if count <= self.dim:
            raise SingularPoints(
                f"KernelDensity: {count} point(s) of non-zero weight do not span dimension {self.dim}; "
                f"more than {self.dim} are needed"
            )
        if self._sum_of_squared_weights >= 1:
            raise SingularPoints("KernelDensity: one point holds all the weight")
        self._require_full_rank()

    def _require_full_rank(self) -> None:
        points, _ = self._weighted_points
        if not bool(torch.isfinite(self.covariance).all()):
            raise SingularPoints("KernelDensity: the covariance of the points overflows")
        scale = self.covariance.diagonal().sqrt()
        rounding = 10 * math.sqrt(len(points)) * torch.finfo(torch.float64).eps * points.abs().amax(0)
        constant = scale <= rounding
        if bool(constant.any()):
            raise SingularPoints(f"KernelDensity: coordinate {int(constant.int().argmax())} of the points is constant")
        smallest = float(torch.linalg.eigvalsh(self.covariance / torch.outer(scale, scale))[0])
        if not smallest > 10 * self.dim * torch.finfo(torch.float64).eps:
            raise SingularPoints(
                f"KernelDensity: the covariance of the points is singular "
                f"(smallest eigenvalue of their correlation {smallest:.3g})"
            )

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    @cached_property
    def _weighted_points(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Points of non-zero weight and their normalised log-weights."""
        points = self.points.detach().to(torch.float64)
        if self.log_weights is None:
            return points, torch.full((len(points),), -math.log(len(points)), dtype=torch.float64)
        log_weights = torch.log_softmax(self.log_weights.detach().to(torch.float64), dim=0)
        present = log_weights > -torch.inf
        return points[present], log_weights[present]

    @cached_property
    def _sum_of_squared_weights(self) -> float:
        return float(np.exp(2 * self._weighted_points[1].numpy()).sum())

    @property
    def bandwidth(self) -> float:
        """Scott's factor h, in standard deviations of the points."""
        return math.pow(self._sum_of_squared_weights, 1 / (self.dim + 4))

    @cached_property
    def mean(self) -> torch.Tensor:
        """Weighted mean of the points, shape (D,)."""
        return self._moments[0]

    @cached_property
    def covariance(self) -> torch.Tensor:
        """Unbiased weighted covariance S of the points, shape (D, D)."""
        return self._moments[1] / (1 - self._sum_of_squared_weights)

    @cached_property
    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        points, log_weights = self._weighted_points
        return weighted_moments(log_weights.exp().numpy(), points.numpy())

    @cached_property
    def kernel_cholesky(self) -> torch.Tensor:
        """Lower-triangular factor of the kernel's covariance h² S, shape (D, D)."""
        cholesky: torch.Tensor = torch.linalg.cholesky(self.covariance)
        return self.bandwidth * cholesky

    @cached_property
    def _sites(self) -> torch.Tensor:
        """Whitened points, shape (n, D)."""
        return self._whiten(self._weighted_points[0])

    def _whiten(self, x: torch.Tensor) -> torch.Tensor:
        with one_thread():
            white: torch.Tensor = torch.linalg.solve_triangular(self.kernel_cholesky, (x - self.mean).T, upper=False)
        return white.T.contiguous()

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` fresh draws, shape (n, D): points chosen by weight, with replacement, plus kernel noise."""
        points, log_weights = self._weighted_points
        if self.log_weights is None:
            chosen = torch.randint(len(points), (n,), generator=generator)
        else:
            chosen = torch.multinomial(log_weights.exp(), n, replacement=True, generator=generator)
        noise = standard_normal(n, self.dim, generator, points)
        with one_thread():
            return points[chosen] + noise @ self.kernel_cholesky.T

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, (1 - self._sum_of_squared_weights + self.bandwidth**2) * self.covariance

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,); finite at any finite distance from the points."""
        return self._log_sums(x, [len(self._weighted_points[0])])[:, 0]

    def log_prob_by_parts(self, x: torch.Tensor, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-density at ``x`` (n, D), shape (n,), and those without each of so many parts of the points.

        The latter (n, parts) are normalised. Parts are contiguous and about equal; the kernel stays that of all points.
        """
        _, log_weights = self._weighted_points
        parts = min(parts, len(log_weights))
        ends = [len(log_weights) * (part + 1) // parts for part in range(parts)]
        sums = self._log_sums(x, ends)
        masses = torch.stack([each.exp().sum() for each in log_weights.tensor_split(ends[:-1])])
        without = [torch.cat([sums[:, :part], sums[:, part + 1 :]], dim=1).logsumexp(1) for part in range(parts)]
        return sums.logsumexp(1), torch.stack(without, dim=1) - torch.log1p(-masses)

    def _log_sums(self, x: torch.Tensor, ends: list[int]) -> torch.Tensor:
        """Return the logarithm of the sums of kernels over each part of the points, (n, parts), that ends so."""
        queries = self._whiten(x.detach().to(torch.float64))
        log_sums = torch.full((len(queries), len(ends)), -torch.inf, dtype=torch.float64)
        near = (queries * queries).sum(1) <= LARGEST_EXPANDED_SQUARE
        log_sums[near] = self._expanded(queries[near], ends)
        remote = ~(log_sums.amax(1) > LEAST_PLAIN_LOG_SUM)
        log_sums[remote] = self._differenced(queries[remote], ends)
        log_normaliser = 0.5 * self.dim * math.log(2 * math.pi) + self.kernel_cholesky.diagonal().log().sum()
        return log_sums - log_normaliser

    def _expanded(self, queries: torch.Tensor, ends: list[int]) -> torch.Tensor:
        """Log-sum-exp over parts of the points, from matrix products; too large below ``LEAST_PLAIN_LOG_SUM``."""
        sites = self._sites
        _, log_weights = self._weighted_points
        offset = log_weights - 0.5 * (sites * sites).sum(1)
        columns = torch.cat([sites, offset[:, None], torch.ones_like(offset)[:, None]], dim=1).T.contiguous()
        blocks = columns.split(POINTS_PER_TILE, dim=1)
        reach, least_log_weight = float(sites.norm(dim=1).max()), float(log_weights.min())
        shares = [_shares(number * POINTS_PER_TILE, block.shape[1], ends) for number, block in enumerate(blocks)]

        def log_sum(tile: torch.Tensor) -> torch.Tensor:
            least = least_log_weight - 0.5 * (float(tile.norm(dim=1).max()) + reach) ** 2
            square = (tile * tile).sum(1, keepdim=True)
            rows = torch.cat([tile, torch.ones_like(square), -0.5 * square], dim=1).mul_(LOG2_E)
            total = torch.zeros(len(ends), len(tile), dtype=torch.float64)
            # One buffer for all blocks: a fresh megabyte each time would be a page fault per page in a worker thread.
            buffer = torch.empty(len(tile) * POINTS_PER_TILE, dtype=torch.float64)
            for block, parts in zip(blocks, shares, strict=True):
                exponents = buffer[: len(tile) * block.shape[1]].view(len(tile), -1)
                torch.mm(rows, block, out=exponents)
                if least < LEAST_EXPONENT:
                    exponents.clamp_(min=LEAST_EXPONENT * LOG2_E)
                exponents.exp2_()
                for part, columns_of_part in parts:
                    total[part] += exponents[:, columns_of_part].sum(1)
            return total.log().T

        return _by_tiles(log_sum, queries, len(ends))

    def _differenced(self, queries: torch.Tensor, ends: list[int]) -> torch.Tensor:
        """Log-sum-exp over parts of the points, from differences and about the largest exponent met so far."""
        _, log_weights = self._weighted_points
        parts = [
            [*zip(sites.split(POINTS_PER_TILE), weights.split(POINTS_PER_TILE), strict=True)]
            for sites, weights in zip(
                self._sites.tensor_split(ends[:-1]), log_weights.tensor_split(ends[:-1]), strict=True
            )
        ]

        def log_sum(tile: torch.Tensor) -> torch.Tensor:
            return torch.stack([of_part(tile, blocks) for blocks in parts], dim=1)

        def of_part(tile: torch.Tensor, blocks: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
            largest = torch.full((len(tile),), -torch.inf, dtype=torch.float64)
            total = torch.zeros(len(tile), dtype=torch.float64)
            for sites, block_weights in blocks:
                exponents = block_weights.expand(len(tile), -1).clone()
                for axis in range(self.dim):
                    difference = tile[:, axis, None] - sites[:, axis]
                    exponents.addcmul_(difference, difference, value=-0.5)
                raised = torch.maximum(largest, exponents.amax(1))
                terms = exponents.sub_(raised[:, None]).clamp_(min=LEAST_EXPONENT).exp_()
                total.mul_(torch.exp(largest - raised)).add_(terms.sum(1))
                largest = raised
            return largest + total.log()

        return _by_tiles(log_sum, queries, len(ends))


def _shares(start: int, count: int, ends: list[int]) -> list[tuple[int, slice]]:
    """Return which parts the columns of a block that starts so have, and which columns are theirs."""
    begins = [0, *ends[:-1]]
    ranges = [(max(low, start), min(high, start + count)) for low, high in zip(begins, ends, strict=True)]
    return [(part, slice(low - start, high - start)) for part, (low, high) in enumerate(ranges) if low < high]


def _by_tiles(log_sum: Callable[[torch.Tensor], torch.Tensor], queries: torch.Tensor, parts: int) -> torch.Tensor:
    """Apply ``log_sum`` to tiles of queries, one tile a thread, on as many threads as torch may use.

    Within a tile everything runs on one thread: the bits do not depend on their number, and no thread waits for
    another after every pass, which on a busy machine costs far more than the work.
    """
    if len(queries) == 0:
        return torch.empty(0, parts, dtype=torch.float64)
    with workers() as run:
        return torch.cat(run(log_sum, queries.split(QUERIES_PER_TILE)))
