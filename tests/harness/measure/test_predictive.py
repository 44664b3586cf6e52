"""Accuracy and log predictive probability: against sums by hand, closed forms and repeated sampling."""

import math

import numpy as np
import pytest
import torch

from false_alarms import repetitions, sigmas, spread_error
from harness.measure import predictive
from harness.measure.measure import Subject
from harness.measure.predictive import Accuracy, LogPredictive
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Prediction, Problem
from seeding import fixed_generator, generator
from solvers.estimates import Exact, Particles

LAW = Gaussian(torch.tensor([0.5, -0.2], dtype=torch.float64), torch.eye(2, dtype=torch.float64))
SIGNED_FEATURES = torch.randn(40, 2, generator=fixed_generator(1), dtype=torch.float64)


def logistic(points):
    return torch.nn.functional.logsigmoid(points @ SIGNED_FEATURES.T)


def problem(log_likelihood):
    potential = Quadratic(torch.eye(2, dtype=torch.float64), LAW.mean)
    prediction = None if log_likelihood is None else Prediction(log_likelihood)
    return Problem(GradientFlow(LAW, FreeEnergy(potential, Entropy()), (1.0,)), (), None, prediction=prediction)


def measured(measure, estimate, draws=1000, seed=0, log_likelihood=logistic):
    subject = Subject(estimate, None, problem(log_likelihood))
    assert measure.unsuited(subject) is None
    return measure(subject, draws, generator(seed))


@pytest.mark.parametrize("weighted", [False, True])
def test_by_hand(weighted):
    points = LAW.sample(30, generator(2))
    log_weights = torch.randn(30, generator=generator(3), dtype=torch.float64) if weighted else None
    weights = np.full(30, 1 / 30) if log_weights is None else torch.softmax(log_weights, 0).numpy()
    probability = weights @ torch.sigmoid(points @ SIGNED_FEATURES.T).numpy()
    particles = Particles(points, log_weights)
    accuracy, log_predictive = measured(Accuracy(), particles), measured(LogPredictive(), particles)
    share = (probability > 0.5).mean()
    assert 0.2 < share < 0.9
    assert accuracy.value == pytest.approx(share)
    assert accuracy.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 40))
    assert log_predictive.value == pytest.approx(np.log(probability).mean(), rel=1e-12)
    assert {accuracy.estimator, log_predictive.estimator} == {"40 cases, 30 posterior draws"}


def test_standard_error_is_a_delete_one_jackknife_and_the_spread_of_cases():
    points = LAW.sample(20, generator(4))
    likelihood = torch.sigmoid(points @ SIGNED_FEATURES.T).numpy()
    without_one = [np.log(np.delete(likelihood, k, axis=0).mean(0)).mean() for k in range(20)]
    over_cases = np.log(likelihood.mean(0)).var(ddof=1) / 40
    expected = math.sqrt(over_cases + 19 * np.var(without_one))
    assert measured(LogPredictive(), Particles(points)).standard_error == pytest.approx(expected, rel=1e-9)


@repetitions(300, 5000)
def test_noise_of_posterior_draws_is_in_the_standard_error(repetitions):
    """Cases alike but for rounding: what is left is the noise of the draws, known from repetitions."""

    def one_case_40_times(points):
        return torch.nn.functional.logsigmoid(3 * points[:, :1]).expand(-1, 40)

    figures = [measured(LogPredictive(), Exact(LAW), 320, seed, one_case_40_times) for seed in range(repetitions)]
    spread = np.std([figure.value for figure in figures])
    stated = np.mean([figure.standard_error for figure in figures])
    assert spread / stated == pytest.approx(1, abs=0.03 + spread_error(repetitions))


def test_gaussian_law_against_quadrature():
    """E sigmoid(a·x) for Gaussian x is a one-dimensional integral; 20,000 draws agree within their noise."""
    mean, deviation = (SIGNED_FEATURES @ LAW.mean).numpy(), SIGNED_FEATURES.norm(dim=1).numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logits = mean[:, None] + deviation[:, None] * nodes
    probability = (1 / (1 + np.exp(-logits))) @ weights / math.sqrt(2 * math.pi)
    figure = measured(LogPredictive(), Exact(LAW), 20_000)
    influence = (torch.sigmoid(LAW.sample(20_000, generator(7)) @ SIGNED_FEATURES.T).numpy() / probability).mean(1)
    over_draws = influence.std() / math.sqrt(20_000)
    assert abs(figure.value - np.log(probability).mean()) < sigmas() * over_draws < 0.02
    over_cases = np.log(probability).std(ddof=1) / math.sqrt(40)
    assert figure.standard_error == pytest.approx(math.hypot(over_cases, over_draws), rel=0.05)
    doubtful = (np.abs(probability - 0.5) < 0.02).mean()
    correct = (probability > 0.5).mean()
    assert measured(Accuracy(), Exact(LAW), 20_000).value == pytest.approx(correct, abs=doubtful + 1e-9)


def test_tiles_do_not_change_the_figure(monkeypatch):
    particles = Particles(LAW.sample(500, generator(5)))
    whole = measured(LogPredictive(), particles)
    monkeypatch.setattr(predictive, "LIKELIHOODS_PER_TILE", 120)
    tiled = measured(LogPredictive(), particles)
    assert tiled.value == pytest.approx(whole.value, rel=1e-13)
    assert tiled.standard_error == pytest.approx(whole.standard_error, rel=1e-12)


def test_more_particles_than_draws_are_subsampled():
    particles = Particles(LAW.sample(500, generator(6)))
    assert measured(LogPredictive(), particles, 100).estimator == "40 cases, 100 posterior draws"
    weighted = Particles(particles.points, torch.tensor([0.0] + [-1000.0] * 499, dtype=torch.float64))
    certain = logistic(particles.points[:1]).mean()
    assert measured(LogPredictive(), weighted, 100).value == pytest.approx(float(certain))
    assert measured(LogPredictive(), weighted, 1000).value == pytest.approx(float(certain))


def test_impossible_cases_are_minus_infinity_and_nan_is_an_error():
    def impossible(points):
        result = logistic(points).clone()
        result[:, :3] = -torch.inf
        return result

    figure = measured(LogPredictive(), Exact(LAW), log_likelihood=impossible)
    assert figure.value == -math.inf
    assert figure.estimator.endswith("3 have probability 0")
    with pytest.raises(ArithmeticError, match="predictive probability of 40 of 40 cases is NaN"):
        measured(Accuracy(), Exact(LAW), log_likelihood=lambda points: logistic(points) * torch.nan)


def test_even_odds_are_not_a_prediction():
    figure = measured(Accuracy(), Exact(LAW), log_likelihood=lambda points: torch.full((len(points), 4), math.log(0.5)))
    assert figure.value == 0


def test_without_held_out_cases():
    for measure in (Accuracy(), LogPredictive()):
        reason = measure.unsuited(Subject(Exact(LAW), LAW, problem(None)))
        assert reason == "the problem has no held-out cases to predict"
