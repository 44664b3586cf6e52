"""The classifier two-sample test: chance for equal laws, Bayes accuracy for separated Gaussians."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import is_share, repetitions, sigmas, spread_error
from harness.measure.classifier import C2ST, told_apart
from harness.measure.measure import Subject
from problems.laws import Empirical, Gaussian
from seeding import generator
from solvers.estimates import Exact, Particles


def gaussian(dim, shift=0.0):
    mean = torch.zeros(dim, dtype=torch.float64)
    mean[0] = shift
    return Gaussian(mean, torch.eye(dim, dtype=torch.float64))


def measured(estimate, truth, draws=2000, seed=0):
    subject = Subject(estimate, truth, None)
    assert C2ST().unsuited(subject) is None
    return C2ST()(subject, draws, generator(seed))


@repetitions(40, 1000)
def test_equal_laws_cannot_be_told_apart(repetitions):
    """Their mean is ½ within the stated error, which covers ½ in 93 to 97 % of repetitions."""
    figures = [measured(Exact(gaussian(3)), gaussian(3), 150, seed) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    stated = np.mean([figure.standard_error for figure in figures])
    assert abs(values.mean() - 0.5) < sigmas() * stated / math.sqrt(repetitions)
    assert values.std(ddof=1) / stated < 1 + spread_error(repetitions)
    within = [abs(figure.value - 0.5) < 1.96 * figure.standard_error for figure in figures]
    assert is_share(sum(within), repetitions, 0.93, 0.97)
    assert figures[0].estimator == "perceptron, 150 draws a side, half of them held out"


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_separated_gaussians_are_told_apart_at_the_bayes_accuracy(shift):
    """Φ(δ/2) is the best there is: not above it, nor below by two points in a hundred, but for its error."""
    figure = measured(Exact(gaussian(5, shift)), gaussian(5), 1000)
    best = stats.norm.cdf(shift / 2)
    assert -0.02 - sigmas() * figure.standard_error < figure.value - best < sigmas() * figure.standard_error


def test_correlation_and_tails_are_seen():
    """Marginals are the same in the first case; mean and covariance in the second."""
    source = generator(1)
    correlated = gaussian(2).sample(1000, source)
    correlated[:, 1] = 0.8 * correlated[:, 0] + 0.6 * correlated[:, 1]
    assert measured(Particles(correlated), gaussian(2)).value > 0.6
    chi_square = gaussian(3).sample(1000, source).square().sum(1, keepdim=True)
    heavy = gaussian(10).sample(1000, source) / chi_square.sqrt()
    assert measured(Particles(heavy), gaussian(10)).value > 0.6


def test_units_do_not_matter():
    """Whitened coordinates: a linear map of both laws, of condition 1e6, changes the figure by rounding at the most."""
    x, y = (gaussian(3, shift).sample(300, generator(7)).numpy() for shift in (0.5, 0.0))
    units = np.array([1e-3, 1.0, 1e3])
    assert told_apart(x * units, y * units, 3)[0].mean() == pytest.approx(told_apart(x, y, 3)[0].mean(), abs=0.005)


def test_a_finite_reference_and_its_own_draws():
    points = gaussian(4).sample(800, generator(2))
    truth = Empirical(points, points.mean(0), torch.cov(points.T))
    figure = measured(Exact(truth), truth)
    assert figure.estimator.endswith("400 draws a side, half of them held out")
    assert abs(figure.value - 0.5) < sigmas() * figure.standard_error
    assert measured(Exact(gaussian(4)), truth).estimator.endswith("800 draws a side, half of them held out")


def test_collapsed_particles_are_told_apart():
    """Points in a plane (.86 with a deviation of .017 over 30 seeds), and one point repeated, against a density."""
    flat = gaussian(3).sample(800, generator(3))
    flat[:, 2] = 0.0
    same = torch.zeros(800, 3, dtype=torch.float64)
    for points in (flat, same):
        assert measured(Particles(points), gaussian(3)).value > 0.65
    assert told_apart(same.numpy(), same.numpy(), 0)[0].mean() == pytest.approx(0.5, abs=0.1)


def test_what_is_unsuited_says_why():
    assert C2ST().unsuited(Subject(Exact(gaussian(2)), None, None)) == "the true law is not known"
    few = Particles(gaussian(2).sample(19, generator(4)))
    assert C2ST().unsuited(Subject(few, gaussian(2), None)) == "19 particle(s) are too few; 20 are needed"


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    one, two = on_threads(lambda: measured(Exact(gaussian(3, 0.3)), gaussian(3), 200), (1, 2))
    assert one == two
