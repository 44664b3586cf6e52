import math

import pytest
import torch

from false_alarms import sigmas
from problems.laws import Gaussian
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.dual.reference_pairs import Guess, coupled_pairs, quadratic_guess
from solvers.gaussian.exact_step import jko_moments


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def skewed(dim, seed=0):
    factor = normals(dim, dim, seed=seed)
    return Gaussian(normals(dim, seed=seed + 1), factor @ factor.T / dim + 0.2 * torch.eye(dim).double())


def test_guess_is_the_exact_step_of_a_gaussian_in_a_quadratic_potential():
    problem = OrnsteinUhlenbeck(times=(0.1,)).build(5, 0, generator())
    start = skewed(5)
    guess = quadratic_guess(start.mean, start.covariance, problem.flow.potential, 0.1, 1.0, generator())
    ((mean, covariance),) = jko_moments(start, problem.flow.potential, 1.0, 0.1, [1])
    torch.testing.assert_close(guess.stepped, mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(guess.map @ start.covariance @ guess.map.T, covariance, rtol=0, atol=1e-9)
    torch.testing.assert_close(guess.map, guess.map.T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 3])
def test_pairs_have_the_densities_that_they_are_weighted_by(dim):
    law = skewed(dim, seed=3)
    identity = torch.eye(dim).double()
    guess = Guess(law.mean, law.covariance, law.mean + 0.3, 0.8 * identity)
    pairs = coupled_pairs(guess, 0.2, 100_000, generator())
    after = Gaussian(guess.stepped, 0.64 * law.covariance + 0.16 * identity)
    for x, marginal, target in ((pairs.x, pairs.of_x, after), (pairs.y, pairs.of_y, law)):
        weights = (target.log_prob(x) - marginal.log_prob(x)).exp()
        error = float(weights.std()) / math.sqrt(len(x))
        assert abs(float(weights.mean()) - 1) < sigmas(2) * error
        assert 0.5 < float(weights.sum() ** 2 / (weights * weights).sum()) / len(x) < 1
        assert float((marginal.region.gauge(x) > 1).double().mean()) < 0.05
    residual = pairs.x - guess.stepped - 0.8 * (pairs.y - law.mean)
    torch.testing.assert_close(residual.T @ residual / 100_000, 0.16 * identity, rtol=0, atol=0.005)
