"""Free energies and their gap: closed forms of balls and Gaussians, the error of the difference, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from balls import ball, spreading, square_integral
from false_alarms import is_share, mean_error, repetitions, sigmas
from harness.measure.energy_estimates import difference, energy_of, size_of_terms
from harness.measure.free_energy import EnergyGap, FreeEnergyOfFit
from harness.measure.measure import Subject
from problems.barenblatt import Barenblatt
from problems.flow import Entropy, FreeEnergy, PowerEntropy
from problems.interactions import (
    GaussianAttraction,
    LogarithmicInteraction,
    QuadraticInteraction,
    QuarticInteraction,
)
from problems.laws import Empirical, Gaussian
from problems.potentials import Flat, Potential, Quadratic
from seeding import generator
from solvers.estimates import Exact, ParticleDensity, Particles
from solvers.solver import Diverged

FLOW, STEPS = 0.6240251469, 0.6176450697


def gaussian(dim, variance=1.0, shift=0.0):
    mean = torch.full((dim,), shift / dim**0.5, dtype=torch.float64)
    return Gaussian(mean, variance * torch.eye(dim, dtype=torch.float64))


def well(dim, stiffness=1.0):
    return Quadratic(stiffness * torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64))


def subject(estimate, truth, energy=None, t=1.0, **known):
    return Subject(estimate, truth, spreading(ball(estimate.dim), energy, **known), t)


def measured(measure, asked, draws=2000, seed=0):
    assert measure.unsuited(asked) is None
    return measure(asked, draws, generator(seed))


def test_balls_on_the_line_have_the_gap_of_jko_steps():
    """25 exact JKO steps of .001 from t = .002: the relative gap is (R/R')ᴰ - 1, here .0103."""
    found = measured(EnergyGap(), subject(Exact(ball(1, STEPS)), ball(1, FLOW)))
    assert found.value == pytest.approx(FLOW / STEPS - 1, rel=1e-5)
    assert found.value == pytest.approx(0.0103, abs=5e-5)
    assert found.estimator == "quadrature on 8192 nodes; above the true F"
    assert (
        measured(EnergyGap(), subject(Exact(ball(1)), ball(1))).estimator == "quadrature on 8192 nodes; at the true F"
    )


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_energy_of_a_ball(dim):
    law = ball(dim, 0.7)
    found = measured(FreeEnergyOfFit(), subject(Exact(law), None), 20_000)
    assert abs(found.value - square_integral(law)) < sigmas(4) * found.standard_error + 1e-6 * square_integral(law)
    assert (found.standard_error == 0) == (dim == 1)
    assert found.standard_error < 0.01 * square_integral(law)


def attraction_of_gaussians(strength, width, dim, variance):
    """½ E W(X - X') of W = -s exp(-|z|²/ℓ²), X ~ N(0, vI)."""
    return -0.5 * strength * (1 + 4 * variance / width**2) ** (-dim / 2)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", ["quadratic", "quartic", "gaussian", "logarithmic"])
def test_energies_of_gaussians_in_closed_form(kind, dim):
    """V = ½|x|², β = 2, X ~ N(0, vI): X - X' has variance 2v, E log|X - X'| = ½(log 4v + ψ(D/2))."""
    v = 0.8
    if kind == "quadratic":
        interaction, paired = QuadraticInteraction(dim, 0.7), 0.7 * dim * v
    elif kind == "quartic":
        interaction, paired = QuarticInteraction(dim), 0.25 * dim * (dim + 2) * (2 * v) ** 2 - dim * v
    elif kind == "gaussian":
        interaction, paired = GaussianAttraction(dim, 0.5, 1.3), 2 * attraction_of_gaussians(0.5, 1.3, dim, v)
    else:
        interaction = LogarithmicInteraction(dim)
        paired = dim * v - 0.5 * (math.log(4 * v) + float(torch.digamma(torch.tensor(dim / 2, dtype=torch.float64))))
    exact = 0.5 * dim * v - 0.5 * 0.5 * dim * (math.log(2 * math.pi * v) + 1) + 0.5 * paired
    energy = FreeEnergy(well(dim), Entropy(2.0), interaction)
    draws = 6000 if kind == "quartic" else 2000
    found = measured(FreeEnergyOfFit(), subject(Exact(gaussian(dim, v)), None, energy), draws)
    assert abs(found.value - exact) < sigmas(12) * found.standard_error + 1e-6
    assert (found.standard_error == 0) == (dim == 1 and kind != "logarithmic")
    assert found.standard_error < 0.05 * (1 + abs(exact))


def test_particles_need_no_density_where_nothing_spreads():
    energy = FreeEnergy(well(3), None, QuarticInteraction(3))
    points = gaussian(3).sample(300, generator(1))
    found = measured(FreeEnergyOfFit(), subject(Particles(points), None, energy), 10)
    pairs = [
        float(energy.interaction.value(points[i : i + 1] - points[j : j + 1])) for i in range(40) for j in range(i)
    ]
    assert found.estimator == "U-statistic of 300 draws"
    few = energy_of(Particles(points[:40]), energy, 10, generator(0))
    assert few.value == pytest.approx(float(0.5 * points[:40].square().sum(1).mean()) + 0.5 * np.mean(pairs), rel=1e-10)
    weights = torch.cat([torch.zeros(200), torch.full((100,), -torch.inf)]).double()
    weighted = measured(FreeEnergyOfFit(), subject(Particles(points, weights), None, energy))
    first = measured(FreeEnergyOfFit(), subject(Particles(points[:200]), None, energy))
    assert weighted.value == pytest.approx(first.value, rel=1e-10)
    assert weighted.standard_error == pytest.approx(first.standard_error, rel=1e-10)


@repetitions(200, 5000)
def test_error_of_an_energy(repetitions):
    """In the plane, spreading by ρ³ and gathered by all pairs: unbiased, and covered in 93 to 97 % of repetitions."""
    energy = FreeEnergy(Flat(2), Entropy(1.0), GaussianAttraction(2, 4.0))
    law = gaussian(2, 0.5)
    exact = -math.log(2 * math.pi * 0.5) - 1 + attraction_of_gaussians(4.0, 1.0, 2, 0.5)
    figures = [energy_of(Exact(law), energy, 100, generator(seed)) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert abs(values.mean() - exact) < mean_error(values)
    assert is_share(int((np.abs(values - exact) <= 1.96 * errors).sum()), repetitions, 0.92, 0.97)


@pytest.mark.parametrize(("kind", "draws", "least"), [("ball", 128, 0.92), ("pairs", 200, 0.85)])
@repetitions(100, 2000)
def test_difference_is_unbiased_and_its_error_covers(kind, draws, least, repetitions):
    """Where log ρ enters, the least squares are fitted to heavy tails: 95 % are covered from a thousand draws on."""
    if kind == "ball":
        fit, truth, energy = ball(3, 0.9), ball(3), FreeEnergy(Flat(3), PowerEntropy(2.0))
        exact = square_integral(fit) - square_integral(truth)
    else:
        fit, truth = gaussian(2, 0.9), gaussian(2)
        energy = FreeEnergy(Flat(2), Entropy(1.0), GaussianAttraction(2, 4.0))
        exact = -math.log(0.9) + attraction_of_gaussians(4.0, 1.0, 2, 0.9) - attraction_of_gaussians(4.0, 1.0, 2, 1.0)
    asked = subject(Exact(fit), truth, energy)
    figures = [difference(asked, draws, generator(seed)) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert figures[0].estimator == f"mixture of {draws} draws a side"
    assert abs(values.mean() - exact) < mean_error(values) + 0.02 * abs(exact)
    assert is_share(int((np.abs(values - exact) <= 1.96 * errors).sum()), repetitions, least, 0.97)


def test_difference_beats_two_figures_and_vanishes_at_the_truth():
    fit, truth = ball(3, 0.99), ball(3)
    found = measured(EnergyGap(), subject(Exact(fit), truth))
    apart = energy_of(Exact(fit), FreeEnergy(Flat(3), PowerEntropy(2.0)), 2000, generator(0))
    assert abs(found.value - (0.99**-3 - 1)) < sigmas() * found.standard_error + 0.05 * found.value
    assert found.standard_error < 0.25 * apart.standard_error
    same = measured(EnergyGap(), subject(Exact(truth), truth))
    assert (same.value, same.standard_error) == (0.0, 0.0)


def test_at_a_minimiser_the_noise_is_of_second_order():
    """V = ½|x|², β = 1: F(N(0, vI)) - F(N(0, I)) = ½D(v - 1 - log v), its error in proportion to (v - 1)²."""
    energy, errors = FreeEnergy(well(3), Entropy(1.0)), []
    for step in (0.04, 0.02):
        found = difference(subject(Exact(gaussian(3, 1 + step)), gaussian(3), energy), 2000, generator(1))
        exact = 1.5 * (step - math.log1p(step))
        assert abs(found.value - exact) < sigmas(2) * found.standard_error
        errors.append(found.standard_error)
    assert errors[1] < 0.4 * errors[0] < 0.01 * 0.04


def test_a_known_energy_is_the_scale():
    truth = ball(3)
    sampled = Empirical(truth.sample(100, generator(2)), *truth.moments())
    known = subject(Exact(ball(3, 0.9)), truth, free_energy=lambda t: 2 * t * square_integral(truth))
    found = measured(EnergyGap(), known)
    free = measured(EnergyGap(), replace(known, problem=spreading(truth)))
    assert found.value == pytest.approx(0.5 * free.value, rel=0.1)
    without = replace(known, truth=sampled)
    gap = measured(EnergyGap(), without)
    assert (
        abs(gap.value - abs(square_integral(ball(3, 0.9)) / (2 * square_integral(truth)) - 1))
        < sigmas() * gap.standard_error
    )
    zero = measured(EnergyGap(), subject(Exact(truth), truth, free_energy=lambda t: 0.0))
    assert zero.value == 0.0
    assert "at the true F, which is 0; relative to its terms" in zero.estimator


def free_energy_of_a_gaussian(dim, variance):
    """F(N(0, vI)) of V = ½|x|², β = 1."""
    return 0.5 * dim * (variance - math.log(2 * math.pi * variance) - 1)


BALANCED = float(brentq(lambda variance: free_energy_of_a_gaussian(1, variance), 3.0, 6.0, xtol=1e-15))
"""The variance at which potential and entropy cancel: E|V| and E|log ρ| are DBALANCED/2 there."""


@pytest.mark.parametrize("dim", [1, 3])
def test_where_the_true_energy_is_zero_the_gap_is_relative_to_its_terms(dim):
    energy, truth = FreeEnergy(well(dim), Entropy(1.0)), gaussian(dim, BALANCED)
    known = free_energy_of_a_gaussian(dim, BALANCED)
    assert abs(known) < 1e-14
    for rounded in (known, 0.0, -3e-12):
        asked = subject(Exact(gaussian(dim, 2.0)), truth, energy, free_energy=lambda t, value=rounded: value)
        found = measured(EnergyGap(), asked)
        exact = abs(free_energy_of_a_gaussian(dim, 2.0)) / (dim * BALANCED)
        assert abs(found.value - exact) < sigmas(8) * found.standard_error + 1e-6
        assert found.standard_error < 0.1 * exact
        assert "the true F, which is 0; relative to its terms, " in found.estimator
        same = measured(EnergyGap(), replace(asked, estimate=Exact(truth)))
        assert same.value < 1e-11


@pytest.mark.parametrize("dim", [1, 3])
def test_a_small_energy_that_is_told_from_zero_stays_the_scale(dim):
    energy, truth = FreeEnergy(well(dim), Entropy(1.0)), gaussian(dim, BALANCED)
    small, large = (
        measured(EnergyGap(), subject(Exact(gaussian(dim, 2.0)), truth, energy, free_energy=lambda t, f=f: f))
        for f in (1e-6, 1.0)
    )
    assert "relative to" not in small.estimator
    if dim == 3:  # the same points tell the difference, whatever the scale
        assert small.value == pytest.approx(1e6 * large.value, rel=1e-12)
    else:
        assert small.value == pytest.approx(abs(free_energy_of_a_gaussian(1, 2.0)) / 1e-6, rel=1e-5)


def test_the_size_of_terms_of_interactions_and_of_draws():
    """V = ½|x|² and W = -½|z|²: of X ~ N(m, vI) they are ½Dv + ½|m|² and -½Dv, each of the size ½Dv where m = 0."""
    v, dim = 0.8, 2
    energy = FreeEnergy(well(dim), None, QuarticInteraction(dim, 0.0, -1.0))
    for law in (gaussian(dim, v), Empirical(gaussian(dim, v).sample(4000, generator(3)), *gaussian(dim, v).moments())):
        found = size_of_terms(law, energy, 1000, generator(1))
        assert abs(found.value - dim * v) < sigmas(2) * 1.5 * found.standard_error
        assert found.standard_error < 0.05 * found.value
    asked = subject(Exact(gaussian(dim, 2 * v, 1.0)), gaussian(dim, v), energy, free_energy=lambda t: 1e-17)
    gap = measured(EnergyGap(), asked)
    assert abs(gap.value - 0.5 / (dim * v)) < sigmas() * gap.standard_error
    assert gap.standard_error < 0.1


def test_an_energy_without_terms_has_no_scale():
    asked = subject(Exact(ball(2)), ball(2), FreeEnergy(Flat(2), None), free_energy=lambda t: 0.0)
    found = measured(EnergyGap(), asked)
    assert (found.value, found.estimator) == (math.inf, "F of the truth, 0, is not told from 0")


def test_particles_on_line_and_plane_are_judged_by_kernels():
    for dim in (1, 2):
        truth = ball(dim)
        particles = Particles(truth.sample(400, generator(3)))
        asked = subject(particles, truth)
        assert "Scott KDE by " in measured(FreeEnergyOfFit(), asked).estimator
        assert measured(EnergyGap(), asked).value < 0.3
    alike = subject(Particles(torch.zeros(20, 2, dtype=torch.float64)), ball(2))
    assert measured(FreeEnergyOfFit(), alike).value == math.inf
    assert measured(EnergyGap(), alike).value == math.inf


def test_what_is_unsuited_says_why():
    points = ball(3).sample(50, generator(4))
    carried = ParticleDensity(points=points, log_density=torch.zeros(50, dtype=torch.float64))
    for particles in (Particles(points), carried):
        assert "particles have no density" in FreeEnergyOfFit().unsuited(subject(particles, ball(3)))
    gathering = FreeEnergy(Flat(3), None, QuadraticInteraction(3))
    assert EnergyGap().unsuited(subject(Particles(points), None, gathering)) == "the true law is not known"
    assert FreeEnergyOfFit().unsuited(subject(Particles(points[:1]), None, gathering)) == "one particle has no pair"
    assert EnergyGap().unsuited(subject(Particles(points), ball(3), gathering)) is None
    fast = FreeEnergy(Flat(3), PowerEntropy(0.5))
    assert "its energy is not finite" in FreeEnergyOfFit().unsuited(subject(Exact(ball(3)), None, fast))


def test_undefined_potentials_and_densities_are_not_measured():
    class Hole(Potential):
        dim = 2

        def value(self, x):
            return x[:, 0].log()

        def gradient(self, x):
            return x

        def hessian(self, x):
            return x

    with pytest.raises(ArithmeticError, match="the potential is NaN at"):
        measured(FreeEnergyOfFit(), subject(Exact(ball(2)), None, FreeEnergy(Hole(), None)))

    class Undefined(Barenblatt):
        def log_prob(self, x):
            return torch.full((len(x),), torch.nan, dtype=torch.float64)

    with pytest.raises(Diverged, match="NaN at 10 of 10"):
        measured(FreeEnergyOfFit(), subject(Exact(Undefined(ball(2).mean, ball(2).shape, 2.0)), None), 10)


def test_same_draws_same_bits_on_any_number_of_threads(on_threads):
    energy = FreeEnergy(well(2), Entropy(1.0), GaussianAttraction(2))
    asked = subject(Exact(gaussian(2, 0.9)), gaussian(2), energy)
    one, two = on_threads(lambda: [measured(each, asked, 500) for each in (FreeEnergyOfFit(), EnergyGap())], (1, 2))
    assert one == two
