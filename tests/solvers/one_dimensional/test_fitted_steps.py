"""Fitted steps on the line: figures of the two wells, order, damping, units, and steps that choose themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from problems.barenblatt import Barenblatt
from problems.double_well import DoubleWell, DoubleWellPotential
from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.laws import Gaussian
from problems.nonlinear_filtering import NonlinearFiltering
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.marginals_1d import reference_marginal
from seeding import fixed_generator, generator
from solvers.gaussian.fitted_step import sqrt_symkl as between_gaussians
from solvers.one_dimensional.fitted_weights import node_weights, sqrt_symkl
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.one_dimensional.quantile_map import scores
from solvers.one_dimensional.quantile_steps import QuantileSteps

CPU = torch.device("cpu")
FITTED = {"order": 2, "second_order": "fitted"}


def double_well():
    return DoubleWell(times=(0.5,)).build(1, 0, fixed_generator())


def sine_well():
    flow = replace(NonlinearFiltering().build(1, 0, fixed_generator()).flow, times=(0.5,))
    return Problem(flow, (), lambda t: reference_marginal(flow, t))


def solve(problem, **settings):
    return QuantileJKO(**settings).solve(problem, generator(), CPU)


def error(problem, **settings):
    (estimate,) = solve(problem, **settings).estimates
    return SymKL()(Subject(estimate, problem.truth(0.5), None), 4000, generator(3)).value


@pytest.mark.parametrize(("well", "bound"), [(double_well, 2e-6), (sine_well, 5e-7)])
def test_figures_and_order_in_the_wells(well, bound):
    """Within the bound at h = .05, of order 2 against its own refinement, and far from what plain steps leave."""
    problem = well()
    assert error(problem, step_size=0.05, **FITTED) < bound < 0.05 * error(problem, step_size=0.05)
    first, second, third = (solve(problem, step_size=h, **FITTED).estimates[0].values for h in (0.025, 0.0125, 0.00625))
    rate = sqrt_symkl(first, second) / sqrt_symkl(second, third)
    assert math.log2(rate) == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("product", [3.0, 100.0, 1e4])
def test_stiff_wells_are_damped(product):
    """From ten deviations off centre, in one step: the mean decays as exp(-hλ) does, and nothing folds or crosses."""
    potential = Quadratic(torch.tensor([[product]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    start = Gaussian(torch.tensor([10.0], dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    flow = GradientFlow(start, FreeEnergy(potential, Entropy(1.0)), (1.0,))
    solution = solve(Problem(flow, (), None), step_size=1.0, nodes=400, **FITTED)
    mean, covariance = solution.estimates[0].moments(generator())
    assert solution.diagnostics["first_order_steps"] == 0
    assert float(mean) == pytest.approx(10 * math.exp(-product), abs=2e-3)
    assert 0.5 < float(covariance) * product < 1.5


@pytest.mark.parametrize("height", [1.0, 100.0, 1e4])
def test_quartic_tails_stay_in_order(height):
    """Quantiles out to eight deviations, where h V'' is up to 1e5: they increase, and none is thrown across."""
    potential = DoubleWellPotential(height, 0.0)
    start = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    flow = GradientFlow(start, FreeEnergy(potential, Entropy(1.0)), (0.05,))
    (estimate,) = solve(Problem(flow, (), None), step_size=0.05, nodes=400, **FITTED).estimates
    z = scores(400)
    assert (np.diff(estimate.values) > 0).all()
    assert (np.sign(estimate.values) == np.sign(z)).all()
    assert (np.abs(estimate.values[np.abs(z) > 2]) < np.abs(z[np.abs(z) > 2])).all()


def moved(problem, unit, shift, pace):
    """The flow under x → unit x + shift, with time in units of 1/pace."""
    flow = problem.flow

    class Moved(DoubleWellPotential):
        def value(self, x):
            return pace * unit**2 * super().value((x - shift) / unit)

        def gradient(self, x):
            return pace * unit * super().gradient((x - shift) / unit)

        def hessian(self, x):
            return pace * super().hessian((x - shift) / unit)

    potential = Moved(flow.potential.height, flow.potential.tilt)
    initial = Gaussian(unit * flow.initial.mean + shift, unit**2 * flow.initial.covariance)
    energy = FreeEnergy(potential, Entropy(flow.inverse_temperature / (unit**2 * pace)))
    return Problem(GradientFlow(initial, energy, (0.5 / pace,)), (), None)


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize(("unit", "shift", "pace"), [(1.0, 40.0, 1.0), (1e-2, 0.0, 1.0), (20.0, -30.0, 7.0)])
def test_moved_and_in_other_units(auto, unit, shift, pace):
    problem = double_well()
    here = {"step_size": "auto", "tolerance": 1e-3} if auto else {"step_size": 0.1, **FITTED}
    there = here if auto else {**here, "step_size": 0.1 / pace}
    (expected,) = solve(problem, nodes=200, **here).estimates
    (found,) = solve(moved(problem, unit, shift, pace), nodes=200, **there).estimates
    assert sqrt_symkl((found.values - shift) / unit, expected.values) < 1e-6


@pytest.mark.parametrize("well", [double_well, sine_well])
def test_chosen_steps_keep_the_tolerance(well):
    problem = well()
    for tolerance in (1e-3, 1e-5):
        assert error(problem, step_size="auto", tolerance=tolerance) < 0.1 * tolerance
    solution = solve(problem, step_size="auto", tolerance=1e-3)
    assert sum(solution.traces["step_size"]) == pytest.approx(0.5, rel=1e-12)
    assert len(solution.traces["step_order"]) == solution.diagnostics["steps"]


def test_a_filter_that_chooses_its_steps_beats_one_that_does_not():
    """Ten times better than plain steps that take as many iterations, in the published filtering problem."""
    problem = NonlinearFiltering().build(1, 0, fixed_generator())

    def judged(**settings):
        solution = solve(problem, **settings)
        value = SymKL()(Subject(solution.estimates[-1], problem.truth(5.0), None), 2000, generator()).value
        return value, solution.diagnostics["newton_iterations"]

    plain, fitted, chosen = (
        judged(step_size=0.025),
        judged(step_size=0.05, **FITTED),
        judged(step_size="auto", tolerance=1e-3),
    )
    assert chosen[1] < plain[1]
    assert chosen[0] < 0.1 * plain[0]
    assert fitted[1] < 0.5 * plain[1]
    assert fitted[0] < 0.1 * plain[0]


def test_a_step_that_would_fold_is_a_plain_one_and_counted():
    solution = solve(sine_well(), step_size=0.25, **FITTED)
    assert solution.diagnostics["first_order_steps"] == 2
    (plain,) = solve(sine_well(), step_size=0.25).estimates
    np.testing.assert_array_equal(solution.estimates[0].values, plain.values)


def test_weights_are_of_the_mean_or_of_the_particle():
    problem = double_well()
    values = 0.75 + 0.5 * scores(400)
    share = node_weights(problem.flow.potential, 0.01, values)
    curvature = 4 * (3 * values**2 - 1)
    near = np.abs(0.01 * curvature) < 0.2
    assert np.ptp(share[near]) < 1e-4
    local = node_weights(problem.flow.potential, 10.0, values)
    stiff = curvature > 20
    assert (local[stiff] > 1 - 1 / (10 * curvature[stiff]) - 1e-6).all()


def test_the_distance_is_symkl():
    z = scores(1200)
    one, ones = torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for shift, width in ((1e-4, 1.0), (0.0, 1.001), (0.3, 0.8)):
        exact = between_gaussians((0 * one, ones), (shift * one, width**2 * ones))
        assert sqrt_symkl(z, shift + width * z) == pytest.approx(exact, rel=1e-2)
    assert sqrt_symkl(z, z) == 0
    assert sqrt_symkl(z, -z) == math.inf


def test_what_has_no_fitted_steps():
    law = Barenblatt(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64), 2.0)
    potential = Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    porous = Problem(GradientFlow(law, FreeEnergy(potential, PowerEntropy(2.0)), (1.0,)), (), None)
    reason = "steps are fitted and chosen only where the free energy is an entropy and a potential"
    assert QuantileJKO(**FITTED).refusal(porous) == QuantileJKO(step_size="auto").refusal(porous) == reason
    assert QuantileJKO(order=2).refusal(porous) is None
    for settings in ({"step_size": "auto", "order": 2}, {"second_order": "extrapolated"}, {"tolerance": 1e-3}):
        with pytest.raises(ValueError, match="quantile-jko: "):
            QuantileJKO(**settings)
    assert isinstance(QuantileJKO().propagation(double_well().flow, generator(), CPU), QuantileSteps)
