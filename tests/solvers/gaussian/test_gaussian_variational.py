"""Variational inference by the flow among Gaussians: closed forms, independent optima, order of convergence, rest."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from problems.double_well import DoubleWell
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.logistic_regression import LogisticRegression
from problems.nonlinear_filtering import NonlinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import MixturePotential, Potential, Quadratic
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.gaussian.averages import Averages
from solvers.gaussian.exact_step import jko_moments
from solvers.gaussian.flow_among_gaussians import (
    StepRecord,
    forward_backward_step,
    implicit_step,
    jko_step,
    stationarity,
)
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.gaussian.gaussian_variational import GaussianVariational
from solvers.solver import Diverged

CPU = torch.device("cpu")
BETA = 1.3


def normal(dim, variance=1.0):
    return Gaussian(torch.zeros(dim, dtype=torch.float64), variance * torch.eye(dim, dtype=torch.float64))


def stationary(potential, initial, beta=1.0, times=(1.0,)):
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), times)
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


def solve(problem, **settings):
    return GaussianVariational(**settings).solve(problem, generator(), CPU)


def last(problem, **settings):
    return solve(problem, **settings).estimates[-1].law


def spd(dim, seed, ridge=0.3):
    root = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
    return root @ root.T / dim + ridge * torch.eye(dim, dtype=torch.float64)


def quadratic(dim, seed=0):
    return Quadratic(spd(dim, seed), torch.randn(dim, generator=generator(seed + 1), dtype=torch.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class Plain(Potential):
    """Another potential, without what that one knows of its averages."""

    behind: Potential

    @property
    def dim(self):
        return self.behind.dim

    def value(self, x):
        return self.behind.value(x)

    def gradient(self, x):
        return self.behind.gradient(x)


@dataclasses.dataclass(frozen=True, eq=False)
class Skewed(Potential):
    """V = x²/2 + e^x - x/2 in one dimension: convex, far from quadratic."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return (0.5 * x * x + x.exp() - 0.5 * x)[:, 0]


def logistic(cases=60, d=3):
    """A posterior of (w, log α) with overlapping classes."""
    features = torch.randn(cases, d, generator=generator(3), dtype=torch.float64)
    features[:, 0] += 0.6
    return LogisticPosterior(features, 2.0, 3.0)


@pytest.mark.parametrize("dim", [1, 3, 6])
@pytest.mark.parametrize("known", [True, False], ids=["known", "by nodes"])
@pytest.mark.parametrize("h", [0.05, 20.0])
def test_a_step_in_a_quadratic_potential_is_the_exact_one(dim, known, h):
    potential, law = quadratic(dim), Gaussian(quadratic(dim, 7).centre, spd(dim, 5))
    [(mean, covariance)] = jko_moments(law, potential, BETA, h, [1])
    averages = Averages(potential if known else Plain(potential), 64)
    found_mean, found_covariance, iterations = implicit_step(law.moments(), averages, BETA, h)
    torch.testing.assert_close(found_mean, mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found_covariance, covariance, rtol=1e-9, atol=1e-9)
    assert iterations <= 3


def test_a_step_minimises_the_functional_in_the_plane():
    """W₂²/2h + E V - β⁻¹ entropy of the returned Gaussian is below that of 200 others near it and far from it."""
    potential, h = logistic(d=1), 0.5
    start = Gaussian(torch.tensor([2.0, -1.0], dtype=torch.float64), spd(2, 5))
    mean, covariance, _ = implicit_step(start.moments(), Averages(potential, 2), BETA, h)

    def root(matrix):
        values, basis = torch.linalg.eigh(matrix)
        return (basis * values.clamp(min=0).sqrt()) @ basis.T

    def functional(m, spread):
        half = root(start.covariance)
        cross = torch.trace(root(half @ spread @ half))
        shift = m - start.mean
        distance = shift @ shift + torch.trace(start.covariance) + torch.trace(spread) - 2 * cross
        return float(distance / (2 * h) - 0.5 * torch.logdet(spread) / BETA) + potential.expectations(m, spread).value

    least, stream, factor = functional(mean, covariance), generator(8), torch.linalg.cholesky(covariance)
    for number in range(200):
        size = 10.0 ** -(number % 4)
        turn = torch.eye(2).double() + size * torch.randn(2, 2, generator=stream, dtype=torch.float64)
        moved = mean + size * torch.randn(2, generator=stream, dtype=torch.float64)
        assert functional(moved, factor @ turn @ turn.T @ factor.T) > least


