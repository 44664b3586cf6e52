"""Distances between the Gaussians that share the first two moments of fit and truth.

For N(m, A) and N(μ, B) in dimension D:

    SymKL = ½ [ tr(A⁻¹B) + tr(B⁻¹A) - 2D + (m-μ)ᵀ(A⁻¹ + B⁻¹)(m-μ) ],
    W₂²   = |m-μ|² + tr A + tr B - 2 tr (A^½ B A^½)^½                    (Gelbrich 1990, Math. Nachr. 147).

On n exact draws of a Gaussian the first is on average about D(D+3)/(2n), half of it from each direction of the
divergence: the floor of fitted moments.

The standard error is a delete-block jackknife over contiguous blocks of particles, or of whole groups of those that
depend on each other; where their weight sits in few blocks, over others that all have some, and infinite where one
particle, or one group, has all of it. Near the truth both distances are
quadratic in the error of the moments; the delta method then gives zero, whereas the jackknife's variance is there
about twice the true one, so that the standard error is too large by up to √2, never too small. That of W₂ is
at least the one between equal laws. Moments of the truth count as exact.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import blocks, weighted_blocks
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.second_order import equal_variance
from problems.linear_algebra import sum_of_products, symmetrised, weighted_sum
from solvers.estimates import Estimate, Exact, GridDensity, Nodes, Particles

JACKKNIFE_BLOCKS = 32


@dataclass(frozen=True)
class _MomentDistance(Measure):
    """A distance of fitted moments from true ones, with its standard error where they come from particles.

    Exact laws, grids and nodes give their own moments (standard error 0), particles their weighted sample moments
    (unbiased covariance), and any other estimate those of ``draws`` samples. Too few particles, or particles that lie
    in a plane, have a singular covariance.
    """

    def unsuited(self, subject: Subject) -> str | None:
        if subject.truth is None:
            return "the true law is not known"
        if isinstance(subject.estimate, Particles) and len(subject.estimate.points) < 2:
            return "one particle has no covariance"
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        assert subject.truth is not None
        estimate = subject.estimate
        true_mean, true_covariance = (moment.double().numpy() for moment in subject.truth.moments())
        if isinstance(estimate, Exact | GridDensity | Nodes):
            mean, covariance = (moment.double().numpy() for moment in estimate.moments(generator))
            value = self._distance(mean, covariance, true_mean, true_covariance)
            return Figure(value, 0.0, exactly(estimate))
        log_weights = None
        if isinstance(estimate, Particles):
            points, log_weights = estimate.points, estimate.log_weights
            parts = weighted_blocks(estimate, JACKKNIFE_BLOCKS, generator)
            estimator = f"moments of {len(points)} particles"
        else:
            points, estimator = estimate.sample(draws, generator), f"moments of {draws} draws"
            parts = blocks(draws, JACKKNIFE_BLOCKS, None)
        sums = _BlockSums.of(points, log_weights, parts)
        if not np.isfinite(sums.second).all():
            return Figure(math.inf, 0.0, f"{estimator}: their covariance overflows")
        mean, covariance = sums.moments()
        value = self._distance(mean, covariance, true_mean, true_covariance)
        if math.isinf(value):
            return Figure(value, 0.0, f"{estimator}: their covariance is singular")
        if sums.blocks < 2:
            return Figure(value, math.inf, f"{estimator}: one, or one group, has all the weight")
        moments = [sums.moments(without=block) for block in range(sums.blocks)]
        without_one = np.array([self._distance(*each, true_mean, true_covariance) for each in moments])
        if np.isinf(without_one).any():
            return Figure(value, math.inf, f"{estimator}: singular without one block of them")
        spread = float(np.sum((without_one - without_one.mean()) ** 2))
        variance = max((sums.blocks - 1) / sums.blocks * spread, self._least(value, covariance, moments))
        return Figure(value, math.sqrt(variance), estimator)

    def _least(self, value: float, covariance: np.ndarray, moments: list[tuple[np.ndarray, np.ndarray]]) -> float:
        """Return the least variance, given the ``moments`` without each block; 0 by default."""
        return 0.0

    @abstractmethod
    def _distance(
        self, mean: np.ndarray, covariance: np.ndarray, true_mean: np.ndarray, true_covariance: np.ndarray
    ) -> float:
        """Return the distance of two Gaussians given by mean (D,) and covariance (D, D)."""


@dataclass(frozen=True)
class GaussianSymKL(_MomentDistance):
    """SymKL of the Gaussians with the moments of fit and truth; ∞ when the fitted covariance is singular."""

    name: ClassVar[str] = "symkl-gaussian"
    version: ClassVar[int] = 3

    def least_draws(self, subject: Subject) -> int:
        """Return how many draws of a fit have a covariance that is not singular; 2 where none are drawn."""
        if isinstance(subject.estimate, Exact | GridDensity | Particles):
            return super().least_draws(subject)
        return subject.estimate.dim + 1

    def _distance(
        self, mean: np.ndarray, covariance: np.ndarray, true_mean: np.ndarray, true_covariance: np.ndarray
    ) -> float:
        return gaussian_symkl(mean, covariance, true_mean, true_covariance)


@dataclass(frozen=True)
class BuresW2(_MomentDistance):
    """Wasserstein-2 distance (not squared) of the Gaussians with the moments of fit and truth."""

    name: ClassVar[str] = "bures-w2"
    version: ClassVar[int] = 4

    def _distance(
        self, mean: np.ndarray, covariance: np.ndarray, true_mean: np.ndarray, true_covariance: np.ndarray
    ) -> float:
        return bures_w2(mean, covariance, true_mean, true_covariance)

    def _least(self, value: float, covariance: np.ndarray, moments: list[tuple[np.ndarray, np.ndarray]]) -> float:
        """Return 2 tr C²/4d², with C in the metric at the fit, |δm|² + ½ Σ δA_ij²/(λ_i + λ_j) on the axes of A."""
        if value == 0 or len(moments) < 2:
            return 0.0
        eigenvalues, axes = np.linalg.eigh(covariance)
        sums = np.add.outer(eigenvalues, eigenvalues)
        scale = np.sqrt(np.divide(0.5, sums, where=sums > 0, out=np.zeros_like(sums)))
        rows = np.stack([np.concatenate([mean, (scale * (axes.T @ each @ axes)).ravel()]) for mean, each in moments])
        noise = math.sqrt((len(rows) - 1) / len(rows)) * (rows - rows.mean(0))
        return equal_variance([noise]) / (4 * value**2)


def exactly(estimate: Estimate) -> str:
    """Return the name of the estimator of moments that an estimate has without sampling error."""
    if isinstance(estimate, Nodes):
        return f"moments of {len(estimate.points)} nodes"
    return "closed form of the fit's moments"


def gaussian_symkl(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """Return the SymKL of N(mean, covariance) and N(other_mean, other); ∞ when one covariance is singular.

    With B = L Lᵀ and λ the eigenvalues of L⁻¹ A L⁻ᵀ, the traces add up to Σ (λ - 1)²/λ: no cancellation near A = B.

    Raises ``ValueError`` when the second covariance is not positive definite.
    """
    root = _cholesky(other)
    if root is None:
        raise ValueError("gaussian_symkl: the covariance of the second law is not positive definite")
    white = np.linalg.solve(root, np.linalg.solve(root, covariance).T)
    eigenvalues, axes = np.linalg.eigh(symmetrised(torch.from_numpy(white)).numpy())
    if eigenvalues[0] <= 10 * len(mean) * np.finfo(float).eps * eigenvalues[-1]:
        return math.inf
    shift = axes.T @ np.linalg.solve(root, mean - other_mean)
    return float(0.5 * np.sum((eigenvalues - 1) ** 2 / eigenvalues + shift**2 * (1 + 1 / eigenvalues)))


def bures_w2(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """Return the W₂ distance of N(mean, covariance) and N(other_mean, other), positive semi-definite covariances.

    The covariance part is min ‖A^½ - B^½ U‖² over orthogonal U (Bhatia, Jain & Lim 2019, Expo. Math. 37), a sum of
    squares that keeps its digits where the traces of the closed form cancel.
    """
    first, second = _square_root(covariance), _square_root(other)
    left, _, right = np.linalg.svd(second @ first)
    return float(np.sqrt(np.sum((mean - other_mean) ** 2) + np.sum((first - second @ left @ right) ** 2)))


def _cholesky(matrix: np.ndarray) -> np.ndarray | None:
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None


def _square_root(matrix: np.ndarray) -> np.ndarray:
    eigenvalues, axes = np.linalg.eigh(matrix)
    return np.asarray(axes * np.sqrt(np.maximum(eigenvalues, 0)) @ axes.T)


@dataclass(frozen=True, eq=False)
class _BlockSums:
    """Weighted sums over g blocks, about a common origin: Σw, Σw², Σwx and Σwxxᵀ."""

    origin: np.ndarray
    weight: np.ndarray
    squared_weight: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, points: torch.Tensor, log_weights: torch.Tensor | None, places: list[np.ndarray]) -> _BlockSums:
        n = len(points)
        x = points.double().numpy()
        w = np.full(n, 1 / n) if log_weights is None else torch.softmax(log_weights.double(), dim=0).numpy()
        origin = weighted_sum(w, x)
        centred = x - origin
        parts = [(w[block], centred[block]) for block in places]
        return cls(
            origin,
            np.array([weight.sum() for weight, _ in parts]),
            np.array([(weight**2).sum() for weight, _ in parts]),
            np.array([weighted_sum(weight, part) for weight, part in parts]),
            np.array([sum_of_products(part * weight[:, None], part) for weight, part in parts]),
        )

    @property
    def blocks(self) -> int:
        return len(self.weight)

    def moments(self, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean (D,) and unbiased covariance (D, D) of all blocks but one; zero where no spread is left."""
        kept = np.arange(self.blocks) != (-1 if without is None else without)
        weight = self.weight[kept].sum()
        if weight == 0:
            return self.origin, np.zeros_like(self.second[0])
        shift = self.first[kept].sum(0) / weight
        concentration = self.squared_weight[kept].sum() / weight**2
        biased = self.second[kept].sum(0) / weight - np.outer(shift, shift)
        if concentration >= 1:
            return self.origin + shift, np.zeros_like(biased)
        return self.origin + shift, biased / (1 - concentration)
