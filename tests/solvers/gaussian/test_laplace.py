"""Laplace's approximation: exact for Gaussians, at the mode of anything else, and honest where there is none."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian
from problems.logistic_regression import LogisticRegression
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.gaussian.laplace import Laplace
from solvers.solver import Diverged

CPU = torch.device("cpu")


def stationary(potential, start, beta=1.0, times=(1.0, 2.0)):
    initial = Gaussian(torch.tensor(start, dtype=torch.float64), torch.eye(len(start), dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), times)
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


def solve(problem, **settings):
    return Laplace(**settings).solve(problem, generator(), CPU)


def line(function):
    @dataclasses.dataclass(frozen=True, eq=False)
    class Line(Potential):
        @property
        def dim(self):
            return 1

        def value(self, x):
            return function(x[:, 0])

    return Line()


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_gaussians_are_exact(beta):
    precision = torch.tensor([[50.0, 3.0], [3.0, 0.5]], dtype=torch.float64)
    potential = Quadratic(precision, torch.tensor([1.0, -4.0], dtype=torch.float64))
    solution = solve(stationary(potential, [30.0, 7.0], beta))
    assert solution.times == (1.0, 2.0)
    for estimate in solution.estimates:
        torch.testing.assert_close(estimate.law.mean, potential.centre)
        torch.testing.assert_close(estimate.law.covariance, torch.linalg.inv(precision) / beta)
    exact = math.log(2 * math.pi / beta) - 0.5 * float(torch.logdet(precision))
    assert solution.diagnostics["log_evidence_laplace"] == pytest.approx(exact, rel=1e-12)
    assert solution.diagnostics["log_evidence_psis"] == pytest.approx(exact, rel=1e-9)
    assert solution.diagnostics["pareto_k"] == -math.inf
    assert solution.diagnostics["effective_share"] == pytest.approx(1)
    assert solution.diagnostics["newton_steps"] <= 2


def test_gamma_in_logarithms():
    """V = b e^x - a x has its mode at log(a/b) with curvature a, and ∫ e^-V = Γ(a) b^-a: Stirling's formula."""
    a, b = 30.0, 4.0
    solution = solve(stationary(line(lambda x: b * x.exp() - a * x), [0.0]))
    law = solution.estimates[0].law
    assert float(law.mean) == pytest.approx(math.log(a / b), rel=1e-9)
    assert float(law.covariance) == pytest.approx(1 / a, rel=1e-9)
    exact = math.lgamma(a) - a * math.log(b)
    assert solution.diagnostics["log_evidence_laplace"] == pytest.approx(exact, abs=1.1 / (12 * a))
    assert solution.diagnostics["log_evidence_psis"] == pytest.approx(exact, abs=2e-3)


def test_mode_of_a_posterior_is_that_of_another_optimiser():
    features = torch.randn(60, 3, generator=generator(3), dtype=torch.float64)
    potential = LogisticPosterior(features, 2.0, 3.0)
    solution = solve(stationary(potential, [3.0, -3.0, 3.0, 2.0]))

    def value(x):
        return float(potential.value(torch.from_numpy(x)[None])[0])

    best = minimize(value, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    law = solution.estimates[0].law
    np.testing.assert_allclose(law.mean.numpy(), best.x, atol=1e-5)
    torch.testing.assert_close(torch.linalg.inv(law.covariance), potential.hessian(law.mean[None])[0])
    assert solution.diagnostics["decrement"] < 1e-8
    assert solution.diagnostics["pareto_k"] < 0.7


def test_a_start_on_a_hill_is_left():
    """From x = 0.1, where (x² - 1)² has curvature < 0, to its minimum at 1."""
    law = solve(stationary(line(lambda x: 20 * (x * x - 1) ** 2), [0.1])).estimates[0].law
    assert float(law.mean) == pytest.approx(1, abs=1e-9)
    assert float(law.covariance) == pytest.approx(1 / 160, rel=1e-8)


def test_a_poor_fit_is_told_by_its_tail():
    """The mode of a separable posterior is far from its mass."""
    good = solve(stationary(line(lambda x: 10 * x.cosh()), [0.3]))
    assert good.diagnostics["pareto_k"] < 0.5
    assert good.diagnostics["effective_share"] > 0.9
    separable = solve(LogisticRegression().build(31, 0, generator()))
    assert separable.diagnostics["pareto_k"] > 0.7
    assert separable.diagnostics["effective_share"] < 0.01


@pytest.mark.parametrize(
    ("potential", "message"),
    [
        (line(torch.exp), r"no minimum of V in 50 Newton steps"),
        (line(lambda x: x**4), r"no minimum: where ∇V = 0 the Hessian has eigenvalues|no minimum of V in 50"),
        (line(lambda x: -((x - 1) ** 2)), r"no minimum"),
        (line(lambda x: (x - 3).log()), r"V or a derivative is not finite after 0 Newton steps"),
    ],
    ids=["no mode", "flat mode", "only a maximum", "undefined"],
)
def test_without_a_mode_it_says_so(potential, message):
    with pytest.raises(Diverged, match=message):
        solve(stationary(potential, [1.0]), iterations=50)


def test_unsupported():
    flow = OrnsteinUhlenbeck(instance="random").build(2, 0, generator())
    assert "stationary problems only" in Laplace().refusal(flow)
    well = Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    problem = stationary(well, [0.0])
    mixture = GaussianMixtureFlow().build(2, 0, generator())
    assert "a mixture of 5 Gaussians has no one mode" in Laplace().unsupported(mixture)
    assert Laplace().unsupported(problem) is None
    energy = dataclasses.replace(problem.flow.energy, interaction=QuadraticInteraction(1))
    interacting = dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, energy=energy))
    assert "no interaction" in Laplace().refusal(interacting)


def test_bad_settings():
    with pytest.raises(ValueError, match="laplace: iterations must be a whole number >= 1, got 0"):
        Laplace(iterations=0)
