"""SymKL: the J estimator's mean and coverage, quadrature, the KDE on fresh draws, and the published estimator."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from false_alarms import is_share, mean_error, repetitions, sigmas
from harness.catalogue import import_target
from harness.measure import CATALOGUE, published
from harness.measure.kde import KernelDensity
from harness.measure.measure import Subject
from harness.measure.moments import gaussian_symkl
from harness.measure.published import PublishedSymKL
from harness.measure.symkl import SymKL
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Density, Empirical, Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.grid_law import GridLaw
from seeding import fixed_generator, generator
from solvers.estimates import Estimate, Exact, GridDensity, Particles
from solvers.solver import Diverged


@dataclass(frozen=True, eq=False)
class Box(Density):
    """Uniform law on the unit square moved by ``shift`` along the first axis."""

    shift: float

    @property
    def dim(self):
        return 2

    def sample(self, n, generator):
        points = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        points[:, 0] += self.shift
        return points

    def log_prob(self, x):
        place = x - torch.tensor([self.shift, 0.0], dtype=x.dtype)
        inside = ((place >= 0) & (place <= 1)).all(1)
        return torch.where(inside, 0.0, -torch.inf).double()

    def moments(self):
        return torch.tensor([0.5 + self.shift, 0.5], dtype=torch.float64), torch.eye(2, dtype=torch.float64) / 12


@dataclass(frozen=True, eq=False)
class BlackBox(Estimate):
    """An estimate of none of the known types."""

    dim: int = 1

    def sample(self, n, generator):
        return torch.zeros(n, self.dim)

    def defect(self):
        return None


def gaussian(dim, shift=0.0, scale=1.0):
    """A correlated Gaussian, the same for every shift and scale but for those."""
    mixing = torch.randn(dim, 2 * dim, generator=fixed_generator(dim), dtype=torch.float64)
    mean = torch.full((dim,), shift / dim**0.5, dtype=torch.float64)
    return Gaussian(mean, scale * mixing @ mixing.T / (2 * dim))


def closed_form(p, q):
    return gaussian_symkl(p.mean.numpy(), p.covariance.numpy(), q.mean.numpy(), q.covariance.numpy())


def subject(estimate, truth):
    law = gaussian(estimate.dim)
    potential = Quadratic(torch.eye(estimate.dim, dtype=torch.float64), law.mean)
    problem = Problem(GradientFlow(law, FreeEnergy(potential, Entropy()), (1.0,)), ("symkl",), None)
    return Subject(estimate, truth, problem)


def measured(measure, estimate, truth, draws, seed):
    return measure(subject(estimate, truth), draws, generator(seed))


@pytest.mark.parametrize(("dim", "shift", "scale"), [(2, 0.5, 1.2), (12, 0.3, 1.1)])
@repetitions(1000, 20_000)
def test_j_is_unbiased_and_its_standard_error_covers(dim, shift, scale, repetitions):
    """Of 512 draws a side: the mean over repetitions, and a coverage between 94 and 96 %."""
    fit, truth = gaussian(dim, shift, scale), gaussian(dim)
    exact = closed_form(fit, truth)
    figures = [measured(SymKL(), Exact(fit), truth, 512, seed) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert {figure.estimator for figure in figures} == {"J, 512 draws a side"}
    assert 0.3 < exact < 0.7
    assert abs(values.mean() - exact) < mean_error(values)
    assert is_share(int((np.abs(values - exact) <= 1.96 * errors).sum()), repetitions, 0.94, 0.96)


@pytest.mark.parametrize("dim", [2, 12])
def test_j_beats_the_difference_of_two_averages(dim):
    """Near p = q its standard deviation is ten times smaller than that of the two KL averages on the same draws."""
    fit, truth = gaussian(dim, 0.05, 1.005), gaussian(dim)
    values, naive = [], []
    for seed in range(100):
        values.append(measured(SymKL(), Exact(fit), truth, 512, seed).value)
        source = generator(seed)
        x, y = fit.sample(512, source), truth.sample(512, source)
        naive.append(float((fit.log_prob(x) - truth.log_prob(x)).mean() - (fit.log_prob(y) - truth.log_prob(y)).mean()))
    assert min(values) > 0 > min(naive)
    assert np.std(naive) > 10 * np.std(values)


@pytest.mark.parametrize("dim", [1, 5])
def test_zero_for_the_truth_itself(dim):
    figure = measured(SymKL(), Exact(gaussian(dim)), gaussian(dim), 100, 0)
    assert (figure.value, figure.standard_error) == (0.0, 0.0)


def test_finite_for_laws_that_hardly_overlap():
    fit, truth = gaussian(3, 1e4), gaussian(3)
    figure = measured(SymKL(), Exact(fit), truth, 2000, 1)
    assert abs(figure.value - closed_form(fit, truth)) < sigmas() * figure.standard_error
    assert figure.standard_error < 1e-3 * figure.value


def test_infinite_where_one_law_excludes_the_other():
    figure = measured(SymKL(), Exact(Box(0.1)), Box(0.0), 1000, 2)
    assert (figure.value, figure.standard_error) == (math.inf, 0.0)
    count = int(figure.estimator.split("; ")[1].split()[0])
    assert abs(count - 200) < 5 * math.sqrt(200 * 0.9)
    assert measured(SymKL(), Exact(Box(0.0)), Box(0.0), 1000, 2).value == 0
    published = measured(PublishedSymKL(), Particles(Box(0.1).sample(500, generator(3))), Box(0), 1, 4)
    assert (published.value, published.standard_error) == (math.inf, 0.0)
    assert "true density is zero" in published.estimator


def test_undefined_densities_are_not_measured():
    class Undefined(Box):
        def log_prob(self, x):
            return torch.full((len(x),), torch.nan)

    with pytest.raises(Diverged, match="log-density of the fit is NaN at 10 of 10 points"):
        measured(SymKL(), Exact(Undefined(0.0)), Box(0.0), 10, 5)
    with pytest.raises(ArithmeticError, match="true log-density is NaN"):
        measured(SymKL(), Exact(Box(0.0)), Undefined(0.0), 10, 5)


def on_grid(law, lower, upper, cells):
    """The exact masses of a one-dimensional Gaussian's cells."""
    edges = np.linspace(lower, upper, cells + 1)
    masses = np.diff(stats.norm.cdf(edges, float(law.mean), float(law.covariance) ** 0.5))
    return GridLaw(lower, upper, torch.from_numpy(masses / masses.sum()))


