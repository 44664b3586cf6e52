"""SymKL and Bures-W2 of moments: closed forms, POT, the floor on exact draws, and the jackknife."""

import math

import numpy as np
import ot.gaussian
import pytest
import torch

from false_alarms import mean_error, repetitions, spread_error
from harness.measure.measure import Subject
from harness.measure.moments import BuresW2, GaussianSymKL, bures_w2, gaussian_symkl
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Empirical, Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.grid_law import GridLaw
from seeding import generator
from solvers.estimates import Exact, GridDensity, Particles


def random_gaussian(dim, seed):
    source = generator(seed)
    mixing = torch.randn(dim, dim + 3, generator=source, dtype=torch.float64)
    return Gaussian(torch.randn(dim, generator=source, dtype=torch.float64), mixing @ mixing.T / dim)


def moments(law):
    return law.mean.numpy(), law.covariance.numpy()


def measured(measure, estimate, truth, draws=100, seed=0):
    law = random_gaussian(estimate.dim, 0)
    potential = Quadratic(torch.eye(estimate.dim, dtype=torch.float64), law.mean)
    problem = Problem(GradientFlow(law, FreeEnergy(potential, Entropy()), (1.0,)), (), None)
    subject = Subject(estimate, truth, problem)
    assert measure.unsuited(subject) is None
    return measure(subject, draws, generator(seed))


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_closed_forms(dim):
    p, q = random_gaussian(dim, 1), random_gaussian(dim, 2)
    distributions = [torch.distributions.MultivariateNormal(law.mean, law.covariance) for law in (p, q)]
    divergence = sum(
        float(torch.distributions.kl_divergence(*pair)) for pair in (distributions, reversed(distributions))
    )
    assert gaussian_symkl(*moments(p), *moments(q)) == pytest.approx(divergence, rel=1e-10)
    (m, a), (mu, b) = moments(p), moments(q)
    assert bures_w2(m, a, mu, b) == pytest.approx(ot.gaussian.bures_wasserstein_distance(m, mu, a, b), rel=1e-10)
    for measure, expected in ((GaussianSymKL(), divergence), (BuresW2(), bures_w2(m, a, mu, b))):
        figure = measured(measure, Exact(p), q)
        assert figure.value == pytest.approx(expected, rel=1e-10)
        assert (figure.standard_error, figure.estimator) == (0.0, "closed form of the fit's moments")


def test_digits_are_kept_next_to_the_truth():
    """Commuting covariances a relative ε apart: W₂ = ½ε √tr A and SymKL = ½Dε², to first order in ε = 1e-9."""
    mean, covariance = moments(random_gaussian(6, 3))
    w2 = bures_w2(mean, covariance * (1 + 1e-9), mean, covariance)
    assert w2 == pytest.approx(0.5e-9 * math.sqrt(np.trace(covariance)), rel=1e-4)
    symkl = gaussian_symkl(mean, covariance * (1 + 1e-9), mean, covariance)
    assert symkl == pytest.approx(0.5 * 6 * 1e-18, rel=1e-4)


@pytest.mark.parametrize("dim", [1, 3, 12])
@repetitions(300, 5000)
def test_floor_on_exact_draws(dim, repetitions):
    """The mean over repetitions is D(D+3)/2n but for the next order, O(1/n) relative."""
    truth, n = random_gaussian(dim, 4), 1000
    figures = [
        measured(GaussianSymKL(), Particles(truth.sample(n, generator(seed))), truth) for seed in range(repetitions)
    ]
    values = np.array([figure.value for figure in figures])
    floor = dim * (dim + 3) / (2 * n)
    assert abs(values.mean() - floor) < mean_error(values) + 2 * dim / n * floor
    stated = np.mean([figure.standard_error for figure in figures])
    assert 1.0 < stated / values.std() < 1.8


