"""Energy distance and sliced W2: independent implementations, closed forms, unbiasedness and standard errors."""

import math

import numpy as np
import ot
import pytest
import torch
from scipy.spatial.distance import cdist

from false_alarms import is_share, mean_error, repetitions, sigmas, spread_error
from harness.measure.measure import Subject
from harness.measure.transport import EnergyDistance, SlicedW2, energy_distance, sliced_w2
from problems.laws import Empirical, Gaussian
from seeding import generator
from solvers.estimates import Exact, Particles


def gaussian(dim, shift=0.0, scale=1.0):
    mean = torch.full((dim,), shift / dim**0.5, dtype=torch.float64)
    return Gaussian(mean, scale * torch.eye(dim, dtype=torch.float64))


def measured(measure, estimate, truth, draws, seed=0):
    subject = Subject(estimate, truth, None)
    assert measure.unsuited(subject) is None
    return measure(subject, draws, generator(seed))


def draws(law, n, seed):
    return law.sample(n, generator(seed))


def u_statistic(x, y):
    x, y = np.asarray(x), np.asarray(y)
    n, m = len(x), len(y)
    within = cdist(x, x).sum() / (n * (n - 1)) + cdist(y, y).sum() / (m * (m - 1))
    return 2 * cdist(x, y).mean() - within


def test_energy_distance_and_its_jackknife_by_brute_force():
    x, y = draws(gaussian(3), 17, 1), draws(gaussian(3, 1.0), 23, 2)
    value, error = energy_distance(x, y)
    assert value == pytest.approx(u_statistic(x, y), rel=1e-10)
    keep = np.arange
    without_x = [u_statistic(x[keep(17) != i], y) for i in range(17)]
    without_y = [u_statistic(x, y[keep(23) != j]) for j in range(23)]
    jackknife = 16 * np.var(without_x) + 22 * np.var(without_y)

    def squares(a, b):
        apart = cdist(a, b)
        return (apart - apart.mean(0) - apart.mean(1)[:, None] + apart.mean()) ** 2

    def within(a):
        found = squares(a, a)
        return (found.sum() - np.trace(found)) / (len(a) * (len(a) - 1))

    least = 2 * within(x) / 17**2 + 2 * within(y) / 23**2 + 4 * squares(x, y).mean() / (17 * 23)
    assert error == pytest.approx(math.sqrt(max(jackknife, least)), rel=1e-8)


def test_energy_distance_in_tiles():
    """More draws than a tile holds, of unequal numbers, far from the origin."""
    x, y = draws(gaussian(2), 2500, 3) + 1e5, draws(gaussian(2, 0.5), 1100, 4) + 1e5
    assert energy_distance(x, y)[0] == pytest.approx(u_statistic(x, y), abs=1e-9)


@pytest.mark.parametrize("dim", [1, 4])
@repetitions(400, 5000)
def test_energy_distance_is_unbiased_between_equal_laws(dim, repetitions):
    """The mean over repetitions is 0; the stated error errs on the safe side."""
    law = gaussian(dim)
    figures = [
        measured(EnergyDistance(), Particles(draws(law, 200, 100_000 + seed)), law, 200, seed)
        for seed in range(repetitions)
    ]
    values = np.array([figure.value for figure in figures])
    assert values.min() < 0
    assert abs(values.mean()) < mean_error(values)
    assert 0.9 < np.mean([figure.standard_error for figure in figures]) / values.std() < 1.8


@repetitions(400, 10_000)
def test_energy_distance_of_two_gaussians(repetitions):
    """In one dimension: 2∫(F - G)² dx; the stated standard error covers it in 94 to 96 % of repetitions."""
    fit, truth = gaussian(1, 0.8), gaussian(1)
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    exact = 2 * float(torch.trapezoid((torch.special.ndtr(x - 0.8) - torch.special.ndtr(x)) ** 2, x))
    figures = [measured(EnergyDistance(), Exact(fit), truth, 300, seed) for seed in range(repetitions)]
    assert figures[0].estimator == "U-statistic of 300 against 300 draws"
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert abs(values.mean() - exact) < mean_error(values)
    assert is_share(int((np.abs(values - exact) < 1.96 * errors).sum()), repetitions, 0.94, 0.96)


