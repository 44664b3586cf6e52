"""Flows of elliptical laws solve their equation, however they start and whatever the units."""

import math
from dataclasses import replace

import pytest
import torch

from problems.barenblatt import Barenblatt, ball, log_pressure
from problems.energies import Entropy, PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction, QuarticInteraction
from problems.laws import Gaussian, GaussianMixture
from problems.linear_algebra import random_spd, spread
from problems.potentials import Flat, Linear, Quadratic, RingWell
from problems.references.elliptical_energy import EllipticalEnergy, elliptical_energy, matrix_of, not_elliptical
from problems.references.elliptical_flow import elliptical_marginal
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import generator

CASES = [(1, 2.0), (2, 2.0), (3, 3.0), (2, 1.2), (3, 0.8), (4, 2.0)]


def zeros(dim):
    return torch.zeros(dim, dtype=torch.float64)


def instance(dim, exponent, coefficient=0.7, attraction=0.4, seed=0):
    """Return an ellipsoid, and an energy of which no two matrices commute."""
    source = generator(seed)
    mean, centre = torch.randn(2, dim, generator=source, dtype=torch.float64)
    law = Barenblatt(mean, random_spd(spread(0.3, 2.0, dim), source), exponent)
    well = Quadratic(random_spd(spread(0.5, 3.0, dim), source), centre)
    return law, EllipticalEnergy(well, PowerEntropy(exponent, coefficient), attraction)


def derivatives(law, x):
    """Return ρ (n,), ∇ρ (n, D) and Δρᵐ (n,) at points (n, D), by automatic differentiation."""

    def density(row):
        return law.log_prob(row[None])[0].exp()

    def power(row):
        return (law.exponent * law.log_prob(row[None])[0]).exp()

    gradient = torch.func.vmap(torch.func.grad(density))(x)
    curvature = torch.func.vmap(torch.func.hessian(power))(x)
    return law.log_prob(x).exp(), gradient, curvature.diagonal(dim1=1, dim2=2).sum(1)


@pytest.mark.parametrize(("dim", "exponent"), CASES)
def test_the_density_solves_the_equation(dim, exponent):
    """∂ρ = εΔρᵐ + ∇ρ·∇Φ + ρΔΦ with ∇Φ = A(x-b) + κ(x-μ), at points within the support."""
    initial, energy = instance(dim, exponent)
    time, step = 0.2, 1e-4
    law = elliptical_marginal(initial, energy, time)
    x = law.mean + 0.8 * (law.sample(60, generator(1)) - law.mean)
    by_time = (
        8 * (density_at(initial, energy, time + step, x) - density_at(initial, energy, time - step, x))
        - (density_at(initial, energy, time + 2 * step, x) - density_at(initial, energy, time - 2 * step, x))
    ) / (12 * step)
    density, gradient, diffusion = derivatives(law, x)
    force = energy.potential.gradient(x) + energy.attraction * (x - law.mean)
    stated = energy.internal.coefficient * diffusion + (gradient * force).sum(1) + density * energy.stiffness.trace()
    torch.testing.assert_close(by_time, stated, rtol=1e-7, atol=1e-7 * float(density.max()))


def density_at(initial, energy, time, x):
    return elliptical_marginal(initial, energy, time).log_prob(x).exp()