@pytest.mark.parametrize("measure", [GaussianSymKL(), BuresW2()])
@repetitions(300, 5000)
def test_standard_error_away_from_the_truth(measure, repetitions):
    """The mean stated error over repetitions is the standard deviation of the values within 3 %."""
    truth = random_gaussian(3, 5)
    fit = Gaussian(truth.mean + 0.5, truth.covariance * 1.5)
    figures = [measured(measure, Particles(fit.sample(1000, generator(seed))), truth) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    assert ratio == pytest.approx(1, abs=0.03 + spread_error(repetitions))


def test_weights_act_as_repetitions():
    """Integer weights give the moments of repeated points, but for the factor of the unbiased covariance."""
    truth = random_gaussian(2, 6)
    points = truth.sample(200, generator(7))
    counts = torch.randint(1, 5, (200,), generator=generator(8))
    weighted = measured(BuresW2(), Particles(points, counts.double().log() + 300), truth)
    covariance = np.cov(points.numpy().T, aweights=counts.numpy())
    mean = np.average(points.numpy(), axis=0, weights=counts.numpy())
    assert weighted.value == pytest.approx(bures_w2(mean, covariance, *moments(truth)), rel=1e-10)
    assert weighted.estimator == "moments of 200 particles"
    unweighted = measured(BuresW2(), Particles(points), truth)
    equal = measured(BuresW2(), Particles(points, torch.zeros(200, dtype=torch.float64)), truth)
    assert unweighted.value == pytest.approx(equal.value, rel=1e-12)
    assert unweighted.standard_error == pytest.approx(equal.standard_error, rel=1e-9)


def test_far_from_the_origin():
    truth = random_gaussian(3, 9)
    far = Gaussian(truth.mean + 1e6, truth.covariance)
    points = truth.sample(500, generator(10))
    for measure in (GaussianSymKL(), BuresW2()):
        here, there = measured(measure, Particles(points), truth), measured(measure, Particles(points + 1e6), far)
        assert there.value == pytest.approx(here.value, rel=1e-6)
        assert there.standard_error == pytest.approx(here.standard_error, rel=1e-6)


def test_grid_and_reference_draws():
    truth = random_gaussian(1, 11)
    deviation = float(truth.covariance) ** 0.5
    edges = torch.linspace(-9, 9, 2001, dtype=torch.float64) * deviation + truth.mean
    masses = torch.special.ndtr((edges - truth.mean) / deviation).diff()
    grid = GridDensity(GridLaw(float(edges[0]), float(edges[-1]), masses / masses.sum()))
    assert measured(GaussianSymKL(), grid, truth).value < 1e-10
    points = truth.sample(50, generator(12))
    shifted = Empirical(points, truth.mean + 1.0, truth.covariance)
    assert measured(BuresW2(), Exact(truth), shifted).value == pytest.approx(1.0, rel=1e-12)


def test_singular_covariance_is_infinitely_far_in_symkl_only():
    truth = random_gaussian(3, 13)
    points = truth.sample(100, generator(14))
    plane = points.clone()
    plane[:, 2] = plane[:, 0] + plane[:, 1]
    for degenerate in (plane, points[:3], torch.ones(100, 3, dtype=torch.float64)):
        figure = measured(GaussianSymKL(), Particles(degenerate), truth)
        assert figure.value == math.inf
        assert figure.estimator.endswith("their covariance is singular")
        assert math.isfinite(measured(BuresW2(), Particles(degenerate), truth).value)
    few = measured(GaussianSymKL(), Particles(points[:4]), truth)
    assert math.isfinite(few.value)
    assert (few.standard_error, few.estimator) == (
        math.inf,
        "moments of 4 particles: singular without one block of them",
    )
    huge = measured(BuresW2(), Particles(points * 1e200), truth)
    assert huge.value == math.inf
    assert huge.estimator.endswith("their covariance overflows")


def test_what_is_unsuited_says_why():
    truth = random_gaussian(2, 15)
    for measure in (GaussianSymKL(), BuresW2()):
        assert measure.unsuited(Subject(Exact(truth), None, None)) == "the true law is not known"
        lone = Particles(truth.sample(1, generator(0)))
        assert measure.unsuited(Subject(lone, truth, None)) == "one particle has no covariance"
