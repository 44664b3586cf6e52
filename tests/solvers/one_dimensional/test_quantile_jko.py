"""Exact JKO steps on the line: closed forms, order of convergence, published problems, and the map itself."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from problems.double_well import DoubleWell
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.observations import GaussianNoise, Likelihood, LinearObservation
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential, Potential
from problems.problem import Problem
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian
from seeding import fixed_generator, generator, numpy_generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.one_dimensional.quantile_map import QuantileMap, initial_values, interval_masses, node_masses, scores
from solvers.one_dimensional.quantile_step import QuantileObjective, minimise
from solvers.solver import Diverged

CPU = torch.device("cpu")


def solve(solver, problem):
    return solver.solve(problem, generator(1), CPU)


def symkl(estimate, truth, problem=None):
    return SymKL()(Subject(estimate, truth, problem), 2000, generator()).value


def test_gaussian_steps_are_the_closed_form():
    """In a quadratic potential the exact step is known; what differs falls with the square of the node distance."""
    problem = OrnsteinUhlenbeck(times=(0.5,)).build(1, 3, generator())
    (exact,) = solve(GaussianJKO(step_size=0.1), problem).estimates
    errors = []
    for nodes in (301, 601):
        (estimate,) = solve(QuantileJKO(step_size=0.1, nodes=nodes), problem).estimates
        z = scores(nodes)
        closed = float(exact.law.mean) + math.sqrt(float(exact.law.covariance)) * z
        central = np.abs(z) < 6
        errors.append(np.abs(estimate.values - closed)[central].max())
        assert symkl(estimate, exact.law) < 1e-6
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] < 2e-3


def test_stationary_law_is_a_fixed_point():
    problem = DoubleWell(times=(1.0,)).build(1, 0, generator())
    stationary = problem.truth(200.0)
    flow = replace(problem.flow, initial=stationary)
    (estimate,) = solve(QuantileJKO(step_size=0.25, nodes=800), replace(problem, flow=flow)).estimates
    assert symkl(estimate, stationary) < 1e-6


def test_scheme_is_of_first_order():
    """SymKL falls with the square of the step, on a bimodal flow."""
    problem = DoubleWell(times=(0.5,)).build(1, 0, generator())
    truth = problem.truth(0.5)
    coarse, fine = (symkl(solve(QuantileJKO(step_size=h), problem).estimates[0], truth) for h in (0.1, 0.05))
    assert coarse / fine == pytest.approx(4, rel=0.15)


def test_free_energy_never_rises():
    """A JKO step lowers F by at least W₂²/2h."""
    problem = DoubleWell(times=(2.0,)).build(1, 0, generator())
    flow, beta, before = problem.flow, problem.flow.inverse_temperature, initial_values(problem.flow, 400)
    around, between = node_masses(400)

    def free_energy(values):
        energy = flow.potential.value(torch.from_numpy(values)[:, None]).numpy()
        return around @ energy - between @ np.log(np.diff(values)) / beta

    for _ in range(8):
        after, _, _ = minimise(QuantileObjective(flow.potential, beta, 0.25, before))
        moved = around @ (after - before) ** 2
        assert free_energy(after) <= free_energy(before) - moved / 0.5 + 1e-12
        before = after


def test_minimiser_is_that_of_a_general_optimiser():
    """Derivatives against differences, and the minimum against every perturbation of a random set."""
    problem = NonlinearFiltering().build(1, 0, generator())
    before = initial_values(problem.flow, 64)
    objective = QuantileObjective(problem.flow.potential, 1.0, 0.1, before)
    gradient, diagonal, beside = objective.derivatives(before)
    hessian = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    state = numpy_generator(0)
    direction = state.normal(size=64) * 1e-2
    numeric = (objective.value(before + 1e-4 * direction) - objective.value(before - 1e-4 * direction)) / 2e-4
    assert gradient @ direction == pytest.approx(numeric, rel=1e-5)
    slopes = [objective.derivatives(before + sign * 1e-5 * direction)[0] for sign in (1, -1)]
    np.testing.assert_allclose(hessian @ direction, (slopes[0] - slopes[1]) / 2e-5, rtol=1e-4, atol=1e-7)
    found, _, decrement = minimise(objective)
    assert decrement < 1e-20
    level = objective.value(found)
    assert all(objective.value(found + state.normal(size=64) * 1e-4) > level for _ in range(20))


@pytest.mark.parametrize("instance", [0, 7])
def test_floor_of_the_published_filtering(instance):
    """SymKL near 6e-4 at h = 0.1 and 2e-4 at h = 0.05: what a JKO filter without other errors has."""
    problem = NonlinearFiltering().build(1, instance, generator())
    coarse, fine = (
        symkl(solve(QuantileJKO(step_size=h), problem).estimates[0], problem.truth(5.0)) for h in (0.1, 0.05)
    )
    assert 3e-4 < coarse < 1e-3
    assert 1e-4 < fine < 3e-4


def test_filter_is_kalmans_as_steps_shrink():
    problem = LinearFiltering(observation_times=(0.0, 0.3, 0.3, 1.1)).build(1, 1, fixed_generator(1))
    errors = [
        solve(QuantileJKO(step_size=h), problem).diagnostics["log_evidence"] - problem.log_evidence(2.0)
        for h in (0.1, 0.05)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)
    assert abs(errors[1]) < 0.01


def test_conditioning_is_the_closed_form():
    """Quantiles, evidence and effective share of a Gaussian given a linear observation, tails included."""
    law = Gaussian(torch.tensor([0.5], dtype=torch.float64), torch.tensor([[1.5]], dtype=torch.float64))
    for value, std in ((0.5, 1.0), (4.0, 0.7), (0.0, 0.2)):
        likelihood = Likelihood(
            torch.tensor([value], dtype=torch.float64),
            LinearObservation(torch.eye(1, dtype=torch.float64)),
            GaussianNoise(std),
        )
        exact = condition_gaussian(law, likelihood)
        before = QuantileMap(0.5 + math.sqrt(1.5) * scores(1000))
        posterior, log_evidence, share = before.condition(likelihood, generator())
        assert log_evidence == pytest.approx(exact.log_evidence, abs=1e-10)
        assert share == pytest.approx(exact.effective_share, rel=1e-9)
        closed = float(exact.law.mean) + math.sqrt(float(exact.law.covariance)) * scores(1000)
        central = np.abs(scores(1000)) < 5
        np.testing.assert_allclose(posterior.values[central], closed[central], atol=1e-6)


def test_conditioning_on_what_cannot_be():
    before = QuantileMap(scores(200))
    for log_likelihood, message in (
        (lambda x: -0.5 * (x[:, 0] - 40) ** 2, "where there are no quantiles"),
        (lambda x: torch.full((len(x),), -math.inf), "zero at all quantiles"),
        (lambda x: torch.full((len(x),), math.nan), "NaN"),
    ):
        with pytest.raises(ImpossibleObservation, match=message):
            before.condition(log_likelihood, generator())


def test_map_of_a_mixture_is_its_law():
    """Density, draws and ranks of a bimodal law from its quantiles."""
    law = GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-2.0], [1.5]], dtype=torch.float64),
        torch.tensor([[[0.5]], [[0.8]]], dtype=torch.float64),
    )
    flow = GradientFlow(law, FreeEnergy(MixturePotential(law), Entropy(1.0)), (1.0,))
    estimate = QuantileMap(initial_values(flow, 1200))
    assert estimate.defect() is None
    assert symkl(estimate, law) < 1e-8
    x = torch.linspace(-4, 4, 60, dtype=torch.float64)[:, None]
    torch.testing.assert_close(estimate.log_prob(x), law.log_prob(x), rtol=0, atol=5e-4)
    levels = estimate.score(x[:, 0].numpy())
    exact = 0.3 * ndtr((x[:, 0].numpy() + 2) / math.sqrt(0.5)) + 0.7 * ndtr((x[:, 0].numpy() - 1.5) / math.sqrt(0.8))
    np.testing.assert_allclose(ndtr(levels), exact, rtol=0, atol=2e-6)
    np.testing.assert_allclose(estimate.evaluate(levels)[0], x[:, 0].numpy(), atol=1e-12)
    far = torch.tensor([[-40.0], [40.0]], dtype=torch.float64)
    assert bool(torch.isfinite(estimate.log_prob(far)).all())
    assert estimate.expectation(lambda values: values) == pytest.approx(float(law.moments()[0]), abs=1e-6)


def test_masses_between_scores_keep_both_tails():
    masses = interval_masses(np.array([-np.inf, -8.0, 0.0, 8.0, np.inf]))
    np.testing.assert_allclose(masses, [6.220960574271785e-16, 0.5, 0.5, 6.220960574271785e-16], rtol=1e-12)
    around, between = node_masses(33)
    assert around.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(around, around[::-1], rtol=1e-12)
    np.testing.assert_allclose(between, between[::-1], rtol=1e-12)


class Broken(Potential):
    """NaN to the right of 2."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return torch.where(x > 2, math.nan, 0.5 * x * x)[:, 0]


