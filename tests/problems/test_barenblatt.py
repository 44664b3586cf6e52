import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from false_alarms import is_share, sigmas
from problems.barenblatt import Barenblatt, ball, log_normaliser, log_pressure
from problems.devices import to_device
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.laws import Gaussian
from problems.linear_algebra import random_spd, spread
from seeding import generator

EXPONENTS = (2.0, 3.0, 1.2, 0.85)
DRAWS = 100_000


def ellipsoid(exponent, dim=3, seed=0):
    source = generator(seed)
    mean = torch.randn(dim, generator=source, dtype=torch.float64)
    return Barenblatt(mean, random_spd(spread(0.3, 3.0, dim), source), exponent)


def line(exponent, radius=1.5):
    return ball(torch.tensor([0.7], dtype=torch.float64), radius, exponent)


def integral(law, function):
    """Return ∫ function(x, ρ(x)) dx on the line by scipy's adaptive quadrature."""

    def integrand(x):
        point = torch.tensor([[x]], dtype=torch.float64)
        return function(x, float(law.log_prob(point).exp()))

    reach = law.support_radius
    centre = float(law.mean)
    ends = (-np.inf, np.inf) if reach is None else (centre - reach, centre + reach)
    return quad(integrand, *ends, epsabs=1e-11, epsrel=1e-11, limit=400)[0]


@pytest.mark.parametrize("exponent", [2.0, 3.0, 1.2, 0.85, 0.6])
def test_mass_moments_and_energies_on_the_line_by_quadrature(exponent):
    law = line(exponent)
    mean, covariance = (float(moment) for moment in law.moments())
    assert integral(law, lambda x, rho: rho) == pytest.approx(1, abs=1e-8)
    assert integral(law, lambda x, rho: x * rho) == pytest.approx(mean, abs=1e-7)
    assert integral(law, lambda x, rho: (x - mean) ** 2 * rho) == pytest.approx(covariance, rel=1e-6)
    entropy = integral(law, lambda x, rho: rho * math.log(rho) if rho > 0 else 0.0)
    assert law.internal_energy(Entropy(0.5)) == pytest.approx(2 * entropy, rel=1e-6, abs=1e-7)
    for power in (exponent, 1.7):
        stated = law.internal_energy(PowerEntropy(power, 0.3))
        assert stated == pytest.approx(0.3 / (power - 1) * integral(law, lambda x, rho: rho**power), rel=1e-6)  # noqa: B023


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dim", [2, 5])
def test_energies_in_more_dimensions_are_means_over_draws(exponent, dim):
    law = ellipsoid(exponent, dim)
    log_density = law.log_prob(law.sample(DRAWS, generator(1)))
    for energy in (Entropy(2.0), PowerEntropy(exponent, 0.4), PowerEntropy(1.5)):
        values = energy.energy(log_density)
        error = sigmas(12) * float(values.std()) / math.sqrt(DRAWS)
        assert float(values.mean()) == pytest.approx(law.internal_energy(energy), abs=error)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_draws_have_the_moments(exponent):
    law = ellipsoid(exponent)
    draws = law.sample(DRAWS, generator(2))
    mean, covariance = law.moments()
    centred = draws - mean
    products = centred[:, :, None] * centred[:, None, :]
    for found, stated in ((draws, mean), (products, covariance)):
        error = sigmas(12) * found.std(0) / math.sqrt(DRAWS)
        assert bool(((found.mean(0) - stated).abs() <= error).all())


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_draws_have_the_marginals_and_the_radii(exponent):
    law = ellipsoid(exponent)
    levels = torch.tensor([0.02, 0.3, 0.5, 0.9, 0.999], dtype=torch.float64)
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.0, -0.8]], dtype=torch.float64)
    draws = law.sample(DRAWS, generator(3))
    for direction, quantiles in zip(directions, law.marginal_quantiles(directions, levels), strict=True):
        for level, quantile in zip(levels.tolist(), quantiles.tolist(), strict=True):
            assert is_share(int((draws @ direction < quantile).sum()), DRAWS, level, level, figures=15)
    assert law.radial_quantiles(levels) is None
    sphere = ball(law.mean, 1.7, exponent)
    radii = (sphere.sample(DRAWS, generator(4)) - sphere.mean).norm(dim=1)
    for level, quantile in zip(levels.tolist(), sphere.radial_quantiles(levels).tolist(), strict=True):
        assert is_share(int((radii < quantile).sum()), DRAWS, level, level, figures=15)


