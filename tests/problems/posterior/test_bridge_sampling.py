"""Bridge sampling: known normalisers, quadrature, chains, its standard error; the marginal of the weights."""

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions, sigmas, spread_error
from problems.laws import Gaussian
from problems.posterior.bridge_sampling import acceptance_ratio, log_normaliser
from problems.posterior.logistic_posterior import LogisticPosterior
from seeding import generator, numpy_generator


def gaussian(dim):
    mixing = torch.randn(dim, dim + 4, generator=generator(1), dtype=torch.float64)
    return Gaussian(torch.linspace(-3, 3, dim, dtype=torch.float64), mixing @ mixing.T)


@pytest.mark.parametrize("dim", [1, 5, 40])
def test_gaussian_of_known_mass(dim):
    """Within its standard errors of the constant, which are themselves below .1."""
    law = gaussian(dim)
    found = log_normaliser(lambda x: law.log_prob(x) - 123.4, law.sample(2000, generator(2)), generator(3))
    assert abs(found.log_value + 123.4) < sigmas() * found.standard_error
    assert found.standard_error < 0.1


def student(x, degrees=5.0):
    return -0.5 * (degrees + 2) * torch.log1p((x * x).sum(1) / degrees)


def student_draws(n, seed, degrees=5):
    normals = torch.randn(n, 2 + degrees, generator=generator(seed), dtype=torch.float64)
    return normals[:, :2] / ((normals[:, 2:] ** 2).sum(1, keepdim=True) / degrees).sqrt()


@repetitions(300, 5000)
def test_standard_error_covers_a_law_that_is_not_gaussian(repetitions):
    """A bivariate t of 5 degrees of freedom has mass 2π: the mean over repetitions, and their spread within 10 %."""
    found = [
        log_normaliser(student, student_draws(1000, seed), generator(100_000 + seed)) for seed in range(repetitions)
    ]
    values = np.array([each.log_value for each in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() - math.log(2 * math.pi)) < mean_error(values)
    stated = np.mean([each.standard_error for each in found])
    assert spread / stated == pytest.approx(1, abs=0.1 + spread_error(repetitions))


@repetitions(100, 2000)
def test_standard_error_knows_that_both_halves_share_draws(repetitions):
    """A Gaussian is its own proposal but for the fit: the jackknife of what is quadratic is √2 too large, no less."""
    law = gaussian(3)
    found = [
        log_normaliser(law.log_prob, law.sample(800, generator(seed)), generator(100_000 + seed))
        for seed in range(repetitions)
    ]
    values = np.array([each.log_value for each in found])
    stated = np.mean([each.standard_error for each in found])
    assert abs(values.mean()) < mean_error(values)
    assert 0.6 / (1 + spread_error(repetitions)) < values.std(ddof=1) / stated < 1 + spread_error(repetitions)


@repetitions(60, 1000)
def test_standard_error_knows_of_a_chain(repetitions):
    """Draws of a chain with autocorrelation .95^k on a t law's radius: the spread of repetitions within 25 %."""
    n = 4000

    def chain(seed):
        rng = numpy_generator(seed)
        noise = rng.standard_normal((n + 200, 7)) * math.sqrt(1 - 0.95**2)
        state = rng.standard_normal(7)
        path = np.empty((n, 7))
        for step, kick in enumerate(noise):
            state = 0.95 * state + kick
            path[max(0, step - 200)] = state
        return torch.from_numpy(path[:, :2] / np.sqrt((path[:, 2:] ** 2).sum(1, keepdims=True) / 5))

    found = [log_normaliser(student, chain(seed), generator(seed)) for seed in range(repetitions)]
    spread = np.std([each.log_value for each in found], ddof=1)
    stated = np.mean([each.standard_error for each in found])
    assert spread / stated == pytest.approx(1, abs=0.25 + spread_error(repetitions))
    independent = log_normaliser(student, student_draws(n, 5), generator(6)).standard_error
    assert spread > 1.5 * independent


@pytest.fixture
def posterior():
    features = torch.randn(60, 2, generator=generator(7), dtype=torch.float64)
    signed = (
        features * torch.sign(features @ torch.ones(2, dtype=torch.float64) + features[:, :1].mean() + 1.2)[:, None]
    )
    return LogisticPosterior(signed, 1.0, 100.0)


def grid(low, high, count):
    nodes = torch.linspace(low, high, count, dtype=torch.float64)
    return nodes, float(nodes[1] - nodes[0])


def test_marginal_of_the_weights_is_the_integral_over_the_precision(posterior):
    weights = torch.tensor([[0.0, 0.0], [0.7, -1.5], [30.0, 4.0]], dtype=torch.float64)
    nodes, width = grid(-40.0, 10.0, 20_001)
    for row, expected in zip(weights, posterior.log_marginal(weights), strict=True):
        points = torch.cat([row.expand(len(nodes), 2), nodes[:, None]], dim=1)
        integral = torch.logsumexp(-posterior.value(points), 0) + math.log(width)
        assert float(integral) == pytest.approx(float(expected), rel=1e-10)


def test_evidence_of_a_posterior_by_quadrature(posterior):
    """Draws of the weights by inversion on a grid; the bridge agrees with the integral."""
    nodes, width = grid(-15.0, 15.0, 601)
    cells = torch.cartesian_prod(nodes, nodes)
    log_density = posterior.log_marginal(cells)
    exact = float(torch.logsumexp(log_density, 0)) + 2 * math.log(width)
    chosen = torch.multinomial(torch.softmax(log_density, 0), 3000, replacement=True, generator=generator(8))
    jitter = torch.rand(3000, 2, generator=generator(9), dtype=torch.float64) - 0.5
    found = log_normaliser(posterior.log_marginal, cells[chosen] + width * jitter, generator(10))
    assert abs(found.log_value - exact) < sigmas() * found.standard_error + 1e-3
    assert found.standard_error < 0.05


def test_acceptance_ratio_of_equal_laws_has_no_noise():
    found = acceptance_ratio(np.full(500, 7.0), np.full(300, 7.0))
    assert found.log_value == pytest.approx(7.0, abs=1e-9)
    assert found.standard_error < 1e-9


def test_what_cannot_be_bridged_says_why():
    law = gaussian(3)
    with pytest.raises(ValueError, match="at least 800 draws are needed, got 799"):
        log_normaliser(law.log_prob, law.sample(799, generator(0)), generator(0))
    with pytest.raises(ArithmeticError, match="NaN or \\+inf at 500 of 500 points"):
        log_normaliser(lambda x: x[:, 0] * torch.nan, law.sample(1000, generator(0)), generator(0))
    with pytest.raises(ArithmeticError, match="500 draws have no finite density"):
        log_normaliser(lambda x: x[:, 0] - torch.inf, law.sample(1000, generator(0)), generator(0))
    with pytest.raises(ArithmeticError, match="do not overlap"):
        acceptance_ratio(np.full(500, 900.0), np.full(500, -900.0))
    with pytest.raises(ArithmeticError, match="do not overlap"):
        acceptance_ratio(np.full(500, 1.0), np.full(500, -np.inf))
