"""Errors of the mean and of the standard deviation of single coordinates, in standard deviations of the truth.

With m, σ of a fit and μ, σ* of the truth in a coordinate: |m - μ|/σ* and |σ/σ* - 1|, and of these the median over
coordinates. On n exact draws in many dimensions that is about .67/√n and .48/√n: their floor.

The standard error is a bootstrap over contiguous blocks of particles, or of whole groups of those that depend on each
other; where their weight sits in few blocks, over others that all have some, and infinite where one particle, or one
group, has all of it. A jackknife would not do: it is two to three times too large for medians. Near the truth the
bootstrap's is too large as well, by about 1.4, being spread around errors that have noise in them already. Moments of
the truth count as exact.
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
from harness.measure.moments import exactly
from problems.linear_algebra import weighted_sum
from solvers.estimates import Exact, GridDensity, Nodes, Particles

BLOCKS = 32
REPLICATES = 400


@dataclass(frozen=True)
class _CoordinateError(Measure):
    """Median over coordinates of an error of moments.

    Exact laws, grids and nodes give their own moments (standard error 0), particles their weighted sample moments
    (unbiased variances), and any other estimate those of ``draws`` samples.
    """

    def unsuited(self, subject: Subject) -> str | None:
        if subject.truth is None:
            return "the true law is not known"
        if isinstance(subject.estimate, Particles) and len(subject.estimate.points) < 2:
            return "one particle has no deviation"
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        assert subject.truth is not None
        estimate = subject.estimate
        centre, covariance = (moment.double().numpy() for moment in subject.truth.moments())
        scale = np.sqrt(np.diagonal(covariance))
        if isinstance(estimate, Exact | GridDensity | Nodes):
            mean, spread = (moment.double().numpy() for moment in estimate.moments(generator))
            value = self._error((mean - centre) / scale, np.sqrt(np.diagonal(spread)) / scale)
            return Figure(float(np.median(value)), 0.0, exactly(estimate))
        if isinstance(estimate, Particles):
            points, log_weights = estimate.points, estimate.normalised_log_weights
            parts = weighted_blocks(estimate, BLOCKS, generator)
            estimator = f"moments of {len(points)} particles"
        else:
            points, estimator = estimate.sample(draws, generator), f"moments of {draws} draws"
            log_weights, parts = Particles(points).normalised_log_weights, blocks(draws, BLOCKS, None)
        weights = log_weights.exp().numpy()
        standard = (points.double().numpy() - centre) / scale
        origin = weighted_sum(weights, standard)
        sums = _block_sums(standard - origin, weights, parts)
        chosen = torch.randint(len(sums), (REPLICATES, len(sums)), generator=generator).numpy()
        counts = np.stack([np.bincount(row, minlength=len(sums)) for row in chosen])
        mean, deviation = _moments(np.concatenate([np.ones((1, len(sums))), counts]), sums)
        errors = np.median(self._error(mean + origin, deviation), axis=1)
        if not math.isfinite(errors[0]):
            return Figure(math.inf, 0.0, f"{estimator}: they overflow")
        error = float(np.std(errors[1:], ddof=1)) if len(parts) > 1 else math.inf
        return Figure(float(errors[0]), error, estimator)

    @abstractmethod
    def _error(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Return the errors of coordinates (…, D), given means and deviations where the truth has 0 and 1."""


@dataclass(frozen=True)
class MeanError(_CoordinateError):
    """Median over coordinates of |m - μ|/σ*."""

    name: ClassVar[str] = "mean-error"
    version: ClassVar[int] = 3

    def _error(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(mean))


@dataclass(frozen=True)
class DeviationError(_CoordinateError):
    """Median over coordinates of |σ/σ* - 1|."""

    name: ClassVar[str] = "deviation-error"
    version: ClassVar[int] = 3

    def _error(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(deviation - 1))


def _block_sums(x: np.ndarray, weights: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """Return Σw, Σw², and by coordinate Σwx and Σwx² over all blocks of ``x`` (n, D): shape (blocks, 2 + 2 D)."""
    terms = np.column_stack([weights, weights**2, weights[:, None] * x, weights[:, None] * x**2])
    return np.stack([terms[block].sum(0) for block in parts])


def _moments(counts: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations (k, D) of blocks taken so many times, ``counts`` (k, blocks)."""
    total = np.einsum("kb,bi->ki", counts, sums)
    weight, squares = total[:, :1], total[:, 1:2]
    # all weight of a replicate may lie in blocks that have none to speak of
    present = weight > 0
    shares = np.divide(total[:, 2:], weight, where=present, out=np.zeros_like(total[:, 2:]))
    mean, second = np.split(shares, 2, axis=1)
    rest = 1 - np.divide(squares, weight**2, where=present, out=np.ones_like(squares))
    variance = np.maximum(second - mean**2, 0)
    return mean, np.sqrt(np.divide(variance, rest, where=rest > 1e-12, out=np.zeros_like(variance)))