@pytest.mark.parametrize("exponent", [2.0, 1.1, 5.0])
def test_all_mass_is_within_the_support(exponent):
    law = ellipsoid(exponent, dim=4)
    draws = law.sample(DRAWS, generator(5))
    assert bool(torch.isfinite(law.log_prob(draws)).all())
    radius = law.support_radius
    assert float((draws - law.mean).norm(dim=1).max()) <= radius * (1 + 1e-12)
    values, axes = torch.linalg.eigh(law.shape)
    edge = law.mean + values[-1].sqrt() * axes[:, -1]
    assert float((edge - law.mean).norm()) == pytest.approx(radius)
    just_inside, outside = law.mean + (1 - 1e-9) * (edge - law.mean), law.mean + (1 + 1e-9) * (edge - law.mean)
    found = law.log_prob(torch.stack([just_inside, outside]))
    assert math.isfinite(float(found[0]))
    assert float(found[1]) == -math.inf
    assert ellipsoid(0.85).support_radius is None


def test_gradients_of_the_density_are_numbers_everywhere():
    law = ellipsoid(3.0, dim=2)
    points = torch.stack([law.mean + 0.1, law.mean + 100.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(points)[0], points, retain_graph=True)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient[0] != 0).all())


def test_heavy_tails_have_no_covariance_below_their_exponent():
    """At m = D/(D+2) the second moment is lost, and with it the energy of that exponent."""
    assert bool(torch.isfinite(ellipsoid(0.61).moments()[1]).all())
    heavy = ellipsoid(0.59)
    assert bool(torch.isinf(heavy.moments()[1].diagonal()).all())
    assert heavy.internal_energy(PowerEntropy(0.59)) == -math.inf
    assert math.isfinite(heavy.internal_energy(Entropy()))
    assert math.isfinite(ellipsoid(0.61).internal_energy(PowerEntropy(0.61)))
    with pytest.raises(ValueError, match=r"in dimension 3 W2 is infinite at exponent 0\.59"):
        heavy.wasserstein(heavy)


@pytest.mark.parametrize("exponent", [1 + 1e-5, 1 - 1e-5])
def test_near_exponent_one_it_is_a_gaussian(exponent):
    dim, covariance = 3, random_spd(spread(0.3, 3.0, 3), generator(6))
    law = Barenblatt(torch.zeros(dim, dtype=torch.float64), covariance * 2 / abs(exponent - 1), exponent)
    gaussian = Gaussian(law.mean, covariance)
    x = gaussian.sample(200, generator(7))
    torch.testing.assert_close(law.log_prob(x), gaussian.log_prob(x), rtol=0, atol=2e-3)
    torch.testing.assert_close(law.moments()[1], covariance, rtol=1e-4, atol=0)
    entropy = float(torch.linalg.slogdet(covariance)[1]) / 2 + 1.5 * math.log(2 * math.pi * math.e)
    assert law.internal_energy(Entropy()) == pytest.approx(-entropy, abs=1e-4)
    excess = law.internal_energy(PowerEntropy(exponent)) - 1 / (exponent - 1)
    assert excess == pytest.approx(-entropy, abs=1e-3)


