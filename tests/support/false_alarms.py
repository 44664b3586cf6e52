"""How far a right answer may be off by chance: bounds of tests that ask a figure of random draws.

A test with fresh draws fails by chance with probability FALSE_ALARM at most, and says so by taking its bound from here.
``figures`` is how many figures one test looks at: each then has that part of the rate (Bonferroni).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

FALSE_ALARM = 1e-6


def sigmas(figures: int = 1) -> float:
    """Return how many of its known standard deviations a normal figure may be off, to either side: 4.89 for one."""
    return float(stats.norm.isf(FALSE_ALARM / 2 / figures))


def student(repetitions: int, figures: int = 1) -> float:
    """Return how many standard errors, known from the repetitions themselves, their mean may be off (Student's t)."""
    return float(stats.t.isf(FALSE_ALARM / 2 / figures, repetitions - 1))


def mean_error(values: ArrayLike, figures: int = 1) -> float:
    """Return how far the mean of repetitions may be from its expectation, by their own spread."""
    values = np.asarray(values)
    return student(len(values), figures) * float(values.std(ddof=1)) / math.sqrt(len(values))


def spread_error(repetitions: int, figures: int = 1) -> float:
    """Return how far, relative to it, the standard deviation of normal repetitions may be from its expectation."""
    degrees = repetitions - 1
    return math.sqrt(stats.chi2.isf(FALSE_ALARM / 2 / figures, degrees) / degrees) - 1


def is_share(count: int, repetitions: int, low: float, high: float, figures: int = 1) -> bool:
    """Say whether so many successes can come from some chance between ``low`` and ``high``, by the binomial law."""
    tail = FALSE_ALARM / 2 / figures
    return bool(stats.binom.cdf(count, repetitions, low) > tail and stats.binom.sf(count - 1, repetitions, high) > tail)


def repetitions(short: int, long: int) -> pytest.MarkDecorator:
    """Give a test its number of ``repetitions``: a short one in the suite, a long one in ``make calibration``."""
    return pytest.mark.parametrize("repetitions", [short, pytest.param(long, marks=pytest.mark.calibration)])
