"""Every kind of estimate: conditioning, moments, quantiles and ranks, by closed forms and by draws."""

from __future__ import annotations

import math

import pytest
import torch

from false_alarms import sigmas
from problems.laws import Gaussian, GaussianMixture
from problems.linear_filtering import LinearFiltering
from problems.observations import GaussianNoise, Likelihood, LinearObservation
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian
from seeding import generator
from solvers.estimates import SUMMARY_DRAWS, DensityEstimate, Exact, GridDensity, Particles, Reweighted
from solvers.filtering import LEVELS, fixed_stream
from solvers.maps import Pushforward
from solvers.one_dimensional.chang_cooper import ChangCooper
from solvers.one_dimensional.quantile_map import QuantileMap, scores

CPU = torch.device("cpu")
LAW = Gaussian(torch.tensor([0.5], dtype=torch.float64), torch.tensor([[1.5]], dtype=torch.float64))
LIKELIHOOD = Likelihood(
    torch.tensor([1.5], dtype=torch.float64), LinearObservation(torch.eye(1, dtype=torch.float64)), GaussianNoise(0.8)
)


def test_conditioning_of_draws_and_densities_is_bayes():
    """Weighted draws, a reweighted density and unsupported laws meet the closed form within standard errors."""
    exact = condition_gaussian(LAW, LIKELIHOOD)
    mixture = GaussianMixture(torch.ones(1, dtype=torch.float64), LAW.mean[None], LAW.covariance[None])
    for estimate in (Pushforward(LAW, ()), Exact(mixture), Particles(LAW.sample(2**15, generator(9)))):
        posterior, log_evidence, share = estimate.condition(LIKELIHOOD, generator(2))
        error = math.sqrt((1 / exact.effective_share - 1) / 2**15)
        assert abs(log_evidence - exact.log_evidence) < sigmas(6) * error
        assert share == pytest.approx(exact.effective_share, rel=0.03)
        draws = posterior.sample(20_000, generator(3))
        spread = math.sqrt(float(exact.law.covariance))
        assert abs(float(draws.mean() - exact.law.mean)) < sigmas(6) * spread * math.sqrt(
            1 / 20_000 + 2 / (share * 2**15)
        )
        assert posterior.defect() is None
    assert isinstance(Pushforward(LAW, ()).condition(LIKELIHOOD, generator()).estimate, Reweighted)


def test_reweighted_density_is_the_posterior():
    """Density up to the error of its evidence, and twice in a row, as an observation of half the variance."""
    once = Pushforward(LAW, ()).condition(LIKELIHOOD, generator()).estimate
    twice = once.condition(LIKELIHOOD, generator(1)).estimate
    assert isinstance(twice, DensityEstimate)
    half = Likelihood(LIKELIHOOD.value, LIKELIHOOD.function, GaussianNoise(0.8 / math.sqrt(2)))
    x = torch.linspace(-2, 3, 50, dtype=torch.float64)[:, None]
    for estimate, law in (
        (once, condition_gaussian(LAW, LIKELIHOOD).law),
        (twice, condition_gaussian(LAW, half).law),
    ):
        torch.testing.assert_close(estimate.log_prob(x), law.log_prob(x), rtol=0, atol=0.03)


def test_weights_are_never_silently_uniform():
    particles = Particles(torch.zeros(3, 1, dtype=torch.float64))
    for values, message in (
        ([-math.inf] * 3, "zero at all of 3 points"),
        ([0.0, math.nan, 0.0], "NaN or infinite at 1 of 3 points"),
        ([0.0, math.inf, 0.0], "NaN or infinite at 1 of 3 points"),
    ):
        with pytest.raises(ImpossibleObservation, match=message):
            particles.condition(lambda x, values=values: torch.tensor(values, dtype=torch.float64), generator())
    far = particles.condition(lambda x: torch.tensor([-1e5, -2e5, -3e5], dtype=torch.float64), generator())
    assert far.estimate.normalised_log_weights.exp().tolist() == [1, 0, 0]
    assert far.log_evidence == pytest.approx(-1e5 - math.log(3))
    assert far.effective_share == pytest.approx(1 / 3)


def test_quantiles_and_ranks_of_every_kind():
    """Closed forms of a Gaussian, of its grid, and of 2e4 draws."""
    problem = LinearFiltering(observation_times=(), times=(1.0,)).build(1, 0, generator())
    grid = ChangCooper(cells=800).solve(problem, generator(1), CPU)
    (estimate,) = grid.estimates
    assert isinstance(estimate, GridDensity)
    mean, covariance = estimate.moments(fixed_stream())
    gaussian = Exact(Gaussian(mean, covariance))
    particles = Particles(gaussian.sample(20_000, generator(4)))
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    expected = gaussian.quantiles(levels, fixed_stream())
    assert estimate.quantiles(levels, fixed_stream()) == pytest.approx(expected, abs=1e-4)
    std = math.sqrt(float(covariance))
    assert particles.quantiles(levels, fixed_stream()) == pytest.approx(
        expected, abs=sigmas(10) * std * 2.1 / math.sqrt(20_000)
    )
    for level, value in zip(levels, expected, strict=True):
        assert gaussian.cumulative(value, fixed_stream()) == pytest.approx(level)
        assert estimate.cumulative(value, fixed_stream()) == pytest.approx(level, abs=1e-4)
        assert particles.cumulative(value, fixed_stream()) == pytest.approx(
            level, abs=sigmas(10) * 0.5 / math.sqrt(20_000)
        )
    ranked = QuantileMap(float(mean) + std * scores(300))
    assert ranked.quantiles(levels, fixed_stream()) == pytest.approx(expected)
    assert ranked.cumulative(expected[1], fixed_stream()) == pytest.approx(levels[1])
    torch.testing.assert_close(ranked.moments(fixed_stream()), (mean, covariance), rtol=1e-9, atol=1e-9)
    weighted = Particles(torch.tensor([[2.0], [1.0], [3.0]]), torch.tensor([0.2, 0.5, 0.3]).log())
    assert weighted.quantiles((0.4, 0.6, 0.8), fixed_stream()) == [1.0, 2.0, 3.0]
    assert weighted.cumulative(2.0, fixed_stream()) == pytest.approx(0.6)


def test_what_an_estimate_does_not_know_is_of_draws_from_the_generator():
    parts = torch.tensor([0.5, 0.5]).double(), torch.tensor([[-2.0], [2.0]]).double(), torch.ones(2, 1, 1).double()
    estimate = Exact(GaussianMixture(*parts))
    assert estimate.grid is None
    assert estimate.effective_sample_size is None
    assert estimate.density is estimate.law
    draws = Particles(estimate.sample(SUMMARY_DRAWS, generator(6)))
    assert estimate.quantiles(LEVELS, generator(6)) == draws.quantiles(LEVELS, generator())
    assert estimate.quantiles(LEVELS, generator(7)) != draws.quantiles(LEVELS, generator())
    assert estimate.cumulative(1.0, generator(6)) == draws.cumulative(1.0, generator())
    assert draws.density is None
