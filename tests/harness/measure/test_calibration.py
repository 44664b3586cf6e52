"""Expected calibration error of calibrated and of overconfident predictions: closed forms, bias, standard error."""

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions, spread_error
from harness.measure.calibration import CalibrationError, binned, debiased
from harness.measure.measure import Subject
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Prediction, Problem
from seeding import generator, numpy_generator
from solvers.estimates import Particles

LAW = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))


def measured(probability, seed=0):
    """Return the figure of one particle that gives every case's label this probability."""
    log_probability = torch.from_numpy(np.log(probability))
    potential = Quadratic(torch.eye(1, dtype=torch.float64), LAW.mean)
    flow = GradientFlow(LAW, FreeEnergy(potential, Entropy()), (1.0,))
    problem = Problem(flow, (), None, prediction=Prediction(lambda x: log_probability.expand(len(x), -1)))
    subject = Subject(Particles(torch.zeros(1, 1, dtype=torch.float64)), None, problem)
    assert CalibrationError().unsuited(subject) is None
    return CalibrationError()(subject, 100, generator(seed))


def cases(n, seed, said=lambda chance: chance):
    """Return the probability said of each label; the label is 1 with chance uniform on [.02, .98]."""
    rng = numpy_generator(seed)
    chance = rng.uniform(0.02, 0.98, n)
    label = rng.random(n) < chance
    return np.where(label, said(chance), 1 - said(chance))


def plain(probability):
    share, gap, _ = binned(probability)
    return float(share @ np.abs(gap))


def test_plain_sum_by_hand():
    probability = np.array([0.9] * 18 + [0.1] * 2 + [0.6] * 20)
    share, gap, noise = binned(probability)
    np.testing.assert_allclose(share, [0.5, 0.5])
    np.testing.assert_allclose(gap, [1.0 - 0.6, 0.9 - 0.9], atol=1e-12)
    np.testing.assert_allclose(noise, [0.0, math.sqrt(18 / 20 * 2 / 20 / 19)], atol=1e-12)
    assert measured(probability).estimator == "2 bins of equal mass, debiased; 40 cases, 1 posterior draws"


@repetitions(300, 5000)
def test_calibrated_predictions_have_none_but_the_bias_that_is_stated(repetitions):
    """.47 of Σ share·s is left and .80 of the plain sum: means over repetitions, within 3 %."""
    figures = [measured(cases(1000, seed), seed) for seed in range(repetitions)]
    noise = np.mean([share @ spread for share, _, spread in (binned(cases(1000, seed)) for seed in range(repetitions))])
    values = np.array([figure.value for figure in figures])
    left, plain_left = (2 - math.sqrt(2)) * math.sqrt(2 / math.pi) * noise, math.sqrt(2 / math.pi) * noise
    sums = [plain(cases(1000, seed)) for seed in range(repetitions)]
    assert values.mean() == pytest.approx(left, abs=0.03 * left + mean_error(values, 3))
    assert np.mean(sums) == pytest.approx(plain_left, abs=0.03 * plain_left + mean_error(sums, 3))
    ratio = values.std() / np.mean([figure.standard_error for figure in figures])
    assert 0.65 - spread_error(repetitions, 3) < ratio < 1 + spread_error(repetitions, 3)


def overconfident(chance):
    return 1 / (1 + ((1 - chance) / chance) ** 3)


@repetitions(200, 5000)
def test_overconfident_predictions(repetitions):
    """Log-odds three times too large: E|said - chance| by quadrature, bias under 2 %; the spread is that stated."""
    chance = np.linspace(0.02, 0.98, 200_001)
    exact = np.abs(overconfident(chance) - chance).mean()
    figures = [measured(cases(2000, seed, overconfident), seed) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    assert abs(values.mean() - exact) < mean_error(values) + 0.02 * exact
    stated = np.mean([figure.standard_error for figure in figures])
    assert values.std() / stated == pytest.approx(1, abs=0.05 + spread_error(repetitions))


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0])
def test_debiasing_by_simulation(gap):
    """2|d| less the mean of |N(d, s²)| over a million draws."""
    draws = np.abs(gap + 0.5 * numpy_generator(0).standard_normal(1_000_000))
    assert debiased(np.array([gap]), np.array([0.5]))[0] == pytest.approx(2 * gap - draws.mean(), abs=mean_error(draws))
    assert debiased(np.array([-gap]), np.array([0.0]))[0] == gap


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    right = measured(np.full(100, 1 - 1e-12))
    assert (right.value, right.standard_error) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert measured(np.full(100, 1e-12)).value == pytest.approx(1)


def test_number_of_bins():
    for count, bins in ((10, 1), (39, 1), (40, 2), (114, 5), (300, 15), (10_000, 15)):
        assert measured(cases(count, 0)).estimator.startswith(f"{bins} bins")
    single = measured(np.array([0.8]))
    assert (single.value, single.standard_error) == (pytest.approx(0.2), math.inf)


def test_same_bits_again_and_without_held_out_cases():
    assert measured(cases(500, 1), 3) == measured(cases(500, 1), 3)
    potential = Quadratic(torch.eye(1, dtype=torch.float64), LAW.mean)
    bare = Problem(GradientFlow(LAW, FreeEnergy(potential, Entropy()), (1.0,)), (), None)
    particles = Particles(torch.zeros(1, 1, dtype=torch.float64))
    assert CalibrationError().unsuited(Subject(particles, None, bare)) == "the problem has no held-out cases to predict"
