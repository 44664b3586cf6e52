"""Kalman's filter and the grid filter against each other and against implementations of another kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.observations import GaussianNoise, Likelihood, LinearObservation, Observations
from problems.references.exact_filter import (
    ImpossibleObservation,
    condition_gaussian,
    condition_grid,
    grid_filter,
    grid_recursion,
    kalman_filter,
    recursion,
)
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import discretised, symmetric_divergence
from problems.references.marginals_1d import effective_domain
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import generator


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_kalman_is_one_joint_gaussian():
    """All states and observations are jointly Gaussian: conditioning at once gives what the recursion gives in turn."""
    problem = LinearFiltering(observation_times=(0.0, 0.3, 0.3, 1.1), seen=2, times=(1.5,)).build(3, 4, generator(4))
    flow, seen = problem.flow, problem.observations
    rates, centre = flow.potential.precision.numpy(), flow.potential.centre.numpy()
    matrix, dim = seen.function.matrix.numpy(), 3
    stationary = np.linalg.inv(rates)
    at = [*seen.times, 1.5]
    # Cov(X_s, X_t) = Cov(X_s) e^{-A (t-s)} for s ≤ t, from X_0 ~ N(0, I).
    variance = [expm(-rates * t) @ (np.eye(dim) - stationary) @ expm(-rates * t) + stationary for t in at]
    means = [centre - expm(-rates * t) @ centre for t in at]
    joint = np.block(
        [
            [
                variance[i] @ expm(-rates * (at[j] - at[i])) if i <= j else expm(-rates * (at[i] - at[j])) @ variance[j]
                for j in range(5)
            ]
            for i in range(5)
        ]
    )
    stacked = np.kron(np.eye(4), matrix) @ np.eye(5 * dim)[: 4 * dim]
    spread = stacked @ joint @ stacked.T + 0.25 * np.eye(8)
    excess = seen.values.numpy().ravel() - stacked @ np.concatenate(means)
    gain = np.linalg.solve(spread, stacked @ joint).T[-dim:]
    law = problem.truth(1.5)
    np.testing.assert_allclose(law.mean.numpy(), means[-1] + gain @ excess, atol=1e-10)
    np.testing.assert_allclose(law.covariance.numpy(), variance[-1] - gain @ (stacked @ joint)[:, -dim:], atol=1e-10)
    assert problem.log_evidence(1.5) == pytest.approx(multivariate_normal(cov=spread).logpdf(excess), abs=1e-9)


def test_grid_filter_is_kalman():
    problem = LinearFiltering(observation_times=(0.0, 0.4, 0.4, 1.3)).build(1, 2, generator(2))
    grid = grid_filter(problem.flow, problem.observations)
    for time in (0.2, 0.4, 1.0, 2.0):
        exact, found = problem.truth(time), grid.law(time)
        torch.testing.assert_close(found.moments(), exact.moments(), rtol=1e-7, atol=1e-7)
        assert grid.log_evidence(time) == pytest.approx(problem.log_evidence(time), abs=1e-8)


def test_grid_recursion_is_a_hidden_markov_model():
    """The same cells, with scipy's dense matrix exponential and the plain forward algorithm."""
    problem = NonlinearFiltering().build(1, 3, generator())
    flow, seen = problem.flow, problem.observations
    domain, cells = (-7.0, 7.0), 700
    law, log_evidence = grid_recursion(flow, seen, domain, cells)(5.0)
    width = (domain[1] - domain[0]) / cells
    x = domain[0] + width * (np.arange(cells) + 0.5)
    energy = np.sin(2 * np.pi * x) / np.pi + x**2 / 4
    rate = np.exp(-0.5 * np.diff(energy)) / width**2  # another discretisation of the same order
    back = np.exp(0.5 * np.diff(energy)) / width**2
    generator_matrix = np.diag(rate, -1) + np.diag(back, 1)
    generator_matrix -= np.diag(generator_matrix.sum(0))
    transition = expm(0.5 * generator_matrix)
    masses, total = np.exp(-0.5 * x**2), 0.0
    masses /= masses.sum()
    for value in seen.values[:, 0].numpy():
        masses = (transition @ masses) * np.exp(-0.5 * (value - x) ** 2) / math.sqrt(2 * math.pi)
        total += math.log(masses.sum())
        masses /= masses.sum()
    masses = transition @ masses
    assert symmetric_divergence(law.masses, torch.from_numpy(masses)) < 1e-5
    assert log_evidence == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("instance", range(0, 15, 5))
def test_reference_of_the_published_instances_has_converged(instance):
    """2000 cells, what the solver takes, differ by less than 1e-8 from twice as many, at the fourth-order rate."""
    problem = NonlinearFiltering().build(1, instance, generator())
    domain = effective_domain(problem.flow)
    change = []
    for cells in (1000, 2000):
        coarse, fine = (
            grid_recursion(problem.flow, problem.observations, domain, count)(5.0)[0] for count in (cells, 2 * cells)
        )
        change.append(symmetric_divergence(coarse.masses, fine.coarsened().masses))
    assert change[1] < 1e-8
    assert change[0] / change[1] == pytest.approx(16, rel=0.05)
    truth = problem.truth(5.0)
    fine = grid_recursion(problem.flow, problem.observations, domain, 8000)(5.0)[0]
    assert symmetric_divergence(truth.masses, fine.rebinned(truth.cells).masses) < 1e-10