def test_quadrature_converges_to_the_closed_form():
    """Fourth-order cells: SymKL of a grid against a Gaussian has reached the closed form at 400 cells."""
    fit, truth = gaussian(1, 0.4, 1.3), gaussian(1)
    exact = closed_form(fit, truth)
    errors = []
    for cells in (50, 100, 200, 400):
        figure = measured(SymKL(), GridDensity(on_grid(fit, -8, 8, cells)), truth, 1, 0)
        assert figure.standard_error == 0
        assert figure.estimator == f"quadrature on {cells} cells"
        errors.append(abs(figure.value - exact))
    assert errors[-1] < 1e-6 * exact
    assert all(later < earlier / 3.5 for earlier, later in pairwise(errors))


def test_quadrature_in_every_combination():
    fit, truth = gaussian(1, 0.4, 1.3), gaussian(1)
    exact = closed_form(fit, truth)
    fine_fit, fine_truth = on_grid(fit, -9, 9, 1000), on_grid(truth, -8, 8, 1600)
    for estimate, law, cells in (
        (GridDensity(fine_fit), fine_truth, 1000),
        (Exact(fine_fit), truth, 1000),
        (Exact(fit), fine_truth, 1600),
    ):
        figure = measured(SymKL(), estimate, law, 1, 0)
        assert figure.estimator == f"quadrature on {cells} cells"
        assert figure.value == pytest.approx(exact, rel=1e-6)
    sampled = measured(SymKL(), Exact(fit), truth, 20_000, 1)
    assert abs(sampled.value - exact) < sigmas() * sampled.standard_error
    assert measured(SymKL(), GridDensity(fine_truth), fine_truth, 1, 0).value == 0


def test_quadrature_does_not_hide_what_lies_outside_the_grid():
    truth = gaussian(1)
    deviation = float(truth.covariance) ** 0.5
    narrow = measured(SymKL(), GridDensity(on_grid(truth, -3 * deviation, 3 * deviation, 300)), truth, 1, 0)
    assert narrow.value == math.inf
    outside = float(narrow.estimator.split("mass ")[1].split()[0])
    assert outside == pytest.approx(2 * stats.norm.sf(3), rel=1e-2)
    elsewhere = Gaussian(truth.mean + 1000.0, truth.covariance)
    assert measured(SymKL(), GridDensity(on_grid(truth, -8, 8, 300)), elsewhere, 1, 0).value == math.inf
    wide, clipped = on_grid(truth, -8, 8, 300), on_grid(truth, -1, 1, 300)
    assert measured(SymKL(), GridDensity(wide), clipped, 1, 0).value == math.inf
    assert measured(SymKL(), GridDensity(clipped), wide, 1, 0).value == math.inf


