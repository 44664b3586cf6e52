"""JKO steps among Gaussians in any potential, and conditioning by moments."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize

from false_alarms import sigmas
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.observations import Coordinatewise, GaussianNoise, Likelihood, LinearObservation, StudentNoise
from problems.potentials import Quadratic, RingWell, SineWell
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian
from seeding import fixed_generator, generator
from solvers.gaussian.assumed_density import AssumedGaussian, restricted_step
from solvers.gaussian.exact_step import jko_moments
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.gaussian.quadrature import hermite

CPU = torch.device("cpu")


def gaussian(mean, covariance):
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64))


def test_quadratic_step_is_the_exact_one():
    law = gaussian([0.3, -0.5], [[1.0, 0.4], [0.4, 0.6]])
    potential = Quadratic(
        torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    )
    (expected,) = jko_moments(law, potential, 1.7, 0.2, (1,))
    torch.testing.assert_close(restricted_step(law, potential, 1.7, 0.2), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("potential", [SineWell(1), RingWell(1)])
def test_step_minimises_the_functional_among_gaussians(potential):
    """(m - m₀)²/2h + (σ - σ₀)²/2h + E V - β⁻¹ log σ, by a general optimiser."""
    law, step_size, beta = gaussian([0.4], [[0.49]]), 0.1, 1.5
    nodes, log_weights = hermite(1)

    def functional(unknown):
        mean, log_std = unknown
        std = math.exp(log_std)
        energy = float(log_weights.exp() @ potential.value(mean + std * nodes))
        return ((mean - 0.4) ** 2 + (std - 0.7) ** 2) / (2 * step_size) + energy - log_std / beta

    found = minimize(functional, [0.4, math.log(0.7)], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    mean, covariance = restricted_step(law, potential, beta, step_size)
    assert float(mean) == pytest.approx(found.x[0], abs=1e-6)
    assert math.sqrt(float(covariance)) == pytest.approx(math.exp(found.x[1]), abs=1e-6)


def test_conditioning_takes_the_moments_of_the_product():
    """Against importance weights of a million draws, within standard errors at their effective size."""
    law = gaussian([0.5, -0.2], [[1.0, 0.3], [0.3, 0.5]])
    value = torch.tensor([0.6, 0.1], dtype=torch.float64)
    likelihood = Likelihood(value, Coordinatewise("tanh"), StudentNoise(0.5, 3))
    estimate, log_evidence, share = AssumedGaussian(law).condition(likelihood, generator())
    draws = law.sample(1_000_000, generator(1))
    weights = likelihood(draws).exp()
    mean = (weights @ draws) / weights.sum()
    assert log_evidence == pytest.approx(math.log(float(weights.mean())), abs=5e-3)
    assert share == pytest.approx(float(weights.mean() ** 2 / (weights**2).mean()), rel=0.01)
    assert bool(((estimate.law.mean - mean).abs() < sigmas(2) / math.sqrt(1e6 * share)).all())
    centred = draws - mean
    spread = (weights[:, None] * centred).T @ centred / weights.sum()
    torch.testing.assert_close(estimate.law.covariance, spread, rtol=0, atol=0.01)
    assert isinstance(estimate, AssumedGaussian)


def test_linear_observations_are_exact():
    law = gaussian([0.5], [[1.5]])
    likelihood = Likelihood(
        torch.tensor([2.0], dtype=torch.float64),
        LinearObservation(torch.eye(1, dtype=torch.float64)),
        GaussianNoise(0.4),
    )
    exact = condition_gaussian(law, likelihood)
    estimate, log_evidence, _ = AssumedGaussian(law).condition(likelihood, generator())
    torch.testing.assert_close(estimate.law.moments(), exact.law.moments())
    assert log_evidence == exact.log_evidence


def test_observation_that_no_node_sees_is_impossible():
    far = Likelihood(torch.tensor([1e4], dtype=torch.float64), Coordinatewise("cubic"), GaussianNoise(0.01))
    with pytest.raises(ImpossibleObservation, match="no mass that a quadrature could see"):
        AssumedGaussian(gaussian([0.0], [[1.0]])).condition(far, generator())


def test_filter_of_a_linear_problem_converges_to_kalman():
    """Second order extrapolates: a quarter of the error at half the step, in five dimensions."""
    problem = LinearFiltering(observation_times=(0.0, 0.4, 0.4, 1.2), seen=2).build(5, 3, fixed_generator(3))
    errors = {}
    for order in (1, 2):
        for h in (0.1, 0.05):
            solution = GaussianJKO(step_size=h, order=order).solve(problem, generator(), CPU)
            errors[order, h] = abs(solution.diagnostics["log_evidence"] - problem.log_evidence(2.0))
            exact = problem.truth(2.0)
            difference = solution.estimates[0].law.mean - exact.mean
            assert float(difference.abs().max()) < 0.05
    assert errors[1, 0.1] / errors[1, 0.05] == pytest.approx(2, rel=0.3)
    assert errors[2, 0.1] / errors[2, 0.05] == pytest.approx(4, rel=0.5)


def test_dimensions_that_quadrature_cannot_reach_are_declined():
    solver = GaussianJKO()
    assert solver.unsupported(LinearFiltering().build(6, 0, generator())) is None
    plane = NonlinearFiltering(instance="random", observation_times=(0.5,)).build(2, 0, generator())
    assert solver.unsupported(plane) is None
