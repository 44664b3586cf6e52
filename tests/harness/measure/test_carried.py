"""Densities that particles carry: importance weights against closed forms, the published estimator against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import mean_error, repetitions, spread_error
from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.measure.carried import CarriedSymKL
from harness.measure.measure import Subject
from harness.measure.moments import gaussian_symkl
from harness.measure.published import PublishedSymKL
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Empirical, Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.estimates import ParticleDensity, Particles


def gaussian(shift=0.0, scale=1.0, dim=2):
    mean = torch.full((dim,), shift, dtype=torch.float64)
    return Gaussian(mean, scale**2 * torch.eye(dim, dtype=torch.float64))


def against(truth, estimate):
    dim = estimate.dim
    eye, zero = torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    flow = GradientFlow(Gaussian(zero, eye), FreeEnergy(Quadratic(eye, zero), Entropy()), (1.0,))
    return Subject(estimate, truth, Problem(flow, (), lambda time: truth))


def carrying(law, count, seed=0, constant=0.0):
    points = law.sample(count, generator(seed))
    return ParticleDensity(points, log_density=law.log_prob(points) + constant)


def measured(measure, truth, estimate):
    return measure(against(truth, estimate), 0, generator(1))


def test_exact_draws_with_their_density_are_at_zero():
    figure = measured(CarriedSymKL(), gaussian(), carrying(gaussian(), 100, constant=-3.0))
    assert figure.value == pytest.approx(0, abs=1e-14)
    assert figure.estimator == "self-normalised importance weights, ESS 100.0 of 100"


@repetitions(300, 10_000)
def test_importance_weights_give_the_closed_form_with_honest_errors(repetitions):
    """The mean over repetitions but for a bias of 5e-4 at most, and their spread that stated within 5 %."""
    fit, truth = gaussian(), gaussian(0.2, 0.9)
    figures = [measured(CarriedSymKL(), truth, carrying(fit, 1000, seed, 7.0)) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    exact = gaussian_symkl(*(moment.numpy() for law in (fit, truth) for moment in law.moments()))
    assert abs(values.mean() - exact) < mean_error(values) + 5e-4
    stated = np.mean([figure.standard_error for figure in figures])
    assert values.std() / stated == pytest.approx(1, abs=0.05 + spread_error(repetitions))


def test_effective_sample_size_is_named():
    fit, truth = gaussian(), gaussian(0.5)
    estimate = carrying(fit, 300)
    weights = torch.softmax(truth.log_prob(estimate.points) - fit.log_prob(estimate.points), 0)
    expected = 1 / float((weights**2).sum())
    assert f"ESS {expected:.1f} of 300" in measured(CarriedSymKL(), truth, estimate).estimator


@pytest.mark.parametrize("constant", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("measure", [CarriedSymKL(), PublishedSymKL()])
def test_a_factor_of_the_density_does_not_matter(measure, constant):
    fit, truth = gaussian(), gaussian(0.5)
    expected = measured(measure, truth, carrying(fit, 50)).value
    assert measured(measure, truth, carrying(fit, 50, constant=constant)).value == pytest.approx(expected, rel=1e-9)


def published_by_scipy(points, log_density, truth):
    """Return the figure as the authors' formulas give it, in plain densities."""
    density, truth_density = np.exp(log_density), np.exp(truth.log_prob(points).numpy())
    kde = np.maximum(stats.gaussian_kde(points.numpy().T)(points.numpy().T), 1e-15)
    density = np.maximum(density / np.mean(density / kde), 1e-15)
    ratio = truth_density / density
    return np.mean(np.log(density) - np.log(truth_density)) + np.mean(ratio * np.log(ratio))


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_published_estimator_of_a_carried_density(dim):
    fit, truth = gaussian(dim=dim), gaussian(0.1, 1.1, dim)
    estimate = carrying(fit, 400)
    figure = measured(PublishedSymKL(), truth, estimate)
    expected = published_by_scipy(estimate.points, estimate.log_density.numpy(), truth)
    assert figure.value == pytest.approx(expected, rel=1e-9)
    assert figure.estimator == "published: carried density, normalised by the KDE of its 400 particles"


def test_published_estimator_raises_small_densities():
    fit, truth = gaussian(scale=1.0, dim=2), gaussian(dim=2)
    points = fit.sample(100, generator())
    log_density = fit.log_prob(points)
    log_density[:7] -= 60
    figure = measured(PublishedSymKL(), truth, ParticleDensity(points, log_density=log_density))
    assert "7 below 1e-15 raised to it" in figure.estimator
    assert figure.value == pytest.approx(published_by_scipy(points, log_density.numpy(), truth), rel=1e-9)


def test_published_estimator_has_honest_errors():
    """200 runs: given the KDE, which the spread over runs contains too, the error is right within a factor 2."""
    truth = gaussian(0.3, dim=1)
    figures = [measured(PublishedSymKL(), truth, carrying(gaussian(dim=1), 1000, seed)) for seed in range(200)]
    spread = np.std([figure.value for figure in figures])
    assert 0.5 < np.mean([figure.standard_error for figure in figures]) / spread < 2


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - {"symkl-published", "symkl-carried"}))
def test_other_measures_see_plain_particles(name):
    estimate = carrying(gaussian(), 200)
    measure = import_target(CATALOGUE[name].target)()
    with_density, without = against(gaussian(0.2), estimate), against(gaussian(0.2), Particles(estimate.points))
    assert measure.unsuited(with_density) == measure.unsuited(without)
    if measure.unsuited(without) is None:
        assert measure(with_density, 500, generator(2)) == measure(without, 500, generator(2))


def test_measures_say_what_they_cannot_do():
    estimate, measure = carrying(gaussian(), 20), CarriedSymKL()
    assert "carries no density" in measure.unsuited(against(gaussian(), Particles(estimate.points)))
    weighted = ParticleDensity(estimate.points, torch.zeros(20), log_density=estimate.log_density)
    assert "weighted" in measure.unsuited(against(gaussian(), weighted))
    one = ParticleDensity(estimate.points[:1], log_density=estimate.log_density[:1])
    assert "one particle" in measure.unsuited(against(gaussian(), one))
    draws = Empirical(estimate.points, *gaussian().moments())
    assert "has no density" in measure.unsuited(against(draws, estimate))
    assert "not known" in measure.unsuited(against(None, estimate))
    assert measure.unsuited(against(gaussian(), estimate)) is None


class HalfPlane(Gaussian):
    """A Gaussian without what lies left of the origin."""

    def log_prob(self, x):
        return torch.where(x[:, 0] < 0, -torch.inf, super().log_prob(x) + math.log(2))


@pytest.mark.parametrize("measure", [CarriedSymKL(), PublishedSymKL()])
def test_particles_outside_the_truth_are_infinitely_far(measure):
    truth = HalfPlane(*gaussian().moments())
    figure = measured(measure, truth, carrying(gaussian(), 100))
    assert figure.value == math.inf
    assert "lie where the true density is zero" in figure.estimator


def test_a_density_that_is_not_finite_is_a_defect():
    estimate = carrying(gaussian(), 10)
    assert estimate.defect() is None
    log_density = estimate.log_density.clone()
    log_density[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert ParticleDensity(estimate.points, log_density=log_density).defect() == "3 of 10 log-densities are not finite"