def test_particles_are_judged_on_fresh_draws():
    """In one dimension J of the KDE agrees with quadrature of the same KDE."""
    truth = gaussian(1)
    for log_weights in (None, torch.linspace(-2, 0, 300, dtype=torch.float64)):
        particles = Particles(gaussian(1, 0.3).sample(300, generator(6)), log_weights)
        kde = KernelDensity(particles.points, particles.log_weights)
        x = torch.linspace(-12, 12, 40_001, dtype=torch.float64)[:, None]
        p, q = kde.log_prob(x), truth.log_prob(x)
        exact = float(torch.trapezoid((p.exp() - q.exp()) * (p - q), x[:, 0]))
        found = [measured(SymKL(), particles, truth, 8192, seed) for seed in range(7, 19)]
        assert found[0].estimator == "J of the Scott KDE on fresh draws, 8192 a side"
        values = np.array([figure.value for figure in found])
        assert abs(values.mean() - exact) < mean_error(values, 2)
        assert values.std(ddof=1) < 0.2 * exact
        # the noise of 300 particles is in the stated error as well
        assert found[0].standard_error > values.std(ddof=1)


@pytest.mark.parametrize("name", ["symkl", "symkl-published", "l1", "hellinger"])
@repetitions(40, 600)
def test_the_noise_of_particles_is_in_the_standard_error(name, repetitions):
    """Kernel densities of fresh particles each time: in 93 to 97 % of them the error covers the mean figure."""
    measure = import_target(CATALOGUE[name].target)()
    law, truth = gaussian(2, 0.5, 1.2), gaussian(2)
    drawn = [Particles(law.sample(300, generator(500 + seed))) for seed in range(repetitions)]
    found = [measured(measure, particles, truth, 300, seed) for seed, particles in enumerate(drawn)]
    values, errors = (np.array([getattr(each, part) for each in found]) for part in ("value", "standard_error"))
    assert is_share(int((np.abs(values - values.mean()) < 1.96 * errors).sum()), repetitions, 0.93, 0.97)


@pytest.mark.parametrize(("dim", "reported"), [(2, 0.0589), (6, 1.206), (12, 5.257)])
def test_published_estimator_reports_its_own_density_error(dim, reported):
    """Exact draws, n = 1000: the mean of 60 repetitions against the reported one.

    Within the error of a difference of two such means and the rounding, while J on fresh draws of the same KDE gives
    another figure, about half.
    """
    truth = gaussian(dim)
    draws = [Particles(truth.sample(1000, generator(seed))) for seed in range(60)]
    values = np.array(
        [measured(PublishedSymKL(), particles, truth, 1, 100 + seed).value for seed, particles in enumerate(draws)]
    )
    assert abs(values.mean() - reported) < math.sqrt(2) * mean_error(values) + 5e-4
    fresh = measured(SymKL(), draws[0], truth, 2000, 8)
    assert fresh.value < 0.8 * values.mean() + sigmas() * fresh.standard_error
    if dim > 2:
        assert fresh.value < 0.6 * values.mean()


def test_published_estimator_by_scipy():
    truth, source = gaussian(3), generator(9)
    log_weights = torch.randn(400, generator=source, dtype=torch.float64)
    points = gaussian(3, 0.5, 1.4).sample(400, source)
    for weighted in (False, True):
        figure = measured(PublishedSymKL(), Particles(points, log_weights if weighted else None), truth, 1, 10)
        weights = log_weights.exp().numpy() if weighted else np.ones(400)
        kde = stats.gaussian_kde(points.numpy().T, weights=weights)
        fresh = truth.sample(400, generator(10))
        own = kde.logpdf(points.numpy().T) - truth.log_prob(points).numpy()
        theirs = truth.log_prob(fresh).numpy() - kde.logpdf(fresh.numpy().T)
        assert figure.value == pytest.approx(np.average(own, weights=weights) + theirs.mean(), abs=1e-10)
        without = []
        for part in np.array_split(np.arange(400), 16):
            rest = np.setdiff1d(np.arange(400), part)

            def log_density(at, rest=rest, kernel=kde.covariance, weights=weights):
                apart = [stats.multivariate_normal(at_point, kernel).logpdf(at) for at_point in points.numpy()[rest]]
                return logsumexp(apart, axis=0, b=weights[rest, None] / weights[rest].sum())

            of_rest = log_density(points.numpy()[rest]) - truth.log_prob(points[rest]).numpy()
            of_fresh = log_density(fresh.numpy()) - truth.log_prob(fresh).numpy()
            without.append(np.average(of_rest, weights=weights[rest]) - of_fresh.mean())
        error = math.sqrt(15 * np.var(without) + theirs.var(ddof=1) / 400)
        assert figure.standard_error == pytest.approx(error, rel=1e-6)
        assert figure.estimator == "published: KDE on its own 400 particles"