def test_wasserstein_between_balls_and_by_the_bures_formula():
    for exponent, dim in ((2.0, 1), (3.0, 4), (0.85, 3)):
        zero = torch.zeros(dim, dtype=torch.float64)
        one, other = ball(zero, 1.0, exponent), ball(zero, 1.3, exponent)
        spread_of = dim * abs(1 / (dim + 2 / (exponent - 1) + 2))
        assert one.wasserstein(other) == pytest.approx(0.3 * math.sqrt(spread_of), rel=1e-12)
        assert ball(zero, 1 + 1e-9, exponent).wasserstein(one) == pytest.approx(1e-9 * math.sqrt(spread_of), rel=1e-6)
    one, other = ellipsoid(2.0, seed=1), ellipsoid(2.0, seed=2)
    roots = [np.linalg.cholesky(law.moments()[1].numpy()) for law in (one, other)]
    overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    square = float((one.mean - other.mean).square().sum() + one.moments()[1].trace() + other.moments()[1].trace())
    assert one.wasserstein(other) == pytest.approx(math.sqrt(square - 2 * overlap), rel=1e-10)
    assert one.wasserstein(other) == pytest.approx(other.wasserstein(one), rel=1e-10)


def test_published_constants():
    """κ = 3 on the line, 8/π in the plane, at m = 2; unit-mass Barenblatt constants by their radius at t = 1."""
    known = {(1, 2): 3.0, (2, 2): 8 / math.pi, (3, 2): 2.3873241, (6, 2): 3.0961473, (2, 3): 0.6839180}
    for (dim, exponent), value in known.items():
        assert math.exp(log_pressure(float(exponent), dim)) == pytest.approx(value, rel=1e-7)
    # (1/t^(n b)) (C - k |x|²/t^(2b))₊^p at t = 1: C = k R², R^q = κq, k = (m-1)/(2mq)
    constants = {(1, 2): 0.3605624, (1, 3): 0.1837763, (2, 2): 0.1994711, (3, 2): 0.1348101, (6, 2): 0.0697153}
    for (dim, exponent), value in constants.items():
        power = dim * (exponent - 1) + 2
        radius = (power * math.exp(log_pressure(float(exponent), dim))) ** (1 / power)
        assert (exponent - 1) / (2 * exponent * power) * radius**2 == pytest.approx(value, abs=1e-7)
    assert math.exp(log_normaliser(2.0, 1)) == pytest.approx(0.75)


def test_single_precision_draws_the_same_points():
    law = ellipsoid(2.0)
    single = to_device(law, torch.device("cpu"), torch.float32)
    assert single.sample(5, generator()).dtype == torch.float32
    assert single.log_prob(single.sample(50, generator())).dtype == torch.float32


def test_draws_depend_on_the_generator_only():
    law = ellipsoid(3.0)
    before = torch.random.get_rng_state()
    first = law.sample(100, generator(5))
    torch.manual_seed(77)
    assert torch.equal(first, law.sample(100, generator(5)))
    assert not torch.equal(first, law.sample(100, generator(6)))
    torch.random.set_rng_state(before)


class Other(InternalEnergy):
    def energy(self, log_density):
        return log_density

    pressure = conjugate = energy


ZERO, ONE = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ZERO, ONE, -1.0), "power entropy: exponent must be a finite number > 0, got -1"),
        ((ZERO, ONE, 0.0), "exponent must be a finite number > 0, got 0"),
        ((ZERO, ONE, 1.0), "exponent must not be 1"),
        (
            (torch.zeros(3).double(), torch.eye(3).double(), 0.3),
            r"Barenblatt: in dimension 3 .* above 1 - 2/3 = 0.3333",
        ),
        ((ZERO, torch.eye(3).double(), 2.0), r"mean of shape \(2,\) does not fit S of shape \(3, 3\)"),
        ((ZERO[0], ONE, 2.0), r"mean of shape \(\) does not fit"),
        ((ZERO, -ONE, 2.0), "S must be positive definite"),
        ((ZERO * math.nan, ONE, 2.0), "mean holds 2"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        Barenblatt(*arguments)
    assert "\n" not in str(caught.value)


def test_bad_radii_pairs_and_energies():
    for radius in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="Barenblatt: radius must be a finite number > 0"):
            ball(ZERO, radius, 2.0)
    with pytest.raises(ValueError, match="same exponent and dimension"):
        ball(ZERO, 1.0, 2.0).wasserstein(ball(ZERO, 1.0, 3.0))
    with pytest.raises(TypeError, match="must be an Entropy or a PowerEntropy"):
        ball(ZERO, 1.0, 2.0).internal_energy(Other())