def test_sliced_w2_by_pot():
    x, y = draws(gaussian(5), 300, 5), draws(gaussian(5, 0.5, 2.0), 300, 6)
    directions = draws(gaussian(5), 64, 7)
    directions /= directions.norm(dim=1, keepdim=True)
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy().T)
    assert sliced_w2(x, y, directions)[0] == pytest.approx(expected, rel=1e-10)
    gap = np.sort((x @ directions.T).numpy(), axis=0) - np.sort((y @ directions.T).numpy(), axis=0)
    assert sliced_w2(x, y, directions)[0] == pytest.approx(math.sqrt((gap**2).mean()), rel=1e-10)
    assert sliced_w2(x, x, directions) == (0.0, 0.0)
    with pytest.raises(ValueError, match="equal size, got 300 and 299"):
        sliced_w2(x, y[1:], directions)


def test_sliced_w2_of_shifted_gaussians():
    """A shift by m costs (θ·m)² in direction θ: |m|/√D."""
    for dim in (1, 3, 8):
        figure = measured(SlicedW2(), Exact(gaussian(dim, 2.0)), gaussian(dim), 4000, seed=8)
        assert abs(figure.value - 2 / math.sqrt(dim)) < sigmas(3) * figure.standard_error
        assert figure.standard_error < 0.08 * figure.value
        count = 1 if dim == 1 else 128
        assert figure.estimator == f"{count} direction(s), 4000 draws a side"


@pytest.mark.parametrize(("dim", "shift"), [(1, 0.7), (4, 0.7), (4, 0.0)])
@repetitions(300, 5000)
def test_standard_error_of_sliced_w2(dim, shift, repetitions):
    """Against the standard deviation over repetitions: within 5 %, and never too small between equal laws."""
    fit, truth = gaussian(dim, shift), gaussian(dim)
    figures = [measured(SlicedW2(), Exact(fit), truth, 200, seed) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    slack = spread_error(repetitions)
    assert (0.95 - slack < ratio < 1.05 + slack) if shift else (1 / 1.9 - slack < ratio < 1 + slack)


def test_all_particles_are_used_up_to_the_number_of_draws():
    truth = gaussian(2)
    particles = Particles(draws(truth, 50, 9))
    assert measured(EnergyDistance(), particles, truth, 200).estimator == "U-statistic of 50 against 200 draws"
    assert measured(EnergyDistance(), particles, truth, 30).estimator == "U-statistic of 30 against 30 draws"
    assert measured(SlicedW2(), particles, truth, 200).estimator == "128 direction(s), 50 draws a side"
    reference = Empirical(draws(truth, 40, 10), *truth.moments())
    assert measured(EnergyDistance(), particles, reference, 200).estimator == "U-statistic of 40 against 40 draws"
    assert measured(SlicedW2(), particles, reference, 200).estimator == "128 direction(s), 20 draws a side"


def test_weights_decide_what_is_drawn():
    """Weights that single out the particles of the right law bring both distances down to the floor."""
    truth = gaussian(2)
    right, wrong = draws(truth, 5000, 11), draws(gaussian(2, 5.0), 5000, 12)
    log_weights = torch.cat([torch.zeros(5000), torch.full((5000,), -100.0)]).double()
    both = torch.cat([right, wrong])
    for measure in (EnergyDistance(), SlicedW2()):
        weighted = measured(measure, Particles(both, log_weights), truth, 5000)
        assert weighted.value < 0.2 < 1.0 < measured(measure, Particles(both), truth, 5000).value


def test_what_is_unsuited_says_why():
    truth = gaussian(2)
    for measure in (EnergyDistance(), SlicedW2()):
        assert measure.unsuited(Subject(Exact(truth), None, None)) == "the true law is not known"
        assert "6 are needed" in measure.unsuited(Subject(Particles(draws(truth, 2, 13)), truth, None))


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    measures = (EnergyDistance(), SlicedW2())
    one, two = on_threads(
        lambda: [measured(each, Exact(gaussian(3, 0.1)), gaussian(3), 2500) for each in measures], (1, 2)
    )
    assert one == two


@pytest.mark.parametrize(("measure", "halved"), [(EnergyDistance(), False), (SlicedW2(), True)])
def test_draws_of_a_finite_reference_are_judged_like_fresh_ones(measure, halved):
    """Exact draws of an empirical law would meet themselves in the truth's sample: a floor of zero, which is false."""
    own, fresh = [], []
    for seed in range(40):
        pool = draws(gaussian(3), 400, seed)
        law = Empirical(pool, pool.mean(0), torch.cov(pool.T))
        own.append(measured(measure, Particles(law.sample(400, generator(seed))), law, 400, seed).value)
        fresh.append(measured(measure, Particles(draws(gaussian(3), 400, 1000 + seed)), law, 400, seed).value)
    own, fresh = np.array(own), np.array(fresh)
    assert abs(np.mean(own - fresh)) < mean_error(own - fresh)
    if halved:
        assert own.min() > 0.05
    else:
        assert abs(np.mean(own)) < mean_error(own)
