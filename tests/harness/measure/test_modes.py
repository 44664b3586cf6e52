"""Shares of the modes: exact for laws with other weights, its standard error and floor, and when it says nothing."""

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions, sigmas, spread_error
from harness.measure.measure import Subject
from harness.measure.modes import ModeWeights, responsibilities
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import fixed_generator, generator
from solvers.estimates import Exact, Particles

# Six clusters in four dimensions, as good as disjoint.
PROBLEM = GaussianMixtureFlow(instance="random", components=6, half_width=60.0).build(4, 0, fixed_generator())
MIXTURE = PROBLEM.flow.potential.stationary
OTHER = torch.tensor([0.4, 0.1, 0.1, 0.2, 0.15, 0.05], dtype=torch.float64)
DISTANCE = 0.5 * float((OTHER - 1 / 6).abs().sum())


def reweighted(weights: torch.Tensor) -> GaussianMixture:
    return GaussianMixture(weights, MIXTURE.means, MIXTURE.covariances)


def figure(estimate, truth=None, draws: int = 4000, seed: int = 1):
    return ModeWeights()(Subject(estimate, truth or PROBLEM.truth(1.0), PROBLEM), draws, generator(seed))


def test_responsibilities_are_posterior_probabilities():
    problem = GaussianMixtureFlow(instance="random", half_width=1.0).build(3, 0, generator())
    mixture = problem.flow.potential.stationary
    x = mixture.sample(9000, generator())
    found = responsibilities(mixture, x)
    weighted = [
        float(weight) * torch.distributions.MultivariateNormal(mean, covariance).log_prob(x).exp()
        for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    ]
    expected = torch.stack(weighted, dim=1)
    np.testing.assert_allclose(found, (expected / expected.sum(1, keepdim=True)).numpy(), rtol=1e-9)


@repetitions(300, 10_000)
def test_other_weights_are_found_within_the_standard_error(repetitions):
    """The mean over repetitions, and χ² of their spread: the declared error is the true one within 3 %."""
    values, errors = zip(
        *(
            (found.value, found.standard_error)
            for found in (figure(Exact(reweighted(OTHER)), seed=k) for k in range(repetitions))
        ),
        strict=True,
    )
    assert abs(np.mean(values) - DISTANCE) < mean_error(values)
    assert np.std(values) / np.mean(errors) == pytest.approx(1, abs=0.03 + spread_error(repetitions))


@pytest.mark.parametrize("draws", [500, 8000])
@repetitions(100, 5000)
def test_the_floor_of_exact_draws(draws, repetitions):
    """The normal approximation √(J/2πn), for J modes √(J - 1) in place of √J, and the error of the mean."""
    values = [figure(Exact(MIXTURE), draws=draws, seed=seed).value for seed in range(repetitions)]
    floor = math.sqrt(5 / (2 * math.pi * draws))
    assert np.mean(values) == pytest.approx(floor, abs=0.02 * floor + mean_error(values))


def test_particles_count_with_their_weights_and_all_of_them():
    points = MIXTURE.sample(20_000, generator(3))
    component = responsibilities(MIXTURE, points).argmax(1)
    log_weights = (6 * OTHER).log()[component] + 5.0
    found = figure(Particles(points, log_weights), draws=10)
    assert found.value == pytest.approx(DISTANCE, abs=0.02)
    assert found.estimator == "20000 draws against the mixture's weights, 6 modes"
    assert figure(Particles(points), draws=10).value < 0.02
    # Weighted particles say less than as many unweighted ones of the same law.
    plain = figure(Exact(reweighted(OTHER)), draws=20_000)
    assert found.standard_error > plain.standard_error


def test_a_truth_with_other_weights_by_draws():
    found = figure(Exact(MIXTURE), truth=reweighted(OTHER), draws=20_000)
    assert abs(found.value - DISTANCE) < sigmas() * found.standard_error
    assert found.standard_error > figure(Exact(reweighted(OTHER)), draws=20_000).standard_error
    assert "20000 draws of the truth" in found.estimator


@pytest.mark.parametrize("dim", [1, 2])
def test_a_truth_on_a_grid_by_quadrature(dim):
    problem = GaussianMixtureFlow(instance="random", components=3, truth="marginal").build(dim, 0, fixed_generator(2))
    truth = problem.truth(4.0)
    by_grid = ModeWeights()(Subject(Exact(truth), truth, problem), 50_000, generator())
    assert "quadrature" in by_grid.estimator
    assert by_grid.value < 4 * math.sqrt(3 / (2 * math.pi * 50_000))
    away = ModeWeights()(Subject(Exact(problem.flow.initial), truth, problem), 50_000, generator())
    assert away.value > 10 * by_grid.value


def test_said_of_mixtures_only_and_with_a_truth():
    other = OrnsteinUhlenbeck().build(2, 0, generator())
    assert "not that of a mixture" in ModeWeights().unsuited(Subject(Exact(other.flow.initial), None, other))
    assert "not known" in ModeWeights().unsuited(Subject(Exact(MIXTURE), None, PROBLEM))
    assert ModeWeights().unsuited(Subject(Exact(MIXTURE), MIXTURE, PROBLEM)) is None
    assert {"mode-weights", "energy-distance"} <= set(PROBLEM.measures)
