"""Distances between draws, for any estimate and any truth that can be sampled: no density is needed.

Both sides are samples without a common point (``harness.measure.sides``): all particles of a fit up to ``draws`` of
them (a random subset beyond), draws by weight of weighted ones (which repeat particles, as far as the weights are
uneven), and fresh draws of anything else, against draws of the truth. Draws of one group depend on each other: states
of a chain, descendants of a particle, repetitions (``harness.measure.groups``). Standard errors come from the influence
of each group on the figure, estimated from the same draws. Where fit and truth agree the exact influence vanishes, and
what sampling noise leaves of it overstates the standard error by about √2; it is never understated for that. By chance
it may all but vanish, so that the energy distance takes no less than the variance between equal laws, and sliced W₂
adds that variance to its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import group_sums, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.second_order import equal_variance, quantile_noise
from harness.measure.sides import grouped_sides, unsampled
from problems.arrays import Reals
from solvers.estimates import Estimate
from solvers.threads import one_thread, workers

# A square of distances (8 MiB) at a time.
ROWS_PER_TILE = 1024
PROJECTIONS = 128
FEW_PROJECTIONS = 16
"""Directions that tell the second-order variance of sliced W₂."""
LEAST_GROUPS = 3
LEAST = 6
"""Draws that either side must have: half of a finite reference then still has a jackknife."""


@dataclass(frozen=True)
class EnergyDistance(Measure):
    """Energy distance 2 E|X-Y| - E|X-X'| - E|Y-Y'| of fit X and truth Y, zero only for equal laws.

    The unbiased estimate: a U-statistic, which leaves the zero distances of points from themselves out and can be
    negative for that (Székely & Rizzo 2013, J. Stat. Plan. Inference 143). Pairs within a group of draws that depend
    on each other are left out as well. With the mean distances of each draw to either sample at hand, deleting any one
    group is in closed form; the standard error is that jackknife's, at least that of equal laws, and infinite for fewer
    than three groups.
    """

    name: ClassVar[str] = "energy-distance"
    version: ClassVar[int] = 3

    def proper(self, estimate: Estimate) -> bool:
        """Return ``True``: between different laws it is positive, and it is estimated without bias."""
        return True

    def unsuited(self, subject: Subject) -> str | None:
        return unsampled(subject, LEAST)

    def least_draws(self, subject: Subject) -> int:
        """Return how many draws a side have pairs left when one of them is left out, as the standard error takes it."""
        return LEAST_GROUPS

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        x, y, groups = grouped_sides(subject, draws, generator)
        value, standard_error = energy_distance(x, y, groups)
        return _figure(value, standard_error, f"U-statistic of {len(x)} against {len(y)} draws")


@dataclass(frozen=True)
class SlicedW2(Measure):
    """Sliced Wasserstein-2 distance (not squared): the root mean over 128 random directions θ of W₂²(θ·X, θ·Y).

    Between finite samples even of the same law it is positive, of order n^-½: compare it with its value on exact
    draws of the same number. Of a finite reference half the draws are used, and no more of any answer, so that the
    reference's own draws, the other half, are judged alike. The standard error adds the variance over directions to
    that of the draws, from their influence on the mean W₂², its Kantorovich potential (del Barrio & Loubes 2019, Ann.
    Probab. 47), and of second order, as between equal laws. In one dimension there is one direction.
    """

    name: ClassVar[str] = "sliced-w2"
    version: ClassVar[int] = 4

    def unsuited(self, subject: Subject) -> str | None:
        return unsampled(subject, LEAST)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        x, y, groups = grouped_sides(subject, draws, generator, halves=True, alike=True)
        directions = torch.ones(1, 1, dtype=torch.float64)
        if subject.estimate.dim > 1:
            directions = torch.randn(PROJECTIONS, subject.estimate.dim, generator=generator, dtype=torch.float64)
            directions /= directions.norm(dim=1, keepdim=True)
        value, standard_error = sliced_w2(x, y, directions, groups)
        return _figure(value, standard_error, f"{len(directions)} direction(s), {len(x)} draws a side")


def _figure(value: float, standard_error: float, estimator: str) -> Figure:
    return Figure(value, standard_error, estimator + (": squares of distances overflow" if math.isinf(value) else ""))


def energy_distance(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | None = None) -> tuple[float, float]:
    """Return the unbiased energy distance of samples ``x`` (n, D) and ``y`` (m, D), n, m ≥ 3, and its standard error.

    Both are infinite where squares of distances overflow.

    The samples are independent: no draw is in both. Draws of ``x`` that depend on each other are of one of ``groups``
    (n,). Distances are taken a tile at a time, so memory does not grow with n·m.
    """
    n, m = len(x), len(y)
    origin = y[0]
    x, y = x - origin, y - origin
    across, across_back = _distance_sums(x, y)
    all_x, within_y = _distance_sums(x, x)[0], _distance_sums(y, y)[0]
    sizes = group_sums(np.ones(n), groups)
    if len(sizes) < LEAST_GROUPS:
        groups, sizes, known = None, np.ones(n), False
    else:
        known = True
    within_x = all_x - _own_distances(x, groups)
    total, total_x, total_y = across.sum(), within_x.sum(), within_y.sum()
    if not math.isfinite(total + total_x + total_y):
        return math.inf, math.inf
    pairs = n**2 - float(np.sum(sizes**2))

    def combined(across: Reals, n: Reals, x: Reals, pairs: Reals, y: Reals, m: int) -> Reals:
        return np.asarray(2 * across / (n * m) - x / pairs - y / (m * (m - 1)))

    def without_group(across: Reals, within: Reals, sizes: Reals) -> Reals:
        left = n - sizes
        others = left**2 - (np.sum(sizes**2) - sizes**2)
        return combined(total - across, left, total_x - 2 * within, others, total_y, m)

    without_x = without_group(group_sums(across, groups), group_sums(within_x, groups), sizes)
    without_y = combined(total - across_back, np.asarray(n), total_x, np.asarray(pairs), total_y - 2 * within_y, m - 1)
    of_x = (len(sizes) - 1) * float(np.var(without_x))
    effective = float(n)
    if groups is not None:
        alone = (n - 1) * float(np.var(without_group(across, within_x, np.ones(n))))
        effective = n * min(1.0, alone / of_x) if of_x > 0 else effective
    least = _second_order(x, y, (all_x, within_y, across, across_back), effective)
    variance = of_x + (m - 1) * float(np.var(without_y))
    value = float(combined(total, np.asarray(n), total_x, np.asarray(pairs), total_y, m))
    return value, math.sqrt(max(variance, least)) if known else math.inf


def _own_distances(x: torch.Tensor, groups: torch.Tensor | None) -> Reals:
    """Return Σ_j |x_i - x_j| over the group of each i, shape (n,)."""
    sums = np.zeros(len(x))
    if groups is not None:
        order = torch.argsort(groups, stable=True)
        for members in order.split(torch.unique(groups, return_counts=True)[1].tolist()):
            if len(members) > 1:
                sums[members.numpy()] = torch.cdist(x[members], x[members]).sum(1).numpy()
    return sums


def _second_order(x: torch.Tensor, y: torch.Tensor, sums: tuple[Reals, Reals, Reals, Reals], effective: float) -> float:
    """Return the variance that the energy distance has between equal laws, below which no error may fall.

    ``sums`` are those of the distances of each draw within x, within y, from x to y and back, ``effective`` is the
    number of independent draws that those of x are worth. It is 2σ²(x,x)/n² + 2σ²(y,y)/m² + 4σ²(x,y)/nm with the
    variances of |x_i - x_j| less its row and column means, which its squares give in closed form.
    """
    m = len(y)
    within_x, within_y, across, across_back = sums

    def centred(a: torch.Tensor, b: torch.Tensor, rows: Reals, columns: Reals) -> Reals:
        """Return the sum of squares of centred distances of a (n, D) and b (m, D), and those of the diagonal if any."""
        squares = len(b) * float(a.square().sum()) + len(a) * float(b.square().sum()) - 2 * float(a.sum(0) @ b.sum(0))
        mean = rows.sum() / (len(a) * len(b))
        spread = np.sum(rows**2) / len(b) + np.sum(columns**2) / len(a)
        return np.array([squares - spread + len(a) * len(b) * mean**2, np.sum((mean - 2 * rows / len(b)) ** 2)])

    def variance(a: torch.Tensor, rows: Reals) -> float:
        whole, diagonal = centred(a, a, rows, rows)
        return max(0.0, float(whole - diagonal)) / (len(a) * (len(a) - 1))

    between = max(0.0, float(centred(x, y, across, across_back)[0])) / (len(x) * m)
    return 2 * variance(x, within_x) / effective**2 + 2 * variance(y, within_y) / m**2 + 4 * between / (effective * m)


def _distance_sums(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ_j |x_i - y_j| for every i, and Σ_i |x_i - y_j| for every j."""

    def sums(tile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, columns = torch.zeros(len(tile), dtype=torch.float64), torch.empty(len(y), dtype=torch.float64)
        for block, block_columns in zip(y.split(ROWS_PER_TILE), columns.split(ROWS_PER_TILE), strict=True):
            distances = torch.cdist(tile, block)
            rows += distances.sum(1)
            torch.sum(distances, 0, out=block_columns)
        return rows, columns

    with workers() as run:
        found = run(sums, x.split(ROWS_PER_TILE))
    columns = torch.zeros(len(y), dtype=torch.float64)
    for _, part in found:
        columns += part
    return torch.cat([part for part, _ in found]).numpy(), columns.numpy()


def sliced_w2(
    x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor, groups: torch.Tensor | None = None
) -> tuple[float, float]:
    """Return the sliced W₂ of samples ``x`` and ``y`` (n, D) along unit ``directions`` (k, D), and its standard error.

    Both are infinite where squares overflow. Draws of ``x`` that depend on each other are of one of ``groups`` (n,).

    Raises ``ValueError`` for samples of different size.
    """
    n, count = len(x), len(directions)
    if len(y) != n:
        raise ValueError(f"sliced_w2: samples must be of equal size, got {n} and {len(y)}")
    with one_thread():
        along_x, along_y = x @ directions.T, y @ directions.T
    sorted_x, order_x = torch.sort(along_x, dim=0)
    sorted_y, order_y = torch.sort(along_y, dim=0)
    squares = np.mean((sorted_x - sorted_y).numpy() ** 2, axis=0)
    mean_square = float(np.mean(squares))
    if math.isinf(mean_square):
        return math.inf, math.inf
    variance = mean_variance(_potential(sorted_x, sorted_y, order_x).numpy(), groups)
    variance += mean_variance(_potential(sorted_y, sorted_x, order_y).numpy(), None)
    if count > 1:
        variance += float(np.var(squares, ddof=1)) / count
    if mean_square == 0:
        return 0.0, 0.0
    if math.isfinite(variance):
        few = slice(FEW_PROJECTIONS)
        of_x = quantile_noise(sorted_x[:, few], order_x[:, few], groups)
        variance += equal_variance([of_x, quantile_noise(sorted_y[:, few], order_y[:, few], None)])
    return math.sqrt(mean_square), 0.5 * math.sqrt(variance / mean_square)


def _potential(x: torch.Tensor, y: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return the mean over directions of φ(x_i), where φ' = 2 (x - T(x)) and T takes sorted ``x`` to sorted ``y``.

    Columns are directions; ``order`` says which draw stands at which place of a column. Shape (n,).
    """
    slope = x - y
    steps = (slope[1:] + slope[:-1]) * x.diff(dim=0)
    along = torch.cat([torch.zeros_like(x[:1]), steps.cumsum(0)])
    along -= along.mean(0)
    return torch.zeros_like(along).scatter_(0, order, along).mean(1)
