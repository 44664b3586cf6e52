"""The generators against the closed forms of the laws that they draw from."""

import math

import numpy as np
import pytest
from scipy import stats

from false_alarms import FALSE_ALARM, sigmas
from problems.data.breiman import GENERATORS, PAIRS, POSITIONS, SHIFT, WAVES, Uniforms

ROWS = 100_000
FIRST = (0.15856224093071464, 0.5660085550425342, 0.9323866974438673)


@pytest.fixture(scope="module")
def drawn():
    return {name: generate(ROWS) for name, generate in GENERATORS.items()}


def assert_moments(x, mean, covariance):
    """Means and second moments within their standard errors: 230 figures at most."""
    centred = x - mean
    assert np.abs(centred.mean(0) / np.sqrt(np.diag(covariance) / len(x))).max() < sigmas(230)
    rows, columns = np.triu_indices(x.shape[1])
    products = centred[:, rows] * centred[:, columns]
    error = products.std(0) / math.sqrt(len(x))
    assert np.abs((products.mean(0) - covariance[rows, columns]) / error).max() < sigmas(230)


@pytest.mark.parametrize(("name", "share"), [("twonorm", 1 / 2), ("ringnorm", 1 / 2), ("waveform", 1 / 3)])
def test_share_of_positive_labels(name, share, drawn):
    _, labels = drawn[name]
    assert set(labels) == {-1.0, 1.0}
    assert abs((labels > 0).mean() - share) < sigmas() * math.sqrt(share * (1 - share) / ROWS)


@pytest.mark.parametrize(
    ("name", "label", "mean", "variance"),
    [("twonorm", 1, SHIFT, 1), ("twonorm", -1, -SHIFT, 1), ("ringnorm", 1, 0, 4), ("ringnorm", -1, SHIFT, 1)],
)
def test_normal_classes_have_their_moments(name, label, mean, variance, drawn):
    features, labels = drawn[name]
    assert_moments(features[labels == label], np.full(20, mean), variance * np.eye(20))
    standardised = (features[labels == label, 0] - mean) / math.sqrt(variance)
    assert stats.kstest(standardised, "norm").pvalue > FALSE_ALARM


def test_waveform_classes_have_their_moments(drawn):
    """u h + (1 - u) g + ε has mean (h + g)/2 and covariance I + (h - g)(h - g)ᵀ/12; the rest are two such classes."""
    features, labels = drawn["waveform"]
    moments = []
    for first, second in PAIRS:
        difference = WAVES[first] - WAVES[second]
        moments.append(((WAVES[first] + WAVES[second]) / 2, np.eye(21) + np.outer(difference, difference) / 12))
    assert_moments(features[labels > 0], *moments[2])
    mean = (moments[0][0] + moments[1][0]) / 2
    half = (moments[0][0] - moments[1][0]) / 2
    assert_moments(features[labels < 0], mean, (moments[0][1] + moments[1][1]) / 2 + np.outer(half, half))


def test_waves_are_the_published_triangles():
    for wave, centre in zip(WAVES, (11, 15, 7), strict=True):
        assert wave.max() == 6 == wave[centre - 1]
        assert wave.sum() == 36
        np.testing.assert_array_equal(np.flatnonzero(wave), np.flatnonzero(np.abs(POSITIONS - centre) < 6))


def test_bayes_error_of_twonorm_is_exact(drawn):
    """The best rule is the sign of Σx, wrong with probability Φ(-2) = .02275."""
    features, labels = drawn["twonorm"]
    error = stats.norm.cdf(-2)
    assert abs((features.sum(1) * labels < 0).mean() - error) < sigmas() * math.sqrt(error * (1 - error) / ROWS)


def test_bayes_error_of_ringnorm_is_exact(drawn):
    """log p₊/p₋ = -‖x‖²/8 - 20 log 2 + ‖x - a e‖²/2 is quadratic: under each class a shifted non-central χ².

    It is 3/8 ‖x - 4/3 a e‖² - c with c = a²·20/6 + 20 log 2, so +1 is said where ‖x - 4/3 a e‖² > 8c/3.
    """
    features, labels = drawn["ringnorm"]
    ratio = 0.5 * ((features - SHIFT) ** 2).sum(1) - 0.125 * (features**2).sum(1) - 20 * math.log(2)
    squared = SHIFT**2 * 20
    bound = 8 / 3 * (squared / 6 + 20 * math.log(2))
    missed = stats.ncx2.cdf(bound / 4, 20, squared * 16 / 9 / 4)
    false_alarm = stats.ncx2.sf(bound, 20, squared / 9)
    error = 0.5 * (missed + false_alarm)
    assert error == pytest.approx(0.0124, abs=1e-4)
    assert abs((ratio * labels < 0).mean() - error) < sigmas() * math.sqrt(error * (1 - error) / ROWS)


def test_streams_are_those_of_their_names_and_fixed():
    """The first numbers, which no version of numpy may change."""
    one, again, other = Uniforms("twonorm"), Uniforms("twonorm"), Uniforms("ringnorm")
    first = one.uniform(3)
    np.testing.assert_array_equal(first, again.uniform(3))
    assert not np.array_equal(first, other.uniform(3))
    np.testing.assert_allclose(first, FIRST, rtol=0, atol=1e-15)


def test_uniform_numbers_are_uniform_and_never_0_or_1():
    numbers = Uniforms("test").uniform(ROWS)
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > FALSE_ALARM


def test_kept_digits_and_no_negative_zero(drawn):
    for name, digits in (("twonorm", 6), ("ringnorm", 6), ("waveform", 2)):
        features, _ = drawn[name]
        np.testing.assert_array_equal(features, np.round(features, digits))
        assert not np.signbit(features[features == 0]).any()
