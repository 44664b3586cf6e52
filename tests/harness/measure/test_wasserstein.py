"""W2 from exact quantiles: closed forms of balls and Gaussians, POT, standard errors, and when it is no equality."""

import math

import numpy as np
import ot
import pytest
import torch

from balls import Ring, ball
from false_alarms import repetitions, sigmas, spread_error
from harness.measure.measure import Subject
from harness.measure.moments import bures_w2
from harness.measure.wasserstein import W2, rule
from problems.laws import Empirical, Gaussian, GaussianMixture
from problems.references.grid_law import discretised
from seeding import generator
from solvers.estimates import Exact, GridDensity, Particles
from solvers.maps import Pushforward

FLOW, STEPS = 0.6240251469, 0.6176450697


def gaussian(dim, variance=1.0, shift=0.0):
    mean = torch.full((dim,), shift / dim**0.5, dtype=torch.float64)
    return Gaussian(mean, variance * torch.eye(dim, dtype=torch.float64))


def measured(estimate, truth, draws=1000, seed=0):
    asked = Subject(estimate, truth, None)
    assert W2().unsuited(asked) is None
    return W2()(asked, draws, generator(seed))


def test_balls_on_the_line_differ_by_their_radii():
    """|R - R'|/√5: 2.853e-3 after 25 JKO steps of .001; and a shift beside it."""
    found = measured(Exact(ball(1, STEPS)), ball(1, FLOW))
    assert found.value == pytest.approx((FLOW - STEPS) / math.sqrt(5), rel=1e-8)
    assert found.value == pytest.approx(2.853e-3, abs=5e-7)
    assert (found.standard_error, found.estimator) == (0.0, "exact, by quantiles")
    moved = measured(Exact(ball(1, STEPS, 0.3)), ball(1, FLOW))
    assert moved.value == pytest.approx(math.hypot(0.3, found.value), rel=1e-8)


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_balls_differ_by_their_radii(dim):
    """|R - R'| √(D/(D + 4)), and no less than that by a root of sampling noise; the truth's own figure is the floor."""
    found = measured(Exact(ball(dim, 0.7)), ball(dim), 4000)
    assert abs(found.value - 0.3 * math.sqrt(dim / (dim + 4))) < sigmas(3) * found.standard_error
    assert found.standard_error < 0.05 * found.value
    assert found.estimator == "√D · sliced, 128 directions, 4000 draws against exact marginals"
    exact = measured(Exact(ball(dim)), ball(dim), 4000)
    assert exact == measured(Pushforward(ball(dim), ()), ball(dim), 4000)
    assert 0 < exact.value < 0.1


def test_sliced_is_exact_for_what_is_moved_and_scaled():
    fit, truth = gaussian(4, 1.69, 0.5), gaussian(4)
    exact = bures_w2(fit.mean.numpy(), fit.covariance.numpy(), truth.mean.numpy(), truth.covariance.numpy())
    both = measured(Exact(fit), truth, 4000)
    assert abs(both.value - exact) < sigmas() * both.standard_error
    assert both.standard_error < 0.05 * exact


def test_sliced_is_a_lower_bound():
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64))
    fit, truth = Gaussian(torch.zeros(3, dtype=torch.float64), covariance), gaussian(3)
    exact = bures_w2(fit.mean.numpy(), fit.covariance.numpy(), truth.mean.numpy(), truth.covariance.numpy())
    assert 0.5 * exact < measured(Exact(fit), truth, 4000).value < exact


def test_on_the_line_by_pot_and_for_grids():
    truth = gaussian(1)
    points = gaussian(1, 0.5, 0.4).sample(200, generator(1))
    found = measured(Particles(points), truth)
    fine = truth.marginal_quantiles(torch.ones(1, 1).double(), (torch.arange(200_000).double() + 0.5) / 200_000)[0]
    expected = math.sqrt(ot.wasserstein_1d(points[:, 0].numpy(), fine.numpy(), p=2))
    assert found.value == pytest.approx(expected, rel=2e-3)
    assert found.estimator == "200 draws against exact quantiles"
    grid = discretised(gaussian(1, 0.5, 0.4), -8.0, 8.0, 800)
    exact = math.hypot(0.4, 1 - math.sqrt(0.5))
    for estimate, law in ((GridDensity(grid), truth), (Exact(gaussian(1, 0.5, 0.4)), truth), (Exact(truth), grid)):
        assert measured(estimate, law).value == pytest.approx(exact, rel=1e-5)
    pushed = measured(Pushforward(gaussian(1, 0.5, 0.4), ()), truth)
    assert (pushed.estimator, pushed.standard_error) == ("exact, by quantiles", 0.0)
    assert pushed.value == pytest.approx(exact, rel=1e-5)
    edged = measured(Pushforward(ball(1, STEPS), ()), ball(1, FLOW))
    assert edged.value == pytest.approx((FLOW - STEPS) / math.sqrt(5), rel=1e-3)


