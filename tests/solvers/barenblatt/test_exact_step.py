"""Exact steps of elliptical laws: the least objective, the recursion of radii, and what they keep."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems.barenblatt import Barenblatt, ball, log_normaliser, log_pressure
from problems.energies import PowerEntropy
from problems.laws import Gaussian
from problems.linear_algebra import random_spd, spread
from problems.mckean_vlasov import McKeanVlasov
from problems.potentials import Flat, Linear, Quadratic
from problems.references.elliptical_energy import EllipticalEnergy, matrix_of
from seeding import generator, numpy_generator
from solvers.barenblatt.exact_step import ExactSteps


def zeros(dim):
    return torch.zeros(dim, dtype=torch.float64)


def identity(dim):
    return torch.eye(dim, dtype=torch.float64)


def radius(law):
    return math.sqrt(float(law.shape[0, 0]))


@pytest.mark.parametrize("exponent", [2.0, 3.0, 1.05, 0.9, 0.76])
@pytest.mark.parametrize(("dim", "start", "step"), [(1, 0.3, 1e-3), (3, 0.5, 1e-2), (3, 1e-5, 0.1), (6, 1.0, 3.0)])
def test_radii_obey_their_recursion(dim, start, step, exponent):
    """R⁺(1 + hλ) - R = hεκ (R⁺)^{1-q} to rounding, and at order 2 the same of the mean of R and R⁺."""
    rate, coefficient, power = 0.4, 0.7, dim * (exponent - 1) + 2
    energy = EllipticalEnergy(Quadratic(rate * identity(dim), zeros(dim)), PowerEntropy(exponent, coefficient), 0.0)
    law, force = ball(zeros(dim), start, exponent), coefficient * math.exp(log_pressure(exponent, dim))
    after = radius(ExactSteps(energy, step, 1)(law))
    assert after * (1 + step * rate) - step * force * after ** (1 - power) == pytest.approx(start, abs=1e-13 * after)
    after = radius(ExactSteps(energy, step, 2)(law))
    middle = 0.5 * (start + after)
    velocity = force * middle ** (1 - power) - rate * middle
    assert after - step * velocity == pytest.approx(start, abs=1e-12 * max(after, step * force * middle ** (1 - power)))


def instance(dim, exponent, seed=0, attraction=0.4, internal=None):
    source = generator(seed)
    mean, centre = torch.randn(2, dim, generator=source, dtype=torch.float64)
    law = Barenblatt(mean, random_spd(spread(0.3, 2.0, dim), source), exponent)
    well = Quadratic(random_spd(spread(0.5, 3.0, dim), source), centre)
    return law, EllipticalEnergy(well, internal or PowerEntropy(exponent, 0.7), attraction)


@pytest.mark.parametrize(("dim", "exponent"), [(2, 2.0), (3, 2.0), (3, 3.0), (6, 2.0), (3, 0.8)])
def test_no_affine_map_does_better(dim, exponent):
    """E|T(x)-x|²/2h + F of 200 perturbed maps, of which none is optimal by accident."""
    law, energy = instance(dim, exponent)
    step = 0.1
    best = ExactSteps(energy, step, 1)(law)
    covariance = law.moments()[1]

    def objective(matrix, mean):
        after = Barenblatt(mean, matrix @ law.shape @ matrix.T, exponent)
        moved = matrix - identity(dim)
        cost = (moved @ covariance @ moved.T).trace() + (mean - law.mean).square().sum()
        return float(cost) / (2 * step) + energy.value(after)

    values, axes = torch.linalg.eigh(law.shape)
    root, inverse = ((axes * values**half) @ axes.T for half in (0.5, -0.5))
    middle, turned = torch.linalg.eigh(root @ best.shape @ root)
    optimal = inverse @ (turned * middle.sqrt()) @ turned.T @ inverse
    least = objective(optimal, best.mean)
    assert least == pytest.approx(law.wasserstein(best) ** 2 / (2 * step) + energy.value(best), rel=1e-12)
    source = generator(1)
    for _ in range(200):
        size = 10 ** (-3 * float(torch.rand(1, generator=source)))
        bump = size * torch.randn(dim, dim, generator=source, dtype=torch.float64) / dim
        shift = size * torch.randn(dim, generator=source, dtype=torch.float64)
        assert objective((identity(dim) + bump) @ optimal, best.mean + shift) > least


@pytest.mark.parametrize(("dim", "exponent"), [(1, 2.0), (2, 2.0), (3, 3.0), (6, 2.0), (3, 0.85)])
def test_no_radial_map_does_better(dim, exponent):
    """The same of T(x) = x f(|x|), f a polynomial on the support, by quadrature: what affine maps leave open."""
    law, step, rate = ball(zeros(dim), 0.6, exponent), 0.02, 0.5
    energy = EllipticalEnergy(Quadratic(rate * identity(dim), zeros(dim)), PowerEntropy(exponent), 0.0)
    best = radius(ExactSteps(energy, step, 1)(law)) / 0.6
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = (nodes + 1) * math.pi / 4
    y, widths = (np.sin(angle), np.cos(angle)) if exponent > 1 else (np.tan(angle), 1 / np.cos(angle) ** 2)
    sign = math.copysign(1, 1 - exponent)
    surface = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
    profile = math.exp(log_normaliser(exponent, dim)) * (1 + sign * y**2) ** (1 / (exponent - 1))
    masses = surface * y ** (dim - 1) * profile * widths * weights * math.pi / 4
    r, density, bounded = 0.6 * y, profile / 0.6**dim, 1 / (1 + y**2)
    assert masses.sum() == pytest.approx(1, abs=1e-10)

    def objective(factor, slope):
        """``factor`` is f at the nodes, ``slope`` r f'."""
        determinant = factor ** (dim - 1) * (factor + slope)
        assert (determinant > 0).all()
        inner = (density / determinant) ** (exponent - 1) / (exponent - 1)
        return float(masses @ ((factor - 1) ** 2 * r**2 / (2 * step) + inner + 0.5 * rate * (factor * r) ** 2))

    least = objective(best + 0 * y, 0 * y)
    source = numpy_generator(3)
    for _ in range(200):
        coefficients = source.normal(size=4) * 10 ** -source.uniform(1.5, 3.5)
        bump = np.polynomial.polynomial.polyval(bounded, coefficients)
        slope = np.polynomial.polynomial.polyval(bounded, np.polynomial.polynomial.polyder(coefficients))
        assert objective(best + bump, slope * -2 * y**2 * bounded**2) > least


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("dim", "exponent"), [(2, 2.0), (3, 0.8)])
def test_equivariance_under_motions_and_units(dim, exponent, order):
    law, energy = instance(dim, exponent)
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator(8), dtype=torch.float64))
    shift = torch.randn(dim, generator=generator(9), dtype=torch.float64)
    length, duration, step, power = 3.0, 0.4, 0.1, dim * (exponent - 1) + 2
    moved = Barenblatt(length * turn @ law.mean + shift, length**2 * turn @ law.shape @ turn.T, exponent)
    potential = energy.potential
    well = Quadratic(turn @ potential.precision @ turn.T / duration, length * turn @ potential.centre + shift)
    same = EllipticalEnergy(well, PowerEntropy(exponent, 0.7 * length**power / duration), 0.4 / duration)
    one, other = ExactSteps(energy, step, order)(law), ExactSteps(same, duration * step, order)(moved)
    torch.testing.assert_close(other.shape, length**2 * turn @ one.shape @ turn.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.mean, length * turn @ one.mean + shift, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("exponent", [1 + 1e-6, 1 - 1e-6])
def test_near_exponent_one_it_is_the_gaussian_step(exponent, order):
    dim, source = 3, generator(3)
    covariance, well = random_spd(spread(0.3, 2.0, dim), source), random_spd(spread(0.5, 3.0, dim), source)
    problem = McKeanVlasov().build(dim, 0, generator(0))
    entropy = EllipticalEnergy(Quadratic(well, zeros(dim)), problem.flow.energy.internal, 0.3)
    power = replace(entropy, internal=PowerEntropy(exponent))
    start = Barenblatt(zeros(dim), covariance * 2 / abs(exponent - 1), exponent)
    limit = ExactSteps(entropy, 0.1, order)(Gaussian(zeros(dim), covariance))
    found = ExactSteps(power, 0.1, order)(start).moments()[1]
    torch.testing.assert_close(found, matrix_of(limit), rtol=2e-5, atol=1e-6)


def test_a_tilt_moves_the_mean_alone():
    slope = torch.tensor([0.5, -1.0], dtype=torch.float64)
    law = Barenblatt(torch.ones(2, dtype=torch.float64), torch.diag(slope.square() + 1), 2.0)
    for order in (1, 2):
        one, other = (
            ExactSteps(EllipticalEnergy(each, PowerEntropy(2.0), 0.0), 0.1, order)(law)
            for each in (Linear(slope), Flat(2))
        )
        assert torch.equal(one.shape, other.shape)
        torch.testing.assert_close(one.mean, law.mean - 0.1 * slope)
