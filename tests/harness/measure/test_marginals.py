"""Marginal W1 and errors of mean and deviation: closed forms, floors, standard errors, finite references."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import mean_error, repetitions, sigmas, spread_error
from harness.measure.coordinates import DeviationError, MeanError
from harness.measure.marginals import MarginalW1, marginal_w1
from harness.measure.measure import Subject
from harness.measure.sides import separated, two_sides
from problems.laws import Empirical, Gaussian
from seeding import generator
from solvers.estimates import Exact, Particles

DEVIATIONS = torch.tensor([1.0, 20.0, 0.05], dtype=torch.float64)
TRUTH = Gaussian(torch.tensor([0.0, 3.0, -1.0], dtype=torch.float64), torch.diag(DEVIATIONS**2))


def shifted(shift, scale=1.0):
    return Gaussian(TRUTH.mean + torch.as_tensor(shift, dtype=torch.float64) * DEVIATIONS, TRUTH.covariance * scale**2)


def measured(measure, estimate, truth=TRUTH, draws=2000, seed=0):
    subject = Subject(estimate, truth, None)
    assert measure.unsuited(subject) is None
    return measure(subject, draws, generator(seed))


def reference(n, seed=1):
    return Empirical(TRUTH.sample(n, generator(seed)), TRUTH.mean, TRUTH.covariance)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (37, 80), (200, 3)])
def test_w1_by_scipy(n, m):
    x, y = torch.randn(n, 4, generator=generator(2)).double(), 1 + torch.randn(m, 4, generator=generator(3)).double()
    expected = np.mean([stats.wasserstein_distance(x[:, j], y[:, j]) for j in range(4)])
    assert marginal_w1(x, y)[0] == pytest.approx(expected, rel=1e-10)
    assert marginal_w1(x, x) == (0.0, 0.0)


def test_w1_of_shifted_gaussians_is_the_shift():
    """By .5, 1 and 1.5 deviations: 1 on average, whatever the units."""
    figure = measured(MarginalW1(), Exact(shifted([0.5, -1.0, 1.5])), draws=4000)
    assert abs(figure.value - 1.0) < sigmas() * figure.standard_error
    assert figure.standard_error < 0.03
    assert figure.estimator == "4000 against 4000 draws"


def test_w1_of_scaled_gaussians():
    """W₁(N(0, s²), N(0, 1)) = |s - 1| √(2/π)."""
    figure = measured(MarginalW1(), Exact(shifted(0.0, 1.5)), draws=4000)
    assert abs(figure.value - 0.5 * math.sqrt(2 / math.pi)) < sigmas() * figure.standard_error


@repetitions(300, 5000)
def test_standard_error_of_marginal_w1(repetitions):
    """Against the spread of repetitions: right within 5 %."""
    figures = [measured(MarginalW1(), Exact(shifted(0.7)), draws=200, seed=seed) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    assert ratio == pytest.approx(1, abs=0.05 + spread_error(repetitions))


@repetitions(300, 5000)
def test_standard_error_of_marginal_w1_between_equal_laws(repetitions):
    """Too large, by a factor of two and a half at the most."""
    figures = [measured(MarginalW1(), Exact(TRUTH), draws=200, seed=seed) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    assert 0.4 < ratio < 1


@repetitions(200, 5000)
def test_floor_of_marginal_w1_is_the_one_stated(repetitions):
    """Equal Gaussian laws: 1.29 √(1/n + 1/m) for many draws, at 200 within 3 %."""
    values = [measured(MarginalW1(), Exact(TRUTH), draws=200, seed=seed).value for seed in range(repetitions)]
    floor = 1.29 * math.sqrt(2 / 200)
    assert np.mean(values) == pytest.approx(floor, abs=0.03 * floor + mean_error(values))


def test_exact_draws_of_a_finite_reference_have_the_floor_of_any_exact_answer():
    """300 of 600 on either side: fresh exact draws and the reference's own have the same mean."""
    own, fresh = [], []
    for seed in range(40):
        truth = reference(600, seed)
        own.append(measured(MarginalW1(), Exact(truth), truth, seed=seed))
        fresh.append(measured(MarginalW1(), Exact(TRUTH), truth, seed=seed))
    assert {figure.estimator for figure in own + fresh} == {"300 against 300 draws"}
    own, fresh = (np.array([figure.value for figure in figures]) for figures in (own, fresh))
    floor = 1.29 * math.sqrt(2 / 300)
    assert abs(np.mean(own - fresh)) < mean_error(own - fresh)
    assert np.mean(own) == pytest.approx(floor, abs=0.03 * floor + mean_error(own))