def test_marginal_quantiles_of_a_grid_in_both_directions():
    grid = discretised(gaussian(1, 0.5, 0.4), -8.0, 8.0, 800)
    levels = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    there, back = grid.marginal_quantiles(torch.tensor([[1.0], [-1.0]], dtype=torch.float64), levels)
    assert torch.equal(there, grid.quantile(levels))
    assert torch.allclose(back, -grid.quantile(1 - levels), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "shift"), [(1, 0.5), (3, 0.5), (3, 0.0)])
@repetitions(120, 5000)
def test_standard_error(dim, shift, repetitions):
    """Against the standard deviation over repetitions: within 5 %, and never too small between equal laws."""
    fit, truth = ball(dim, 1.0, shift), ball(dim)
    figures = [
        measured(Particles(fit.sample(150, generator(7 * seed))), truth, 150, seed) for seed in range(repetitions)
    ]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    slack = spread_error(repetitions)
    assert (0.95 - slack < ratio < 1.05 + slack) if shift else (0.3 - slack < ratio < 1 + slack)


def test_floor_falls_with_the_root_of_the_number():
    truth = ball(3)
    floors = [
        np.mean([measured(Particles(truth.sample(n, generator(seed))), truth, n).value for seed in range(5)])
        for n in (100, 1600)
    ]
    assert 2.5 < floors[0] / floors[1] < 6


def test_radii_alone():
    """A ring of radius 1 moved by .3 from one of radius .8: hypot of both."""
    ring, moved = Ring(0.8), Ring(1.0).sample(20_000, generator(2)) + torch.tensor([0.3, 0.0])
    found = measured(Particles(moved), ring, 20_000)
    assert abs(found.value - math.hypot(0.3, 0.2)) < sigmas() * found.standard_error
    assert found.standard_error < 0.02
    assert found.estimator == "mean and radii of 20000 draws against exact radii"


def test_weights_decide_what_is_drawn():
    truth = ball(2)
    both = torch.cat([truth.sample(500, generator(3)), ball(2, 1.0, 5.0).sample(500, generator(4))])
    log_weights = torch.cat([torch.zeros(500), torch.full((500,), -100.0)]).double()
    assert measured(Particles(both, log_weights), truth).value < 0.2 < measured(Particles(both), truth).value


def test_rule_integrates_what_is_singular_at_the_ends():
    levels, weights = (np.asarray(each) for each in rule())
    assert np.sum(weights * levels**-0.5) == pytest.approx(2.0, rel=1e-5)
    assert np.sum(weights * np.log(levels) ** 2) == pytest.approx(2.0, rel=1e-8)
    assert 0 < levels[0] < levels[-1] < 1


def test_what_is_unsuited_says_why():
    truth = ball(2)
    sampled = Empirical(truth.sample(10, generator(5)), *truth.moments())
    assert W2().unsuited(Subject(Exact(truth), None, None)) == "the true law is not known"
    assert "sliced-w2 takes draws" in W2().unsuited(Subject(Exact(truth), sampled, None))
    mixture = GaussianMixture(torch.ones(1).double(), torch.zeros(1, 2).double(), torch.eye(2).double()[None])
    assert "sliced-w2 takes draws" in W2().unsuited(Subject(Exact(truth), mixture, None))
    few = Particles(truth.sample(5, generator(6)))
    assert W2().unsuited(Subject(few, truth, None)) == "5 particle(s) are too few; 6 are needed"


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    particles = Particles(ball(3).sample(20_000, generator(7)))
    one, two = on_threads(lambda: measured(particles, ball(3), 4000), (1, 2))
    assert one == two