def test_published_estimator_of_many_particles_takes_a_subset(monkeypatch):
    truth = gaussian(2)
    particles = Particles(gaussian(2, 0.5).sample(4000, generator(11)))
    everything = measured(PublishedSymKL(), particles, truth, 1, 12)
    monkeypatch.setattr(published, "PUBLISHED_EVALUATIONS", 1000)
    subset = measured(PublishedSymKL(), particles, truth, 1, 12)
    assert subset.estimator == "published: KDE on 1000 of its own 4000 particles"
    error = sigmas(2) * math.hypot(subset.standard_error, everything.standard_error)
    assert abs(subset.value - everything.value) < error
    weighted = replace(particles, log_weights=torch.zeros(4000, dtype=torch.float64))
    assert measured(PublishedSymKL(), weighted, truth, 1, 12).value == pytest.approx(everything.value, abs=error)


def test_what_rounding_left_empty_excludes_nothing_and_what_lies_beyond_a_support_does():
    """A diffusion has mass everywhere: where its cells hold none in float64, the other law's tail is not excluded."""
    masses = on_grid(gaussian(1, 0.0, 0.1), -8, 8, 400).masses
    wide = Exact(gaussian(1))
    assert int((masses == 0).sum()) > 100
    of_a_diffusion = measured(SymKL(), wide, GridLaw(-8.0, 8.0, masses), 1, 0)
    assert math.isfinite(of_a_diffusion.value)
    of_a_support = measured(SymKL(), wide, GridLaw(-8.0, 8.0, masses, bounded=True), 1, 0)
    assert of_a_support.value == math.inf
    assert "where the other density is zero" in of_a_support.estimator


def test_particles_in_a_plane_are_infinitely_far():
    points = torch.randn(50, 2, generator=generator(13), dtype=torch.float64)
    points[:, 1] = 2 * points[:, 0]
    for measure in (SymKL(), PublishedSymKL()):
        figure = measured(measure, Particles(points), gaussian(2), 100, 14)
        assert figure.value == math.inf
        assert "singular" in figure.estimator


def test_float32_particles_are_measured_in_float64():
    points = gaussian(2).sample(500, generator(15)).float()
    for measure in (SymKL(), PublishedSymKL()):
        single = measured(measure, Particles(points), gaussian(2), 500, 16)
        assert single == measured(measure, Particles(points.double()), gaussian(2), 500, 16)


def test_what_is_unsuited_says_why():
    truth = gaussian(2)
    points = truth.sample(10, generator(17))
    sampled = Empirical(points, *truth.moments())
    for measure in (SymKL(), PublishedSymKL()):
        assert measure.unsuited(subject(Particles(points), None)) == "the true law is not known"
        assert measure.unsuited(subject(Particles(points), sampled)) == "the truth (Empirical) has no density"
        assert "do not span dimension 2" in measure.unsuited(subject(Particles(points[:2]), truth))
        assert measure.unsuited(subject(Particles(points), truth)) is None
    assert SymKL().unsuited(subject(Exact(truth), truth)) is None
    assert SymKL().unsuited(subject(Exact(sampled), truth)) == "Exact of Empirical has neither a density nor particles"
    assert "BlackBox has neither" in SymKL().unsuited(subject(BlackBox(), gaussian(1)))
    assert "not for Exact of Gaussian" in PublishedSymKL().unsuited(subject(Exact(truth), truth))


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    truth = gaussian(3)
    particles = Particles(truth.sample(40_000, generator(18)))
    one, two = on_threads(lambda: measured(SymKL(), particles, truth, 500, 19), (1, 2))
    assert one == two