def test_potential_that_is_not_finite_diverges():
    problem = OrnsteinUhlenbeck(times=(0.5,)).build(1, 3, generator())
    flow = replace(problem.flow, energy=FreeEnergy(Broken(), Entropy(1.0)))
    with pytest.raises(
        Diverged, match=r"quantile-jko: the step to t = 0.05 starts from quantiles .* where the potential is not finite"
    ):
        solve(QuantileJKO(nodes=100), Problem(flow, (), None))


def test_what_it_does_not_do():
    solver = QuantileJKO()
    plane = OrnsteinUhlenbeck().build(2, 0, generator())
    assert solver.refusal(plane) == "one-dimensional problems only, this one has dimension 2"
    for bad in (0, 31, 3.5, True):
        with pytest.raises(ValueError, match="nodes must be a whole number >= 32"):
            QuantileJKO(nodes=bad)


def test_a_law_too_narrow_for_floating_point_numbers_is_said():
    start = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 1e-16, dtype=torch.float64))
    family = DoubleWell(times=(0.2,))
    problem = family.build(1, 0, generator())
    narrow = replace(problem, flow=replace(problem.flow, initial=start))
    with pytest.raises(Diverged, match="found no direction of descent, as from a law that is too narrow"):
        solve(QuantileJKO(), narrow)
