"""KL(fit‖true): closed forms of Gaussians, affine errors, repeated and weighted draws, and its standard error."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from false_alarms import is_share, mean_error, repetitions, sigmas
from harness.measure.kl import KL, divergence_terms, neighbour_distances, thinned
from harness.measure.measure import Subject
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Empirical, Gaussian, GaussianMixture
from problems.potentials import Quadratic
from problems.problem import Evidence, Problem
from problems.references.grid_law import GridLaw
from seeding import generator
from solvers.estimates import Exact, Particles
from solvers.solver import Diverged


def normal(dim):
    return Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))


def measured(estimate, truth, draws=1000, seed=0, problem=None):
    subject = Subject(estimate, truth, problem)
    assert KL().unsuited(subject) is None
    return KL()(subject, draws, generator(seed))


def diagonal_kl(scales):
    scales = np.asarray(scales)
    return float(0.5 * np.sum(scales**2 - 1) - np.log(scales).sum())


def figures(scales, count, repetitions, answer=Particles):
    """Figures of exact draws whose coordinates are scaled, as many times on fresh draws."""
    law = normal(len(scales))
    scales = torch.tensor(scales, dtype=torch.float64)
    drawn = [law.sample(count, generator(1000 + seed)) * scales for seed in range(repetitions)]
    return [measured(answer(points), law, count, seed) for seed, points in enumerate(drawn)]


@pytest.mark.parametrize("scales", [[1.0], [1.0] * 12, [0.9] * 12, [0.3] + [1.0] * 11, [0.5] * 6 + [2.0] * 6])
@repetitions(12, 300)
def test_affine_errors_are_told_right(scales, repetitions):
    """Of draws contracted by a tenth at D = 12 .124, of one axis at .3 .749: the bias of neighbours is gone."""
    values = np.array([figure.value for figure in figures(scales, 1000, repetitions)])
    true = diagonal_kl(scales)
    assert abs(values.mean() - true) < mean_error(values) + 0.01 * true


@pytest.mark.parametrize("dim", [1, 2, 6, 12])
@pytest.mark.parametrize("scale", [1.0, 0.9, 2.0])
@repetitions(40, 1500)
def test_the_standard_error_covers(dim, scale, repetitions):
    found = figures([scale] * dim, 500, repetitions)
    values, errors = (np.array([getattr(each, name) for each in found]) for name in ("value", "standard_error"))
    within = int((np.abs(values - values.mean()) < 1.96 * errors).sum())
    assert is_share(within, repetitions, 0.93, 0.97)


def test_repeated_and_weighted_draws_count_by_their_effective_number():
    def repeated(points):
        return Particles(points.repeat_interleave(4, 0))

    def from_wide(points):
        wide = 1.5 * points
        return Particles(wide, -0.5 * wide.square().sum(1) * (1 - 1 / 2.25))

    for answer in (repeated, from_wide):
        for dim in (2, 6):
            values = np.array([figure.value for figure in figures([1.0] * dim, 1000, 15, answer)])
            assert abs(values.mean()) < mean_error(values)
    assert figures([1.0, 1.0], 1000, 1, repeated)[0].estimator == "nearest neighbours, 1000 draws a side"


def test_thinning_leaves_what_is_different_and_weighs_alike():
    points = normal(3).sample(50, generator(1))
    assert thinned(Particles(points), generator(2)).points is points
    twice = Particles(torch.cat([points, points]), groups=torch.arange(100) % 50)
    kept = thinned(twice, generator(2))
    assert len(kept.points) == 50
    torch.testing.assert_close(kept.points, points[kept.groups])
    heavy = Particles(points, torch.cat([torch.zeros(25), torch.full((25,), -50.0)]).double())
    assert set(map(tuple, thinned(heavy, generator(2)).points.tolist())) <= set(map(tuple, points[:25].tolist()))


def test_neighbours_by_a_tree_and_by_all_distances():
    x = generator(3)
    for dim in (2, 20):
        points = torch.randn(700, dim, generator=x, dtype=torch.float64).numpy()
        apart = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)[:, 3]
        np.testing.assert_allclose(neighbour_distances(points), apart, rtol=1e-6)


def test_neighbours_on_the_line_by_their_order():
    points = torch.randn(300, 1, generator=generator(3), dtype=torch.float64).numpy()
    apart = np.sort(np.abs(points - points[:, 0]), axis=1)
    for k in (1, 3, 8, 299):
        np.testing.assert_allclose(neighbour_distances(points, k), apart[:, k], rtol=1e-12)


def test_on_the_line_many_draws_leave_little_noise():
    """With √n/2 neighbours; with three the standard error of 10,000 draws is .011."""
    found = figures([1.0], 10_000, 3)
    assert max(figure.standard_error for figure in found) < 0.004
    assert max(abs(figure.value) for figure in found) < sigmas(3) * 0.004


def test_an_affine_map_moves_terms_by_its_log_determinant():
    x = normal(4).sample(300, generator(4))
    turned = torch.randn(4, 4, generator=generator(5), dtype=torch.float64)
    zero = np.zeros(300)
    moved = divergence_terms(x @ turned.T + 7, zero) - divergence_terms(x, zero)
    np.testing.assert_allclose(moved, -float(turned.det().abs().log()), atol=1e-8)


def test_densities_by_quadrature_and_by_draws_of_both():
    truth = GaussianMixture(
        torch.tensor([0.3, 0.7]).double(), torch.tensor([[-1.5], [1.0]]).double(), torch.ones(2, 1, 1).double()
    )
    fit = Gaussian(torch.tensor([0.2]).double(), torch.tensor([[2.0]]).double())

    def integrand(x):
        at = torch.tensor([[x]], dtype=torch.float64)
        return math.exp(fit.log_prob(at)) * float(fit.log_prob(at) - truth.log_prob(at))

    figure = measured(Exact(fit), truth)
    assert figure.value == pytest.approx(integrate.quad(integrand, -15, 15)[0], abs=1e-9)
    assert figure.standard_error == 0
    wide = Gaussian(torch.zeros(3).double(), 1.44 * torch.eye(3).double())
    figure = measured(Exact(wide), normal(3), 4000)
    assert abs(figure.value - diagonal_kl([1.2] * 3)) < sigmas() * figure.standard_error
    assert measured(Exact(normal(3)), normal(3)).value == pytest.approx(0, abs=1e-12)


def test_truths_with_draws_and_a_potential():
    """A posterior: the constant of exp(-βV) is not needed for draws, and is the evidence for a density."""
    flow = GradientFlow(
        normal(2), FreeEnergy(Quadratic(torch.eye(2).double(), torch.zeros(2).double()), Entropy(1.0)), (1.0,)
    )
    problem = Problem(flow, ("kl",), None, stationary=True, evidence=Evidence(math.log(2 * math.pi)))
    pool = normal(2).sample(4000, generator(6))
    truth = Empirical(pool, torch.zeros(2).double(), torch.eye(2).double())
    exact = measured(Particles(pool), truth, 2000, problem=problem)
    assert 1300 < int(exact.estimator.split()[2]) < 2000  # what both would have drawn is dealt out
    assert abs(exact.value) < sigmas() * exact.standard_error
    fit = Gaussian(torch.zeros(2).double(), 0.5 * torch.eye(2).double())
    for estimate in (Exact(fit), Particles(fit.sample(2000, generator(7)))):
        figure = measured(estimate, truth, 2000, problem=problem)
        assert abs(figure.value - diagonal_kl([math.sqrt(0.5)] * 2)) < sigmas() * figure.standard_error
    other = Problem(flow, ("kl",), None)
    assert KL().unsuited(Subject(Exact(fit), truth, other)) == "the truth (Empirical) has no density"


def test_a_missing_mode_is_seen_by_its_weight_alone():
    means = torch.tensor([[-10.0, 0.0], [10.0, 0.0]]).double()
    both = GaussianMixture(torch.tensor([0.75, 0.25]).double(), means, torch.eye(2).double().repeat(2, 1, 1))
    left = Gaussian(means[0], torch.eye(2).double())
    figure = measured(Particles(left.sample(2000, generator(8))), both, 2000)
    assert abs(figure.value + math.log(0.75)) < sigmas() * figure.standard_error


def test_what_is_infinite_and_what_is_unsuited():
    x = normal(2).sample(100, generator(9))
    x[:, 1] = 0.0
    assert measured(Particles(x), normal(2)).value == math.inf
    collapsed = measured(Particles(x[:1].repeat(100, 1)), normal(2))
    assert (collapsed.value, collapsed.estimator) == (math.inf, "nearest neighbours: 1 distinct draws of equal weight")
    assert KL().unsuited(Subject(Exact(normal(2)), None, None)) == "the true law is not known"
    assert "12 are needed" in KL().unsuited(Subject(Particles(x[:5]), normal(2), None))
    assert KL().proper(Particles(x))


def test_a_density_that_is_not_a_number_has_diverged():
    class Broken(Gaussian):
        def log_prob(self, x):
            return torch.full((len(x),), math.nan, dtype=torch.float64)

    with pytest.raises(Diverged):
        measured(Exact(Broken(torch.zeros(3).double(), torch.eye(3).double())), normal(3))


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    points = [Particles(normal(dim).sample(800, generator(10))) for dim in (3, 20)]
    one, two = on_threads(lambda: [measured(each, normal(each.dim), 800) for each in points], (1, 2))
    assert one == two


def test_mass_that_rounding_hides_beyond_a_grid_decides_nothing():
    """A grid ends where its law has no mass left in float64; a fit has some there, and the divergence is the laws'."""
    edges = torch.linspace(-9.0, 9.0, 2001, dtype=torch.float64)
    masses = torch.special.ndtr(edges).diff()
    truth = GridLaw(-9.0, 9.0, masses / masses.sum())
    wide = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 1.5, dtype=torch.float64))
    assert measured(Exact(wide), truth, 100).value == pytest.approx(diagonal_kl([1.5**0.5]), rel=1e-4)
    wider = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 9.0, dtype=torch.float64))
    assert measured(Exact(wider), truth, 100).value == math.inf