def test_common_points_are_dealt_out():
    points = torch.randn(100, 2, generator=generator(4)).double()
    halves = separated(points, points[torch.randperm(100, generator=generator(5))], generator(6))
    assert [len(side) for side in halves] == [50, 50]
    assert len(torch.unique(torch.cat(halves), dim=0)) == 100
    few, many = separated(points[:30], points, generator(7))
    assert [len(few), len(many)] == [30, 70]
    other = torch.randn(40, 2, generator=generator(8)).double()
    for kept, given in zip(separated(points, other, generator(9)), (points, other), strict=True):
        assert torch.equal(kept, given)
    # repeated points of one side stay together
    twice = torch.cat([points[:10], points[:10], other])
    x, y = separated(twice, points, generator(10))
    assert not (set(map(tuple, x.tolist())) & set(map(tuple, y.tolist())))
    truth = Empirical(points, points.mean(0), torch.cov(points.T))
    sides = two_sides(Subject(Particles(points[:20]), truth, None), 1000, generator(11), halves=True)
    assert [len(side) for side in sides] == [20, 50]


def test_dealing_out_is_by_chance():
    """The halves of a sample have its mean: a rule by place or size would not."""
    points = torch.arange(40.0, dtype=torch.float64)[:, None]
    means = [float(separated(points, points, generator(seed))[0].mean()) for seed in range(200)]
    assert abs(np.mean(means) - 19.5) < mean_error(means)
    assert np.std(means) > 1


def test_errors_of_moments_in_closed_form():
    law = shifted([0.3, -0.1, 0.7], 1.2)
    assert measured(MeanError(), Exact(law)).value == pytest.approx(0.3)
    assert measured(DeviationError(), Exact(law)).value == pytest.approx(0.2)
    assert measured(DeviationError(), Exact(shifted(0.0, 0.9))).value == pytest.approx(0.1)
    assert measured(MeanError(), Exact(law)).standard_error == 0
    lone = Particles(TRUTH.mean.expand(5, -1).clone())
    assert measured(DeviationError(), lone).value == 1


def test_errors_of_moments_are_against_those_of_the_full_run():
    """Not those of the kept draws: a reference whose stated moments are shifted is far from its own draws."""
    truth = reference(500)
    moved = Empirical(truth.draws, truth.mean + 2 * DEVIATIONS, 4 * truth.covariance)
    assert measured(MeanError(), Particles(truth.draws), moved).value == pytest.approx(1.0, abs=0.1)
    assert measured(DeviationError(), Particles(truth.draws), moved).value == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("measure", [MeanError(), DeviationError()])
@pytest.mark.parametrize("far", [False, True])
@repetitions(300, 5000)
def test_standard_error_of_moment_errors(measure, far, repetitions):
    """In 20 dimensions against the spread of repetitions: within 5 % away from the truth, up to 1.7 at it."""
    truth = Gaussian(torch.zeros(20, dtype=torch.float64), torch.eye(20, dtype=torch.float64))
    fit = Gaussian(truth.mean + 0.5 * far, truth.covariance * (1 + far))
    figures = [measured(measure, Particles(fit.sample(500, generator(seed))), truth) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    slack = spread_error(repetitions)
    assert (0.95 - slack < ratio < 1.05 + slack) if far else (1 / 1.7 - slack < ratio < 1 + slack)


@pytest.mark.parametrize(("measure", "constant"), [(MeanError(), 0.6745), (DeviationError(), 0.477)])
def test_floor_of_moment_errors(measure, constant):
    """On n exact draws the median of many coordinates is the median of |N(0, 1)|, over √n (for deviations √(2n))."""
    truth = Gaussian(torch.zeros(200, dtype=torch.float64), torch.eye(200, dtype=torch.float64))
    values = [measured(measure, Particles(truth.sample(400, generator(seed))), truth).value for seed in range(10)]
    assert np.mean(values) == pytest.approx(constant / 20, rel=0.1)


def test_what_is_unsuited_says_why():
    assert MarginalW1().unsuited(Subject(Exact(TRUTH), None, None)) == "the true law is not known"
    few = Particles(TRUTH.sample(3, generator(0)))
    assert MarginalW1().unsuited(Subject(few, TRUTH, None)) == "3 particle(s) are too few; 4 are needed"
    assert "3 draw(s) of the truth" in MarginalW1().unsuited(Subject(Exact(TRUTH), reference(3), None))


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    measures = (MarginalW1(), MeanError(), DeviationError())
    one, two = on_threads(lambda: [measured(each, Exact(shifted(0.1))) for each in measures], (1, 2))
    assert one == two
