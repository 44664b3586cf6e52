"""The log gas on the line: published densities, particles, the energy's decay, and its rest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import wofz

from false_alarms import sigmas
from problems.interactions import LogarithmicInteraction
from problems.laws import Gaussian
from problems.references.log_gas import (
    FreeGaussian,
    Semicircle,
    faddeeva_slope,
    gaussian_energy,
    log_gas_marginal,
    semicircle_energy,
)
from seeding import generator

STANDARD = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
ONE = torch.ones(1, 1, dtype=torch.float64)


def followed(x, time, steps=60):
    """Return equal particles (n, 1) of the interaction at a later time, by the Runge-Kutta method of order 4."""
    interaction, h = LogarithmicInteraction(1), time / steps

    def velocity(x):
        return -interaction.mean_gradient(x, x)

    for _ in range(steps):
        a = velocity(x)
        b = velocity(x + h / 2 * a)
        c = velocity(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + velocity(x + h * c))
    return x


@pytest.mark.parametrize(("time", "peak"), [(0.25, 0.403708), (0.5, 0.412625), (1.0, 0.429843), (2.0, 0.446347)])
def test_density_in_the_middle_from_a_normal_law(time, peak):
    law = log_gas_marginal(STANDARD, time)
    assert float(law.log_prob(torch.zeros(1, 1, dtype=torch.float64)).exp()) == pytest.approx(peak, abs=1e-6)


@pytest.mark.parametrize("time", [0.01, 0.5, 1.0])
def test_density_quantiles_and_moments_are_of_one_law(time):
    law = FreeGaussian(0.7, math.exp(-2 * time), 0.5 * (1 - math.exp(-2 * time)))
    x = 0.7 + torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None]
    density = law.log_prob(x).exp().numpy() * 0.002
    centred = x[:, 0].numpy() - 0.7
    assert density.sum() == pytest.approx(1, abs=1e-9)
    assert density @ centred**2 == pytest.approx(float(law.moments()[1]), abs=1e-8)
    levels = torch.tensor([0.003, 0.2, 0.5, 0.97], dtype=torch.float64)
    places = law.marginal_quantiles(ONE, levels)[0]
    nodes, weights = np.polynomial.legendre.leggauss(1000)
    for level, place in zip(levels.tolist(), places.tolist(), strict=True):
        half = 0.5 * (place + 8)
        inside = law.log_prob(torch.from_numpy(-8 + half * (1 + nodes))[:, None]).exp().numpy()
        assert half * weights @ inside == pytest.approx(level, abs=1e-10)
    flipped = law.marginal_quantiles(-ONE, 1 - levels)[0]
    torch.testing.assert_close(flipped, -places, atol=1e-10, rtol=0)
    draws = law.sample(20000, generator(1))
    error = sigmas(3) * (levels[:3] * (1 - levels[:3]) / 20000).sqrt()
    assert bool((((draws < places[:3]).double().mean(0) - levels[:3]).abs() < error).all())


def test_particles_follow_it():
    levels = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    start = STANDARD.mean + 2**0.5 * torch.erfinv(2 * levels - 1)
    found = followed(start[:, None], 0.5)[:, 0]
    exact = log_gas_marginal(STANDARD, 0.5).marginal_quantiles(ONE, levels)[0]
    # particles that do not act on themselves aim at a variance lower by 1/(2n)
    assert float((found - exact).square().mean().sqrt()) < 2e-3
    semicircle = Semicircle(0.0, 1.0)
    found = followed(semicircle.marginal_quantiles(ONE, levels)[0][:, None], 0.5)[:, 0]
    radius = math.sqrt(2 - math.exp(-1.0))
    assert log_gas_marginal(semicircle, 0.5).radius == pytest.approx(radius, rel=1e-14)
    exact = Semicircle(0.0, radius).marginal_quantiles(ONE, levels)[0]
    assert float((found - exact).square().mean().sqrt()) < 3e-3


def test_energy_falls_at_the_rate_of_the_velocity():
    """dF/dt = -E v², v = -x + ∫ρ/(x - y): of a semicircle of radius R, v = (2/R² - 1) x."""
    for energy, velocity in (
        (lambda t: log_gas_marginal(STANDARD, t).free_energy(), None),
        (lambda t: semicircle_energy(log_gas_marginal(Semicircle(0.0, 1.0), t).radius), 1.0),
    ):
        rate = (energy(0.5005) - energy(0.4995)) / 1e-3
        if velocity:
            square = 2 - math.exp(-1.0)
            expected = -((2 / square - 1) ** 2) * square / 4
        else:
            law = log_gas_marginal(STANDARD, 0.5)
            _, x, masses, u = law._cells
            expected = -float((((x - u) / law.added - x) ** 2 * masses).sum())
        assert rate == pytest.approx(expected, rel=1e-5)
    assert log_gas_marginal(STANDARD, 1e-6).free_energy() == pytest.approx(gaussian_energy(1.0), abs=1e-6)
    assert semicircle_energy(2**0.5) == pytest.approx(0.375 + 0.25 * math.log(2), abs=1e-14)
    assert log_gas_marginal(STANDARD, 3.0).free_energy() == pytest.approx(semicircle_energy(2**0.5), abs=1e-5)


@pytest.mark.parametrize("share", [1e-6, 1e-8, 1e-10, 1e-100])
def test_little_is_left_of_a_normal_law_far_on(share):
    """Few cells are needed, since its own free cumulants beyond the first, (share/2)², ..., are no longer seen."""
    law, semicircle = FreeGaussian(0.0, 0.5 * share, 0.5), Semicircle(0.0, math.sqrt(2 + 2 * share))
    assert len(law._cells[0]) < 1100
    x = torch.linspace(-1.4, 1.4, 101, dtype=torch.float64)[:, None]
    torch.testing.assert_close(law.log_prob(x), semicircle.log_prob(x), atol=1e-9, rtol=0)
    levels = torch.tensor([0.01, 0.3, 0.5, 0.99], dtype=torch.float64)
    quantiles = semicircle.marginal_quantiles(ONE, levels)
    torch.testing.assert_close(law.marginal_quantiles(ONE, levels), quantiles, atol=1e-10, rtol=0)
    assert law.free_energy() == pytest.approx(semicircle_energy(semicircle.radius), abs=1e-7)


@pytest.mark.parametrize("time", [10.0, 20.0, 372.0, 400.0, 1e4])
def test_at_late_times_the_law_is_a_semicircle(time):
    for initial in (STANDARD, Semicircle(0.0, 1.0)):
        law, spread = log_gas_marginal(initial, time), 0.25 if isinstance(initial, Semicircle) else 1.0
        assert isinstance(law, Semicircle)
        assert float(law.moments()[1]) == pytest.approx(0.5 + (spread - 0.5) * math.exp(-2 * time), rel=1e-15)
    near = log_gas_marginal(Gaussian(torch.zeros(1, dtype=torch.float64), 1e-18 * STANDARD.covariance), 1e-6)
    assert near.radius == pytest.approx(2e-3, rel=1e-6)
    assert log_gas_marginal(Semicircle(0.0, 1e-9), 1e-17).radius == pytest.approx(math.sqrt(4e-17), rel=1e-1)


def test_the_density_is_settled_next_to_the_edge():
    """Where it is steep Newton's method takes more than one step."""
    law = log_gas_marginal(STANDARD, 2.0)
    u = np.linspace(0.6, 0.8, 2001)
    x, log_density, _ = law._curve(u)
    found = law.log_prob(torch.from_numpy(x)[:, None]).numpy()
    np.testing.assert_allclose(found, log_density, atol=1e-8, rtol=0)


@pytest.mark.parametrize("size", [10.01, 30.0, 1e8])
def test_the_slope_of_faddeevas_function_far_from_zero(size):
    """Against w' = 2i/√π - 2ζw with w by its continued fraction, whose leading parts cancel by hand."""
    zeta = size * np.exp(1j * np.linspace(1e-3, math.pi - 1e-3, 41))
    tail = np.zeros_like(zeta)
    for k in range(60, 1, -1):
        tail = 0.5 * k / (zeta - tail)
    # w = i/√π / (ζ - ½/(ζ - tail)), so that 1 - ζ/(ζ - c) = -c/(ζ - c) with c = ½/(ζ - tail)
    c = 0.5 / (zeta - tail)
    np.testing.assert_allclose(faddeeva_slope(zeta, wofz(zeta)), -2j / math.sqrt(math.pi) * c / (zeta - c), rtol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="semicircle: radius must be a finite number > 0"):
        Semicircle(0.0, -1.0)
    with pytest.raises(ValueError, match="free convolution: added must be a finite number > 0"):
        FreeGaussian(0.0, 1.0, 0.0)
