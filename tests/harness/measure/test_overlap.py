"""L1 and Hellinger: radial quadrature, Le Cam's inequalities, bounds, coverage, kernel densities."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from balls import ball, peak, spreading
from false_alarms import is_share, mean_error, repetitions
from harness.measure.measure import Subject
from harness.measure.overlap import L1, Hellinger
from harness.measure.symkl import SymKL
from problems.laws import Empirical, Gaussian
from problems.references.grid_law import GridLaw, discretised
from seeding import generator
from solvers.estimates import Exact, GridDensity, Particles

# ρ_t = Δρ² on the line, of unit mass, a point at t = -.002: the exact flow at .025, and 25 exact JKO steps of .001.
FLOW, STEPS = 0.6240251469, 0.6176450697


def subject(estimate, truth):
    return Subject(estimate, truth, spreading(truth))


def measured(measure, estimate, truth, draws=1000, seed=0):
    asked = subject(estimate, truth)
    assert measure.unsuited(asked) is None
    return measure(asked, draws, generator(seed))


def radial(dim, radius, other, integrand):
    """∫ f(ρ, σ) dx of two balls about one centre by quadrature along a ray."""
    surface = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)

    def at(r):
        values = [peak(dim) / each**dim * max(0.0, 1 - (r / each) ** 2) for each in (radius, other)]
        return surface * r ** (dim - 1) * integrand(*values)

    edges = sorted((radius, other))
    inner = quad(at, 0, edges[0], limit=200)[0]
    return inner + quad(at, edges[0], edges[1])[0]


def l1(dim, radius, other):
    return radial(dim, radius, other, lambda p, q: abs(p - q))


def hellinger(dim, radius, other):
    return math.sqrt(radial(dim, radius, other, lambda p, q: 0.5 * (math.sqrt(p) - math.sqrt(q)) ** 2))


def test_on_the_line_it_is_the_floor_of_jko_steps():
    """.01187 by hand: a cubic's difference between its two crossings."""
    found = measured(L1(), Exact(ball(1, STEPS)), ball(1, FLOW))
    assert found.value == pytest.approx(0.01187, abs=5e-6)
    assert found.value == pytest.approx(l1(1, STEPS, FLOW), rel=1e-5)
    assert found.standard_error == 0
    assert found.estimator == "quadrature on 8192 nodes"
    other = measured(Hellinger(), Exact(ball(1, STEPS)), ball(1, FLOW))
    assert other.value == pytest.approx(hellinger(1, STEPS, FLOW), rel=2e-4)


@repetitions(300, 5000)
def test_draws_are_unbiased_and_their_standard_error_covers(repetitions):
    """In space, radii 1 and .9; the root of Hellinger's square is biased by less than a hundredth."""
    fit, truth = ball(3, 0.9), ball(3)
    for measure, exact, bias in ((L1(), l1(3, 0.9, 1.0), 0.0), (Hellinger(), hellinger(3, 0.9, 1.0), 0.01)):
        figures = [measured(measure, Exact(fit), truth, 512, seed) for seed in range(repetitions)]
        assert figures[0].estimator == "512 draws a side"
        values = np.array([figure.value for figure in figures])
        errors = np.array([figure.standard_error for figure in figures])
        assert abs(values.mean() - exact) < mean_error(values, 2) + bias * exact
        covered = int((np.abs(values - exact) <= 1.96 * errors).sum())
        assert is_share(covered, repetitions, 0.92, 0.97, 2)