@pytest.mark.parametrize(("dim", "exponent"), CASES)
def test_marginals_form_a_semigroup(dim, exponent):
    initial, energy = instance(dim, exponent)
    later = elliptical_marginal(elliptical_marginal(initial, energy, 0.15), energy, 0.25)
    direct = elliptical_marginal(initial, energy, 0.4)
    torch.testing.assert_close(later.shape, direct.shape, rtol=3e-12, atol=1e-12)
    torch.testing.assert_close(later.mean, direct.mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stiffness", [0.0, 1.3])
@pytest.mark.parametrize(("dim", "exponent"), [(2, 2.0), (3, 3.0), (3, 0.8), (6, 2.0)])
def test_the_integrator_meets_the_closed_form_of_balls(dim, exponent, stiffness):
    """An ellipsoid that rounding can tell from a ball is integrated."""
    potential = Quadratic(stiffness * torch.eye(dim, dtype=torch.float64), zeros(dim)) if stiffness else Flat(dim)
    energy = EllipticalEnergy(potential, PowerEntropy(exponent, 0.5), 0.0)
    start = ball(zeros(dim), 0.4, exponent)
    nearly = replace(start, shape=start.shape * (1 + 1e-13 * torch.eye(dim, dtype=torch.float64)[0]))
    one, other = (elliptical_marginal(law, energy, 0.7).shape for law in (start, nearly))
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dim", "exponent"), [(1, 2.0), (3, 3.0), (3, 0.8)])
def test_a_point_mass_becomes_barenblatts_solution(dim, exponent):
    energy = EllipticalEnergy(Flat(dim), PowerEntropy(exponent, 0.6), 0.0)
    power = dim * (exponent - 1) + 2
    law = elliptical_marginal(ball(zeros(dim), 1e-9, exponent), energy, 0.3)
    radius = (0.6 * math.exp(log_pressure(exponent, dim)) * power * 0.3) ** (1 / power)
    torch.testing.assert_close(law.shape, radius**2 * torch.eye(dim, dtype=torch.float64), rtol=1e-8, atol=0)


@pytest.mark.parametrize(("dim", "exponent"), [(1, 2.0), (2, 3.0), (3, 0.8)])
def test_a_well_is_a_change_of_variables(dim, exponent):
    """ρ(x, t) = e^{nλt} u(e^{λt}x, (e^{qλt} - 1)/qλ) of the free flow u, from any ellipsoid."""
    start, free = instance(dim, exponent, attraction=0.0)[0], EllipticalEnergy(Flat(dim), PowerEntropy(exponent), 0.0)
    start = replace(start, mean=zeros(dim))
    rate, time, power = 1.4, 0.6, dim * (exponent - 1) + 2
    scaled = elliptical_marginal(start, free, math.expm1(power * rate * time) / (power * rate))
    wells = (
        replace(free, potential=Quadratic(rate * torch.eye(dim, dtype=torch.float64), zeros(dim))),
        replace(free, attraction=rate),
    )
    for energy in wells:
        law = elliptical_marginal(start, energy, time)
        torch.testing.assert_close(law.shape, math.exp(-2 * rate * time) * scaled.shape, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("dim", "exponent"), [(2, 2.0), (3, 0.8)])
def test_the_flow_ends_where_its_energy_is_least(dim, exponent):
    initial, energy = instance(dim, exponent)
    late = elliptical_marginal(initial, energy, 40.0)
    later = elliptical_marginal(initial, energy, 41.0)
    torch.testing.assert_close(later.shape, late.shape, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(late.mean, energy.potential.centre, rtol=0, atol=1e-8)
    least = energy.value(late)
    for seed in range(20):
        bump = 0.05 * torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
        change = torch.eye(dim, dtype=torch.float64) + bump + bump.T
        assert energy.value(replace(late, shape=change @ late.shape @ change)) > least


@pytest.mark.parametrize(("dim", "exponent"), CASES)
def test_the_energy_falls_at_the_rate_of_the_squared_velocity(dim, exponent):
    """dF/dt = -E|v|², v = cS⁻¹(x-μ) - G(x-μ) - ∇V(μ)."""
    initial, energy = instance(dim, exponent)
    time, step = 0.2, 1e-4
    rate = (
        energy.value(elliptical_marginal(initial, energy, time + step))
        - energy.value(elliptical_marginal(initial, energy, time - step))
    ) / (2 * step)
    law = elliptical_marginal(initial, energy, time)
    spreading = math.exp(energy.log_spreading(law.log_det))
    field = spreading * torch.linalg.inv(law.shape) - energy.stiffness
    drift = energy.potential.gradient(law.mean[None])[0]
    speed = (field @ law.moments()[1] @ field.T).trace() + drift.square().sum()
    assert rate == pytest.approx(-float(speed), rel=1e-6)


@pytest.mark.parametrize(("dim", "exponent"), [(2, 2.0), (3, 3.0), (3, 0.8)])
def test_equivariance_under_motions_and_units(dim, exponent):
    initial, energy = instance(dim, exponent)
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator(8), dtype=torch.float64))
    shift = torch.randn(dim, generator=generator(9), dtype=torch.float64)
    length, duration, time = 3.0, 0.4, 0.5
    power = dim * (exponent - 1) + 2
    moved = Barenblatt(length * turn @ initial.mean + shift, length**2 * turn @ initial.shape @ turn.T, exponent)
    well = Quadratic(
        turn @ energy.potential.precision @ turn.T / duration, length * turn @ energy.potential.centre + shift
    )
    coefficient = energy.internal.coefficient * length**power / duration
    same = EllipticalEnergy(well, PowerEntropy(exponent, coefficient), energy.attraction / duration)
    law, other = elliptical_marginal(initial, energy, time), elliptical_marginal(moved, same, duration * time)
    torch.testing.assert_close(other.shape, length**2 * turn @ law.shape @ turn.T, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(other.mean, length * turn @ law.mean + shift, rtol=1e-11, atol=1e-12)
    assert same.value(other) == pytest.approx(energy.value(law) * length**2 / duration, rel=1e-10)


@pytest.mark.parametrize("exponent", [1 + 1e-6, 1 - 1e-6])
def test_near_exponent_one_it_is_diffusion(exponent):
    dim, source = 3, generator(3)
    covariance, well = random_spd(spread(0.3, 2.0, dim), source), random_spd(spread(0.5, 3.0, dim), source)
    potential = Quadratic(well, torch.ones(dim, dtype=torch.float64))
    start = Barenblatt(zeros(dim), covariance * 2 / abs(exponent - 1), exponent)
    law = elliptical_marginal(start, EllipticalEnergy(potential, PowerEntropy(exponent, 0.5), 0.0), 0.6)
    gaussian = ornstein_uhlenbeck_marginal(Gaussian(zeros(dim), covariance), potential, 2.0, 0.6)
    torch.testing.assert_close(law.moments()[1], gaussian.covariance, rtol=2e-5, atol=1e-6)
    exact = elliptical_marginal(Gaussian(zeros(dim), covariance), EllipticalEnergy(potential, Entropy(2.0), 0.0), 0.6)
    torch.testing.assert_close(matrix_of(exact), gaussian.covariance, rtol=1e-12, atol=1e-13)


def test_a_tilt_moves_the_mean_alone():
    slope = torch.tensor([0.5, -1.0], dtype=torch.float64)
    law = Barenblatt(torch.ones(2, dtype=torch.float64), torch.diag(slope.square() + 1), 2.0)
    tilted, level = (EllipticalEnergy(each, PowerEntropy(2.0), 0.0) for each in (Linear(slope), Flat(2)))
    one, other = elliptical_marginal(law, tilted, 0.7), elliptical_marginal(law, level, 0.7)
    assert torch.equal(one.shape, other.shape)
    torch.testing.assert_close(one.mean, law.mean - 0.7 * slope)
    assert torch.equal(other.mean, law.mean)
    assert tilted.value(one) == pytest.approx(level.value(other) + float(slope @ one.mean))


def flow(initial, potential, internal, interaction=None):
    return GradientFlow(initial, FreeEnergy(potential, internal, interaction), (1.0,))


GAUSSIAN = Gaussian(zeros(2), torch.eye(2, dtype=torch.float64))
BALL = ball(zeros(2), 1.0, 2.0)
MIXTURE = GaussianMixture(torch.ones(1).double(), zeros(2)[None], torch.eye(2).double()[None])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (flow(MIXTURE, Flat(2), Entropy()), "must be a Gaussian or a Barenblatt law, not GaussianMixture"),
        (flow(BALL, RingWell(2), PowerEntropy(2.0)), "must be flat, linear or quadratic, not RingWell"),
        (flow(BALL, Flat(2), PowerEntropy(2.0), QuarticInteraction(2)), "interaction must be quadratic"),
        (flow(BALL, Flat(2), PowerEntropy(3.0)), "the initial law has exponent 2, the power entropy 3"),
        (flow(BALL, Flat(2), Entropy()), "a Barenblatt law does not stay one under Entropy"),
        (flow(GAUSSIAN, Flat(2), PowerEntropy(2.0)), "a Gaussian does not stay one under PowerEntropy"),
    ],
)
def test_what_does_not_stay_elliptical(made, reason):
    assert reason in not_elliptical(made)
    assert "\n" not in not_elliptical(made)
    with pytest.raises(ValueError, match=reason):
        elliptical_energy(made)


def test_what_does():
    attraction = QuadraticInteraction(2, 0.3)
    assert elliptical_energy(flow(BALL, Linear(zeros(2)), PowerEntropy(2.0), attraction)).attraction == 0.3
    assert not_elliptical(flow(BALL, Flat(2), None)) is None
    assert not_elliptical(flow(GAUSSIAN, Flat(2), None, attraction)) is None


def test_times_before_the_start_and_laws_without_closed_energy():
    initial, energy = instance(2, 2.0)
    with pytest.raises(ValueError, match=r"time must be >= 0, got -0\.1"):
        elliptical_marginal(initial, energy, -0.1)
    with pytest.raises(TypeError, match="must be a Gaussian or a Barenblatt law"):
        energy.value(MIXTURE)
