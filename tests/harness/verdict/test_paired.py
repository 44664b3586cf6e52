"""The tests keep their level for solvers of the same law, and have power at few instances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from false_alarms import is_share, repetitions
from harness.verdict.excess import ROUNDING, differences, noise, own_scale, shared_scale
from harness.verdict.paired import compared, corrected, power, seeds_for
from problems.arrays import Reals
from seeding import numpy_generator

LAWS = ("normal", "log-normal", "squares", "heavy")


def figures(law: str, instances: int, repetitions: int) -> Reals:
    """Return figures of two solvers of the same law and of exact draws: (3, repetitions, instances)."""
    rng = numpy_generator(LAWS.index(law) * 100 + instances)
    shape = (3, repetitions, instances)
    if law == "normal":
        return rng.standard_normal(shape)
    if law == "squares":
        return rng.chisquare(1, shape)
    if law == "heavy":
        return rng.standard_t(2, shape)
    # Far above a floor of zero: instances differ by orders of magnitude, solvers by half of one.
    found = np.exp(rng.normal(-5, 2, shape[1:]) + 0.5 * rng.standard_normal(shape))
    found[2] = 0.0
    return found


def p_values(one: Reals, other: Reals, floors: Reals) -> Reals:
    """Return the p-values of paired excesses (repetitions, instances), as the verdict has them."""
    unstated = np.zeros(one.shape[1])
    noises = [
        np.array([noise(side, unstated, floor) for side, floor in zip(figures - floors, floors, strict=True)])
        for figures in (one, other)
    ]
    scales = shared_scale(*noises)
    return compared(differences(one - floors, other - floors, scales[:, None]))[3]


@pytest.mark.random
@repetitions(400, 4000)
@pytest.mark.parametrize("instances", [3, 5, 15])
@pytest.mark.parametrize("law", LAWS)
def test_two_solvers_of_one_law_are_told_apart_as_rarely_as_stated(law: str, instances: int, repetitions: int) -> None:
    found = p_values(*figures(law, instances, repetitions))
    assert is_share(int((found < 0.05).sum()), repetitions, 0.0, 0.065, figures=12)


@pytest.mark.random
@repetitions(400, 4000)
@pytest.mark.parametrize("instances", [3, 5, 15])
def test_exact_draws_are_called_otherwise_as_rarely_as_stated(instances: int, repetitions: int) -> None:
    for law in ("normal", "heavy"):
        figure, _, floors = figures(law, instances, repetitions)
        found = p_values(figure, floors, floors)
        assert is_share(int((found < 0.05).sum()), repetitions, 0.0, 0.07, figures=6)


@pytest.mark.random
@repetitions(400, 4000)
def test_two_deviations_are_found_at_five_instances(repetitions: int) -> None:
    rng = numpy_generator(1)
    level = rng.normal(10, 3, (repetitions, 5))
    one = level + rng.standard_normal((repetitions, 5))
    differing = one + 2 + rng.standard_normal((repetitions, 5))
    plain = compared(differing - one)[3]
    assert is_share(int((plain < 0.05).sum()), repetitions, 0.8, 1.0, figures=2)
    scaled = p_values(one, differing, np.zeros_like(one))
    assert is_share(int((scaled < 0.05).sum()), repetitions, 0.75, 1.0, figures=2)


def test_power_is_that_of_student() -> None:
    assert power(2.0, 5) == pytest.approx(0.9089, abs=1e-3)
    assert power(0.0, 7) == pytest.approx(0.05, abs=1e-6)


def test_seeds_that_would_do_are_the_fewest_that_do() -> None:
    for effect in (0.5, 1.0, 2.0, 4.0):
        seeds = seeds_for(effect)
        assert seeds is not None
        assert power(effect, seeds) >= 0.8 > power(effect, seeds - 1)
    assert seeds_for(0.0) is None
    assert seeds_for(1e-6) is None


def test_rows_of_zeros_and_of_one_difference() -> None:
    rows = np.array([[0.0, 0.0, 0.0], [1.0, np.nan, np.nan], [1.0, 1.0, 1.0], [np.nan, np.nan, np.nan]])
    counts, means, halves, p, _ = compared(rows)
    assert list(counts) == [3, 1, 3, 0]
    assert list(means[:3]) == [0.0, 1.0, 1.0]
    assert p[0] == 1.0
    assert np.isnan(p[1])
    assert p[2] == 0.0
    assert halves[1] == np.inf
    assert halves[2] == 0.0


def test_p_values_intervals_and_power_are_those_of_scipy() -> None:
    rows = numpy_generator(2).normal(0.5, 1.0, (40, 9))
    _, _, halves, p, _ = compared(rows)
    expected = stats.ttest_1samp(rows, 0.0, axis=1)
    assert p == pytest.approx(expected.pvalue, rel=1e-12)
    low, high = expected.confidence_interval(0.95)
    assert halves == pytest.approx(0.5 * (high - low), rel=1e-10)
    few = compared(np.where(np.arange(9) < 4, rows, np.nan))[3]
    assert few == pytest.approx(stats.ttest_1samp(rows[:, :4], 0.0, axis=1).pvalue, rel=1e-12)
    bound = stats.t.ppf(0.975, 6)
    expected_power = stats.nct.sf(bound, 6, 1.5 * np.sqrt(7)) + stats.nct.cdf(-bound, 6, 1.5 * np.sqrt(7))
    assert power(1.5, 7) == pytest.approx(expected_power, rel=1e-12)


def test_corrected_leaves_what_is_not_compared_out() -> None:
    found = corrected(np.array([0.04, np.nan, 0.9]))
    assert found[0] == pytest.approx(0.08)
    assert np.isnan(found[1])
    assert np.isnan(corrected(np.array([np.nan]))).all()


def test_noise_is_at_least_what_lies_below_zero_and_what_is_stated() -> None:
    none = np.full(3, np.nan)
    assert noise(np.array([1.0, 2.0, 3.0]), np.zeros(3), none) == (ROUNDING, 0.0)
    assert noise(np.array([1.0, -0.3, 3.0]), np.zeros(3), none) == (0.3, 0.0)
    assert noise(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.5, 9.0]), none) == (ROUNDING, 0.1)
    seen, _ = noise(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([1.0, 2.0, 3.0]))
    assert seen == pytest.approx(3.08, abs=0.01)
    one, other = np.array([0.3, 0.1]), np.array([0.1, 0.4])
    assert (own_scale(one), own_scale(other), shared_scale(one, other)) == (0.3, 0.4, 0.3)


def test_rounding_is_no_difference() -> None:
    assert differences(np.array([1.0]), np.array([1.0 + 1e-12]), 1e-3) == 0.0
    assert differences(np.array([1e-31]), np.array([5e-16]), ROUNDING) == 0.0
    assert differences(np.array([np.inf]), np.array([np.inf]), 1.0) == 0.0