def test_nothing_between_equal_laws_and_everything_between_disjoint_ones():
    for dim in (1, 2):
        for measure, most in ((L1(), 2.0), (Hellinger(), 1.0)):
            same = measured(measure, Exact(ball(dim)), ball(dim))
            assert (same.value, same.standard_error) == (0.0, 0.0)
            apart = measured(measure, Exact(ball(dim, 1.0, 5.0)), ball(dim))
            assert apart.value == pytest.approx(most, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_inequalities_of_le_cam(dim):
    for radius, shift in ((0.5, 0.0), (1.1, 0.3), (1.0, 1.2)):
        fit = Exact(ball(dim, radius, shift))
        total = 0.5 * measured(L1(), fit, ball(dim), 4000).value
        distance = measured(Hellinger(), fit, ball(dim), 4000).value
        assert distance**2 <= total <= distance * math.sqrt(2 - distance**2) * (1 + 1e-9)


def test_near_each_other_symkl_is_eight_squares():
    truth = Gaussian(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    fit = Exact(Gaussian(truth.mean + 0.02, 1.02 * truth.covariance))
    divergence = measured(SymKL(), fit, truth, 4000).value
    assert 8 * measured(Hellinger(), fit, truth, 4000).value ** 2 == pytest.approx(divergence, rel=2e-2)


def test_gaussians_on_the_line_by_scipy():
    truth = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    fit = Gaussian(truth.mean + 1.0, truth.covariance)
    exact = 2 * (2 * stats.norm.cdf(0.5) - 1)
    grid = GridDensity(discretised(fit, -9.0, 11.0, 400))
    for estimate in (Exact(fit), grid, Exact(grid.law)):
        assert measured(L1(), estimate, truth).value == pytest.approx(exact, rel=1e-5)
    assert measured(Hellinger(), Exact(fit), truth).value == pytest.approx(math.sqrt(1 - math.exp(-1 / 8)), rel=1e-6)


def test_particles_are_judged_by_kernels_on_line_and_plane_only():
    for dim, by in ((1, "Scott KDE by quadrature on 8192 nodes"), (2, "Scott KDE by 500 draws a side")):
        truth = ball(dim)
        particles = Particles(truth.sample(400, generator(1)))
        figure = measured(L1(), particles, truth, 500)
        assert figure.estimator == by
        # On the line one set has .094 with a deviation of .024, over 60 of them.
        sets = [Particles(truth.sample(400, generator(10 + each))) for each in range(10)]
        assert 0.05 < np.mean([measured(L1(), each, truth, 500).value for each in sets]) < 0.5
        weighted = Particles(particles.points, torch.zeros(400, dtype=torch.float64))
        assert measured(L1(), weighted, truth, 500).value == pytest.approx(figure.value, abs=0.1)
    why = L1().unsuited(subject(Particles(ball(3).sample(50, generator(2))), ball(3)))
    assert why == "particles have no density, and in more than 2 dimensions a kernel's is not theirs"
    alike = Particles(torch.zeros(20, 2, dtype=torch.float64))
    assert measured(L1(), alike, ball(2)).value == 2
    assert measured(Hellinger(), alike, ball(2)).value == 1


def test_a_rule_that_misses_mass_gives_way_to_draws():
    truth = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    narrow = Gaussian(truth.mean + 500.0, 1e-6 * truth.covariance)
    figure = measured(L1(), Exact(narrow), truth)
    assert figure.estimator == "1000 draws a side"
    assert figure.value == pytest.approx(2.0)


def test_what_is_unsuited_says_why():
    truth = ball(2)
    sampled = Empirical(truth.sample(10, generator(3)), *truth.moments())
    assert L1().unsuited(subject(Exact(truth), truth)) is None
    assert L1().unsuited(Subject(Exact(truth), None, spreading(truth))) == "the true law is not known"
    assert L1().unsuited(Subject(Exact(truth), sampled, spreading(truth))) == "the truth (Empirical) has no density"
    assert L1().unsuited(subject(Exact(sampled), truth)) == "Exact of Empirical has no density"
    assert "do not span" in L1().unsuited(subject(Particles(truth.sample(2, generator(3))), truth))


def test_symkl_says_that_it_is_infinite_where_supports_end():
    """Of 200 draws none may lie between edges that differ by a thousandth: SymKL has no finite figure there."""
    asked = subject(Exact(ball(2, 0.999)), ball(2))
    assert "bounded support, from which SymKL is infinite" in SymKL().unsuited(asked)
    masses = torch.zeros(100, dtype=torch.float64)
    masses[40:60] = 1 / 20
    fit = GridLaw(0.0, 1.0, masses, bounded=True)
    truth = GridLaw(0.0, 1.0, torch.full((100,), 0.01, dtype=torch.float64))
    for one, other in ((fit, truth), (truth, fit)):
        figure = measured(SymKL(), GridDensity(one), other)
        assert figure.value == math.inf
        assert "mass 0.8 lies where the other density is zero" in figure.estimator


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    particles = Particles(ball(2).sample(1000, generator(4)))
    one, two = on_threads(lambda: [measured(each, particles, ball(2)) for each in (L1(), Hellinger())], (1, 2))
    assert one == two
