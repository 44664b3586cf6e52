"""Averages of a logistic regression over a Gaussian, against quadrature, automatic derivatives and draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from problems.gaussian_expectations import KnownUnderGaussians
from problems.laws import Gaussian
from problems.posterior.logistic_expectations import averaged_loss, kolmogorov_density
from problems.posterior.logistic_posterior import LogisticPosterior
from seeding import generator


def posterior(cases=30, d=3, weight=1.0):
    features = torch.randn(cases, d, generator=generator(), dtype=torch.float64)
    return LogisticPosterior(features, 2.5, 0.7, likelihood_weight=weight)


def law(dim=4, seed=1):
    root = 0.5 * torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
    return torch.randn(dim, generator=generator(seed + 1), dtype=torch.float64), root @ root.T + 0.1 * torch.eye(dim)


def test_kolmogorov_density_is_that_of_scipy():
    k = np.geomspace(0.2, 4, 400)  # scipy itself errs by 3e-8 where it changes series
    np.testing.assert_allclose(kolmogorov_density(k), stats.kstwobign.pdf(k), rtol=1e-7, atol=1e-12)


def test_without_spread_it_is_the_loss_itself():
    margins = torch.linspace(-60, 60, 4001, dtype=torch.float64)
    loss, misfit, curvature = averaged_loss(margins, torch.zeros_like(margins))
    m = margins.numpy()
    np.testing.assert_allclose(loss.numpy(), np.logaddexp(0, -m), rtol=0, atol=2e-10)
    np.testing.assert_allclose(misfit.numpy(), special.expit(-m), rtol=0, atol=2e-11)
    np.testing.assert_allclose(curvature.numpy(), special.expit(m) * special.expit(-m), rtol=0, atol=2e-11)


@pytest.mark.parametrize("mean", [-30.0, -1.3, 0.0, 4.0])
@pytest.mark.parametrize("deviation", [0.1, 1.0, 8.0, 100.0])
def test_averages_are_those_of_adaptive_quadrature(mean, deviation):
    def average(function):
        def integrand(m):
            return function(m) * stats.norm.pdf(m, mean, deviation)

        ends = sorted({mean - 12 * deviation, *(x for x in (-40.0, 0.0, 40.0) if abs(x - mean) < 12 * deviation), mean})
        ends.append(mean + 12 * deviation)
        pieces = itertools.pairwise(ends)
        return math.fsum(
            integrate.quad(integrand, *piece, epsabs=1e-13, epsrel=1e-13, limit=200)[0] for piece in pieces
        )

    exact = (
        average(lambda m: np.logaddexp(0, -m)),
        average(lambda m: special.expit(-m)),
        average(lambda m: special.expit(m) * special.expit(-m)),
    )
    found = averaged_loss(*torch.tensor([[mean], [deviation**2]], dtype=torch.float64))
    for value, truth in zip(found, exact, strict=True):
        assert float(value) == pytest.approx(truth, rel=1e-10, abs=2e-11)


@pytest.mark.parametrize("weight", [1.0, 3.5])
def test_each_is_the_derivative_of_the_one_before(weight):
    """E ∇V = ∂E V/∂m and E ∇²V = ∂E ∇V/∂m = 2 ∂E V/∂Σ, by central differences."""
    potential = posterior(weight=weight)
    mean, covariance = law()
    value, gradient, hessian = potential.expectations(mean, covariance)
    size = 1e-5
    for place in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[place] = size
        forth, back = (potential.expectations(mean + sign * step, covariance) for sign in (1, -1))
        assert (forth.value - back.value) / (2 * size) == pytest.approx(float(gradient[place]), rel=1e-7, abs=1e-7)
        torch.testing.assert_close((forth.gradient - back.gradient) / (2 * size), hessian[place], rtol=1e-7, atol=1e-7)
    for seed in range(3):
        tangent = torch.randn(4, 4, generator=generator(seed + 5), dtype=torch.float64)
        tangent = size * (tangent + tangent.T)
        forth, back = (potential.expectations(mean, covariance + sign * tangent) for sign in (1, -1))
        assert (forth.value - back.value) / 2 == pytest.approx(0.5 * float(torch.sum(hessian * tangent)), rel=1e-6)
    assert math.isfinite(value)


def test_averages_over_draws_agree():
    """Value, gradient and Hessian at 40,000 antithetic draws; five standard errors of each of 21 figures."""
    potential = posterior()
    mean, covariance = law()
    draws = Gaussian(mean, covariance).sample(20_000, generator(9))
    found = potential.expectations(mean, covariance)
    for function, exact in (
        (potential.value, torch.tensor(found.value).double()),
        (potential.gradient, found.gradient),
        (potential.hessian, found.hessian),
    ):
        sampled = 0.5 * (function(draws) + function(2 * mean - draws))
        error = (sampled.mean(0) - exact).abs()
        assert bool((error < 5 * sampled.std(0) / math.sqrt(len(draws))).all())


def test_over_a_point_it_is_the_potential():
    potential = posterior(cases=5000)  # more than a block of cases
    mean, _ = law()
    found = potential.expectations(mean, torch.zeros(4, 4, dtype=torch.float64))
    assert found.value == pytest.approx(float(potential.value(mean[None])), abs=1e-7)
    torch.testing.assert_close(found.gradient, potential.gradient(mean[None])[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(found.hessian, potential.hessian(mean[None])[0], rtol=0, atol=1e-7)
    assert isinstance(potential, KnownUnderGaussians)
