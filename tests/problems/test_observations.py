"""Noise laws against scipy's, and what observations refuse."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM, sigmas
from problems.observations import (
    Coordinatewise,
    Distance,
    GaussianNoise,
    HiddenPath,
    Likelihood,
    LinearObservation,
    Noise,
    ObservationFunction,
    Observations,
    StudentNoise,
    distinct_times,
)
from seeding import generator

IDENTITY = LinearObservation(torch.eye(1, dtype=torch.float64))


def observations(times, values=None, **settings):
    values = [0.0] * len(times) if values is None else values
    column = torch.tensor(values, dtype=torch.float64).reshape(len(values), 1)
    return Observations(times, column, IDENTITY, GaussianNoise(1.0), **settings)


@pytest.mark.parametrize("noise", [GaussianNoise(0.7), StudentNoise(0.6, 3)])
@pytest.mark.parametrize(
    "function",
    [
        LinearObservation(torch.tensor([[1.0, 0.5], [0.0, -2.0], [3.0, 1.0]]).double()),
        Coordinatewise("tanh"),
        Coordinatewise("cubic"),
        Distance(),
    ],
)
def test_scores_of_likelihoods_are_their_gradients(function, noise):
    x = torch.randn(40, 2, generator=generator(), dtype=torch.float64)
    value = function(x)[0] + 0.3
    likelihood = Likelihood(value, function, noise)
    at = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(likelihood(at).sum(), at)
    assert likelihood.score(x).numpy() == pytest.approx(expected.numpy(), rel=1e-12, abs=1e-12)


def test_likelihoods_whose_noise_or_function_has_no_slope_have_no_score():
    class Uniform(Noise):
        def log_prob(self, residual):
            return torch.where((residual.abs() < 1).all(1), 0.0, -math.inf)

        def sample(self, n, size, generator):
            return 2 * torch.rand(n, size, generator=generator, dtype=torch.float64) - 1

    class Rounded(ObservationFunction):
        def __call__(self, x):
            return x.round()

    x = torch.zeros(1, 1, dtype=torch.float64)
    assert Likelihood(x[0], IDENTITY, Uniform()).score(x) is None
    assert Likelihood(x[0], Rounded(), GaussianNoise(1.0)).score(x) is None


def test_a_distance_has_a_finite_score_where_it_is_zero():
    likelihood = Likelihood(torch.ones(1, dtype=torch.float64), Distance(), GaussianNoise(1.0))
    assert torch.equal(likelihood.score(torch.zeros(1, 2)), torch.zeros(1, 2, dtype=torch.float64))


def test_log_densities_are_scipys():
    x = torch.randn(50, 2, generator=generator(), dtype=torch.float64) * 3
    for noise, law in (
        (GaussianNoise(0.7), stats.norm(scale=0.7)),
        (StudentNoise(0.7, 3), stats.t(df=3, scale=0.7)),
        (StudentNoise(2.0, 1), stats.cauchy(scale=2.0)),
    ):
        expected = torch.from_numpy(law.logpdf(x.numpy()).sum(1))
        torch.testing.assert_close(noise.log_prob(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("noise", "law"),
    [(GaussianNoise(0.7), stats.norm(scale=0.7)), (StudentNoise(0.7, 3), stats.t(df=3, scale=0.7))],
)
def test_draws_follow_the_density(noise, law):
    """Kolmogorov-Smirnov for either coordinate, and their ranks are uncorrelated."""
    draws = noise.sample(20_000, 2, generator(1)).numpy()
    assert all(stats.kstest(draws[:, place], law.cdf).pvalue > FALSE_ALARM / 3 for place in (0, 1))
    assert abs(stats.spearmanr(draws).statistic) < sigmas(3) / math.sqrt(20_000)


def test_likelihood_of_each_function():
    x = torch.tensor([[0.6, -0.8], [1.0, 2.0]], dtype=torch.float64)
    noise = GaussianNoise(0.5)
    for function, seen in (
        (LinearObservation(torch.tensor([[1.0, 2.0]], dtype=torch.float64)), [[-1.0], [5.0]]),
        (Distance(), [[1.0], [math.sqrt(5)]]),
        (Coordinatewise("tanh"), [[math.tanh(0.6), math.tanh(-0.8)], [math.tanh(1.0), math.tanh(2.0)]]),
        (Coordinatewise("cubic"), [[0.072, -0.512 / 3], [1 / 3, 8 / 3]]),
    ):
        expected = torch.tensor(seen, dtype=torch.float64)
        torch.testing.assert_close(function(x), expected)
        value = torch.full((expected.shape[1],), 0.3, dtype=torch.float64)
        likelihood = Likelihood(value, function, noise)
        torch.testing.assert_close(likelihood(x), noise.log_prob(value - expected))
        assert likelihood.linear_gaussian == isinstance(function, LinearObservation)
    assert not Likelihood(torch.zeros(1), IDENTITY, StudentNoise(1.0, 4)).linear_gaussian


@pytest.mark.parametrize("times", [(), (0.0,), (0.5, 0.5), (0.0, 0.0, 0.3, 0.31, 7.0)])
def test_any_times_in_order_will_do(times):
    seen = observations(times)
    assert len(seen) == len(times)
    assert [seen.count_by(time) for time in times] == [sum(other <= time for other in times) for time in times]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((1.0, 0.5), "must not decrease, got 0.5 after 1.0"),
        ((-0.1,), "observation time 1 must be a finite number >= 0, got -0.1"),
        ((0.5, math.nan), "observation time 2 must be a finite number >= 0, got nan"),
        ((math.inf,), "observation time 1 must be a finite number >= 0, got inf"),
    ],
)
def test_bad_times_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        observations(times)


def test_missing_values_are_refused_unless_they_may_be_skipped():
    with pytest.raises(ValueError, match=r"number 2 \(t = 1\) is NaN; missing='skip' would leave it out"):
        observations((0.5, 1.0), [0.0, math.nan])
    seen = observations((0.5, 1.0), [0.0, math.nan], missing="skip")
    assert [seen.is_missing(index) for index in (0, 1)] == [False, True]
    with pytest.raises(ValueError, match="missing must be one of 'error', 'skip'; got 'drop'"):
        observations((), missing="drop")
    with pytest.raises(ValueError, match=r"number 1 \(t = 0.5\) is infinite"):
        observations((0.5,), [-math.inf], missing="skip")
    with pytest.raises(ValueError, match=r"2 times need values of shape \(2, m\)"):
        observations((0.5, 1.0), [0.0])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_noise_must_be_positive(bad):
    with pytest.raises(ValueError, match="std must be a finite number > 0"):
        GaussianNoise(bad)
    with pytest.raises(ValueError, match="scale must be a finite number > 0"):
        StudentNoise(bad, 3)
    with pytest.raises(ValueError, match="degrees must be a whole number >= 1, got 0"):
        StudentNoise(1.0, 0)


def test_times_that_differ_by_rounding_are_one():
    assert distinct_times((0.3, 0.1 + 0.2, 0.0, 2.0, 1e-12)) == (0.0, 0.3, 2.0)
    path = HiddenPath((0.0, 0.3), torch.tensor([[1.0], [2.0]]))
    assert path.at(0.1 + 0.2) == torch.tensor([2.0])
    assert path.at(0.2) is None
    assert distinct_times((0.0, 1e-13, 2e-13)) == (0.0, 1e-13, 2e-13)  # in a unit of time of their size
    assert HiddenPath((0.0, 1e-13), torch.tensor([[1.0], [2.0]])).at(1e-13) == torch.tensor([2.0])
    assert observations((1e-13, 2e-13)).count_by(1e-13) == 1
    assert observations((0.3,)).count_by(0.1 + 0.2) == observations((0.1 + 0.2,)).count_by(0.3) == 1