@pytest.mark.parametrize("beta", [1.0, BETA])
def test_rest_is_the_least_divergence_on_the_line(beta):
    """Against a general minimisation of E V - β⁻¹ log s over (m, log s), of 100 Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()

    def free_energy(unknown):
        x = unknown[0] + math.exp(unknown[1]) * nodes
        return weights @ (0.5 * x * x + np.exp(x) - 0.5 * x) - unknown[1] / beta

    best = minimize(free_energy, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15})
    problem = stationary(Skewed(), normal(1, 4.0), beta)
    law = last(problem, step_size=0.5, until_rest=True)
    assert float(law.mean) == pytest.approx(best.x[0], abs=1e-6)
    assert float(law.covariance.sqrt()) == pytest.approx(math.exp(best.x[1]), abs=1e-6)
    long = last(dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, times=(30.0,))), step_size=0.5)
    torch.testing.assert_close(long.moments(), law.moments(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("known", [True, False], ids=["known", "by nodes"])
def test_rest_is_the_least_divergence_on_a_posterior(known):
    """E ∇V = 0 and βΣ E∇²V = I over 100,000 draws of the answer; six standard errors of each of 20 figures."""
    potential = logistic()
    judge = potential if known else Plain(potential)
    solution = solve(stationary(judge, normal(4)), step_size=0.5, until_rest=True, nodes=8192)
    law = solution.estimates[-1].law
    assert solution.diagnostics["stationarity"] < 1e-6
    draws = law.sample(50_000, generator(4))
    slack = 0.0 if known else 3e-3  # 8192 nodes err as well
    for function, rest in ((potential.gradient, 0.0), (potential.hessian, torch.linalg.inv(law.covariance))):
        values = 0.5 * (function(draws) + function(2 * law.mean - draws))
        scale = values.std(0) / math.sqrt(len(draws))
        largest = float(torch.linalg.inv(law.covariance).max())
        assert bool(((values.mean(0) - rest).abs() < 6 * scale + slack * largest).all())


@pytest.mark.parametrize(("scheme", "order"), [("jko", 1), ("jko", 2), ("forward-backward", 1)])
def test_order_of_convergence_to_the_flow_among_gaussians(scheme, order):
    """Against dm/dt = -E∇V, dΣ/dt = 2/β - ΣA - AΣ by an adaptive Runge-Kutta method of order 8."""
    potential, initial, stop = logistic(d=2), normal(3, 0.5), 0.2

    def rates(_, state):
        mean, covariance = torch.from_numpy(state[:3].copy()), torch.from_numpy(state[3:].reshape(3, 3).copy())
        _, gradient, hessian = potential.expectations(mean, covariance)
        product = covariance @ hessian
        spread = 2 / BETA * torch.eye(3).double() - product - product.T
        return torch.cat([-gradient, spread.flatten()]).numpy()

    state = torch.cat([initial.mean, initial.covariance.flatten()]).numpy()
    exact = solve_ivp(rates, (0, stop), state, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    problem = stationary(potential, initial, BETA, (stop,))
    errors = []
    for h in (0.005, 0.0025):
        law = last(problem, step_size=h, scheme=scheme, order=order)
        errors.append(np.abs(torch.cat([law.mean, law.covariance.flatten()]).numpy() - exact).max())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_schemes_come_to_rest_at_the_same_law():
    problem = stationary(logistic(), normal(4), BETA, (20.0,))
    rest = last(problem, step_size=1.0, until_rest=True)
    for h, scheme in ((1.0, "jko"), (0.04, "forward-backward")):
        law = last(problem, step_size=h, scheme=scheme)
        torch.testing.assert_close(law.moments(), rest.moments(), rtol=0, atol=2e-5)


def test_forward_backward_in_a_quadratic_potential_follows_its_equation():
    potential, law, h = quadratic(3), Gaussian(quadratic(3, 7).centre, spd(3, 5)), 0.1
    mean, covariance = forward_backward_step(law.moments(), Averages(potential, 2), BETA, h)
    pushed = torch.eye(3).double() - h * potential.precision
    torch.testing.assert_close(mean, law.mean - h * potential.precision @ (law.mean - potential.centre))
    # the backward map x ← x - τ Σ⁻¹ (x - m) takes Σ⁺ back to the pushed covariance
    back = torch.eye(3).double() - h / BETA * torch.linalg.inv(covariance)
    torch.testing.assert_close(back @ covariance @ back, pushed @ law.covariance @ pushed)


def test_large_curvature_stops_the_explicit_scheme_only():
    problem = stationary(Quadratic(1000 * torch.eye(2).double(), torch.zeros(2).double()), normal(2))
    with pytest.raises(Diverged, match=r"step 1: a forward step must be at most 1/1000"):
        solve(problem, step_size=0.05, scheme="forward-backward")
    stiff = Plain(problem.flow.potential)
    law = last(stationary(stiff, normal(2)), step_size=0.05)
    torch.testing.assert_close(law.covariance, torch.eye(2).double() / 1000, rtol=1e-5, atol=0)


@pytest.mark.parametrize("step_size", [1.0, 10.0])
def test_breast_cancer_comes_to_the_same_rest_with_any_step(step_size):
    problem = LogisticRegression(prior_shape=4.0, prior_rate=4.0).build(31, 0, generator())
    solution = solve(problem, step_size=step_size, until_rest=True)
    law, potential = solution.estimates[-1].law, problem.flow.potential
    expected = potential.expectations(law.mean, law.covariance)
    assert stationarity(law.moments(), expected, 1.0) == solution.diagnostics["stationarity"] < 1e-5
    assert solution.diagnostics["pareto_k"] < 0.75
    draws = law.sample(20_000, generator(5))
    slopes = 0.5 * (potential.gradient(draws) + potential.gradient(2 * law.mean - draws))
    assert bool((slopes.mean(0).abs() < 5 * slopes.std(0) / math.sqrt(len(slopes))).all())


def test_a_hill_halves_steps_that_have_no_minimum():
    """Between two wells A < 0, so that the model of a step of 8 is unbounded below: pieces of it end where 160 do."""
    wells = GaussianMixture(
        torch.tensor([0.5, 0.5]).double(),
        torch.tensor([[-2.0], [2.0]]).double(),
        torch.full((2, 1, 1), 0.3).double(),
    )
    averages = Averages(MixturePotential(wells), 2)
    law = start = torch.tensor([0.2]).double(), torch.tensor([[0.05]]).double()
    assert float(averages.at(*start).hessian) < -1
    once, fine = StepRecord(), StepRecord()
    reached = jko_step(start, averages, 1.0, 8.0, once)
    for _ in range(160):
        law = jko_step(law, averages, 1.0, 0.05, fine)
    assert once.halved >= 1
    assert fine.halved == 0
    torch.testing.assert_close(reached, law, rtol=0, atol=2e-3)


def test_what_is_at_rest_stays_and_costs_one_look():
    potential = logistic()
    law = last(stationary(potential, normal(4)), step_size=0.5, until_rest=True)
    solution = solve(stationary(potential, law, times=(1.0, 50.0)), step_size=0.5)
    assert list(solution.traces["iterations"]) == [0]
    for estimate in solution.estimates:
        torch.testing.assert_close(estimate.law.moments(), law.moments(), rtol=1e-7, atol=1e-7)


def test_averages_by_nodes_approach_those_known():
    """Each of value, gradient and Hessian, in five dimensions, where the nodes are Sobol points: of one instance."""
    potential = LogisticPosterior(torch.randn(50, 4, generator=fixed_generator(), dtype=torch.float64), 2.0, 3.0)
    mean, covariance = torch.zeros(5).double(), 0.1 * torch.eye(5).double()
    exact = potential.expectations(mean, covariance)
    errors = []
    for count in (256, 8192):
        found = Averages(Plain(potential), count).at(mean, covariance)
        errors.append([float((torch.as_tensor(a) - b).abs().max()) for a, b in zip(found, exact, strict=True)])
    assert all(fine < coarse / 4 for coarse, fine in zip(*errors, strict=True))


def test_a_potential_that_is_not_finite_is_divergence():
    @dataclasses.dataclass(frozen=True, eq=False)
    class Broken(Skewed):
        def value(self, x):
            return (x[:, 0] - 3).log()

    with pytest.raises(Diverged, match="step 1: E V is not finite"):
        solve(stationary(Broken(), normal(1)))


def test_unsupported():
    posterior = stationary(Plain(quadratic(30)), normal(30))
    assert GaussianVariational().refusal(posterior) is None
    assert "64 nodes are too few in 30 dimensions: at least 120" in GaussianVariational(nodes=64).refusal(posterior)
    flow = OrnsteinUhlenbeck(instance="random").build(2, 0, generator())
    assert "stationary problems only" in GaussianVariational(until_rest=True).refusal(flow)
    assert "is no filter" in GaussianVariational().refusal(NonlinearFiltering().build(1, 0, generator()))
    pair = GaussianMixture(torch.ones(2).double() / 2, torch.zeros(2, 1).double(), torch.ones(2, 1, 1).double())
    assert "must be Gaussian, not GaussianMixture" in GaussianVariational().refusal(stationary(Skewed(), pair))


@pytest.mark.parametrize("order", [1, 2])
def test_explicit_steps_follow_a_quadratic_flow_in_time(order):
    problem = OrnsteinUhlenbeck(instance="random", times=(0.2, 0.6)).build(3, 0, generator())
    solver = GaussianVariational(scheme="forward-backward", order=order)
    assert solver.refusal(problem) is None
    errors = []
    for h in (0.02, 0.01):
        found = dataclasses.replace(solver, step_size=h).solve(problem, generator(), CPU).estimates
        moments = ([*each.law.moments()] for each in found), ([*problem.truth(t).moments()] for t in (0.2, 0.6))
        errors.append(
            max(float((a - b).abs().max()) for x, y in zip(*moments, strict=True) for a, b in zip(x, y, strict=True))
        )
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)
    well = DoubleWell().build(1, 0, generator())
    assert "the potential must be quadratic, not DoubleWellPotential" in solver.refusal(well)


@pytest.mark.parametrize("order", [1, 2])
def test_in_a_quadratic_potential_it_is_gaussian_jko(order):
    problem = stationary(quadratic(4), normal(4), BETA, (0.2, 1.0))
    exact, found = (
        solver(step_size=0.2, order=order).solve(problem, generator(), CPU).estimates
        for solver in (GaussianJKO, GaussianVariational)
    )
    for one, other in zip(exact, found, strict=True):
        torch.testing.assert_close(other.law.moments(), one.law.moments(), rtol=1e-8, atol=1e-8)


def test_the_optimum_has_no_order_in_time():
    assert GaussianVariational(order=2).order_in_time == 2
    assert GaussianVariational(order=2, until_rest=True).order_in_time is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "euler"}, "scheme must be one of 'jko', 'forward-backward'; got 'euler'"),
        ({"nodes": 1000}, "nodes must be a power of 2, at least 2, got 1000"),
        ({"nodes": 1}, "nodes must be a power of 2"),
        ({"nodes": 0}, "nodes must be a whole number >= 1"),
        ({"until_rest": 2}, "until_rest must be one of False, True; got 2"),
        ({"scheme": "forward-backward", "until_rest": True}, "until_rest takes implicit steps"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GaussianVariational(**settings)