@pytest.mark.parametrize(
    "times", [tuple(0.5 * k for k in range(1, 7)), tuple(0.1 * k for k in range(1, 9)), (0.0, 0.3, 0.3, 0.7, 1.0, 2.1)]
)
def test_equal_gaps_are_propagated_as_each_would_be(times):
    """What a filter keeps of one gap for the next changes no bit."""
    problem = NonlinearFiltering(instance="random", observation_times=times, times=(2.5,)).build(1, 0, generator(3))
    flow, seen, domain, cells = problem.flow, problem.observations, (-9.0, 9.0), 501
    operator = FokkerPlanck.discretise(flow, *domain, cells)
    anew = recursion(
        discretised(flow.initial, *domain, cells),
        lambda law, time: operator.law(operator.propagate(law.masses.numpy(), time)),
        condition_grid,
        seen,
    )
    kept = grid_recursion(flow, seen, domain, cells)
    for time in (*times, 2.5, 0.05):
        (law, log_evidence), (expected, its_evidence) = kept(time), anew(time)
        assert torch.equal(law.masses, expected.masses)
        assert log_evidence == its_evidence


def test_conditioning_on_nothing_or_twice():
    """A flat likelihood changes nothing; two observations at once are one of twice the precision."""
    law = discretised(Gaussian(vector(0.3), torch.eye(1, dtype=torch.float64)), -9, 9, 900)
    same = condition_grid(law, lambda x: torch.full((len(x),), -3.0, dtype=torch.float64))
    torch.testing.assert_close(same.law.masses, law.masses, rtol=1e-6, atol=1e-15)
    assert same.log_evidence == pytest.approx(-3, abs=1e-9)
    assert same.effective_share == pytest.approx(1, abs=1e-9)
    identity = LinearObservation(torch.eye(1, dtype=torch.float64))
    once = Likelihood(vector(1.0), identity, GaussianNoise(math.sqrt(0.5)))
    twice = Likelihood(vector(1.0), identity, GaussianNoise(1.0))
    straight = condition_grid(law, once).law
    by_turns = condition_grid(condition_grid(law, twice).law, twice).law
    torch.testing.assert_close(by_turns.masses, straight.masses, rtol=1e-5, atol=1e-12)


def test_effective_share_is_that_of_draws():
    """(E L)² / E L² in closed form, on the grid, and over a million draws (relative standard error about 2e-3)."""
    law = Gaussian(vector(0.5), 2.0 * torch.eye(1, dtype=torch.float64))
    likelihood = Likelihood(
        vector(2.0), LinearObservation(torch.full((1, 1), 1.5, dtype=torch.float64)), GaussianNoise(0.6)
    )
    closed = condition_gaussian(law, likelihood)
    grid = condition_grid(discretised(law, -14, 15, 2000), likelihood)
    values = likelihood(law.sample(1_000_000, generator(5))).exp()
    assert grid.effective_share == pytest.approx(closed.effective_share, rel=1e-6)
    assert closed.effective_share == pytest.approx(float(values.mean() ** 2 / (values**2).mean()), rel=0.01)
    assert grid.log_evidence == pytest.approx(closed.log_evidence, abs=1e-7)


def test_kalman_needs_no_spread_to_be_left():
    """Joseph's form stays positive definite where the noise is a billionth of the prior's spread."""
    law = Gaussian(vector(0.0, 0.0), torch.eye(2, dtype=torch.float64))
    likelihood = Likelihood(
        vector(1.0, -1.0), LinearObservation(torch.eye(2, dtype=torch.float64)), GaussianNoise(1e-9)
    )
    posterior = condition_gaussian(law, likelihood).law
    torch.testing.assert_close(posterior.covariance, 1e-18 * torch.eye(2, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [40.0, -40.0])
def test_observation_without_mass_is_impossible_on_a_grid(value):
    law = discretised(Gaussian(vector(0.0), torch.eye(1, dtype=torch.float64)), -9, 9, 900)
    likelihood = Likelihood(vector(value), LinearObservation(torch.eye(1, dtype=torch.float64)), GaussianNoise(1.0))
    with pytest.raises(ImpossibleObservation, match="lies where the grid has no mass"):
        condition_grid(law, likelihood)
    with pytest.raises(ImpossibleObservation, match="NaN"):
        condition_grid(law, lambda x: x[:, 0] * math.nan)


def test_no_observations_leave_the_flow():
    problem = LinearFiltering(observation_times=()).build(2, 0, generator())
    nothing = Observations((), torch.empty(0, 2).double(), problem.observations.function, GaussianNoise(1.0))
    truth = kalman_filter(problem.flow, nothing)
    assert truth.log_evidence(2.0) == 0
    torch.testing.assert_close(truth.law(2.0).moments(), problem.truth(2.0).moments())
    flow = GradientFlow(problem.flow.initial, FreeEnergy(problem.flow.potential, Entropy()), (1.0, 2.0))
    again = kalman_filter(flow, nothing).law(1.0)
    torch.testing.assert_close(again.moments(), problem.truth(1.0).moments())


def test_observations_may_be_many():
    """A thousand of them, more than functions can be nested, against the recursion step by step."""
    times = tuple(0.002 * (1 + place) for place in range(1000))
    problem = LinearFiltering(observation_times=times, times=(2.0,)).build(1, 0, generator())
    law, log_evidence, before = problem.flow.initial, 0.0, 0.0
    for place, time in enumerate(times):
        law = ornstein_uhlenbeck_marginal(law, problem.flow.potential, 1.0, time - before)
        found = condition_gaussian(law, problem.observations.likelihood(place))
        law, log_evidence, before = found.law, log_evidence + found.log_evidence, time
    torch.testing.assert_close(problem.truth(2.0).moments(), law.moments())
    assert problem.log_evidence(2.0) == pytest.approx(log_evidence)
