import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from problems.double_well import DoubleWell
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Empirical, Gaussian
from problems.observations import GaussianNoise, LinearObservation, Observations
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from problems.references.grid_law import symmetric_divergence
from seeding import generator
from solvers.estimates import GridDensity
from solvers.one_dimensional.chang_cooper import ChangCooper


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def solve(problem, **settings):
    return ChangCooper(**settings).solve(problem, torch.Generator(), torch.device("cpu"))


def flow_problem(initial, stiffness=1.0, centre=0.0, beta=1.0, times=(0.5, 2.0), interaction=None):
    identity = torch.eye(initial.dim, dtype=torch.float64)
    potential = Quadratic(stiffness * identity, torch.full((initial.dim,), centre, dtype=torch.float64))
    return Problem(
        GradientFlow(initial, FreeEnergy(potential, Entropy(beta), interaction), times), ("symkl",), None, ""
    )


def ornstein_uhlenbeck(**settings):
    return flow_problem(Gaussian(tensor(1.5), tensor(0.3)[None]), **settings)


def exact_masses(problem, law, time):
    """Cell masses of the scalar Ornstein-Uhlenbeck marginal: mean and variance relax at rates a and 2a."""
    flow = problem.flow
    stiffness, centre = float(flow.potential.precision), float(flow.potential.centre)
    start, spread = (float(moment) for moment in flow.initial.moments())
    fade = math.exp(-stiffness * time)
    limit = 1 / (flow.inverse_temperature * stiffness)
    mean = centre + fade * (start - centre)
    marginal = stats.norm(mean, math.sqrt(limit + fade**2 * (spread - limit)))
    edges = law.edges().numpy()
    return np.where(edges[1:] > mean, -np.diff(marginal.sf(edges)), np.diff(marginal.cdf(edges)))


def error_l1(problem, solution, index=-1):
    law = solution.estimates[index].law
    return np.abs(law.masses.numpy() - exact_masses(problem, law, solution.times[index])).sum()


def slopes(sizes, errors):
    return np.diff(np.log(errors)) / np.diff(np.log(sizes))


def test_order_two_in_space():
    problem = ornstein_uhlenbeck(stiffness=2.0, centre=-0.5, beta=1.5)
    points = [100, 200, 400, 800, 1600]
    for index in range(2):
        errors = [error_l1(problem, solve(problem, cells=m), index) for m in points]
        assert slopes(1 / np.array(points), errors) == pytest.approx([2, 2, 2, 2], abs=0.1)
    assert errors[-1] < 3e-5


def test_order_two_in_time():
    problem = ornstein_uhlenbeck()
    steps = [0.1, 0.05, 0.025, 0.0125]
    for index in range(2):
        # Enough cells for the error in space not to show.
        errors = [error_l1(problem, solve(problem, cells=12_000, step_size=h), index) for h in steps]
        assert slopes(steps, errors) == pytest.approx([2, 2, 2], abs=0.15)


def test_symkl_falls_with_the_fourth_power_of_the_width():
    problem = ornstein_uhlenbeck(times=(0.7,))
    found = []
    for points in (200, 400, 800):
        law = solve(problem, cells=points).estimates[0].law
        found.append(symmetric_divergence(law.masses, torch.from_numpy(exact_masses(problem, law, 0.7))))
    assert slopes([4, 2, 1], found) == pytest.approx([4, 4], abs=0.2)
    assert found[-1] < 1e-8


def test_default_is_more_exact_than_thousands_of_steps():
    problem = ornstein_uhlenbeck(times=(2.0,))
    exact_in_time = solve(problem).estimates[0].law.masses
    differences = [
        float((solve(problem, step_size=h).estimates[0].law.masses - exact_in_time).abs().sum()) for h in (0.01, 0.002)
    ]
    assert differences[0] < 1e-5
    assert differences[1] == pytest.approx(differences[0] / 25, rel=0.02)


@pytest.mark.parametrize("step_size", [None, 0.005])
@pytest.mark.parametrize("points", [60, 2000, 2001])
def test_mass_is_conserved_and_positive(points, step_size):
    for problem in (ornstein_uhlenbeck(), DoubleWell().build(1, 0, torch.Generator())):
        solution = solve(problem, cells=points, step_size=step_size)
        assert solution.diagnostics["mass_defect"] < 1e-13
        assert solution.diagnostics["smallest_mass"] > -3e-16
        for estimate in solution.estimates:
            assert isinstance(estimate, GridDensity)
            assert estimate.defect() is None
            assert abs(math.fsum(estimate.law.masses) - 1) < 1e-13


@pytest.mark.parametrize("step_size", [None, 0.05])
def test_late_density_is_the_boltzmann_density(step_size):
    problem = DoubleWell(times=(300.0,)).build(1, 0, torch.Generator())
    law = solve(problem, step_size=step_size).estimates[0].law
    weights = (-2.0 * problem.flow.potential.value(law.centres()[:, None])).softmax(0)
    assert float((law.masses - weights).abs().sum()) < 1e-12


@pytest.mark.parametrize("settings", [{}, {"step_size": 0.05}, {"step_size": 0.25}])
@pytest.mark.parametrize("points", [64, 201, 500, 2000])
def test_declared_error_is_the_error_within_a_factor_of_two(points, settings):
    wells = DoubleWell(times=(0.5, 2.0)).build(1, 0, torch.Generator())
    for problem in (ornstein_uhlenbeck(), wells):
        solution = solve(problem, cells=points, **settings)
        law = solution.estimates[-1].law
        if problem is wells:
            edges = law.edges()
            truth = (
                problem.truth(2.0).cumulative(edges.clamp(problem.truth(2.0).lower, problem.truth(2.0).upper)).diff()
            )
        else:
            truth = torch.from_numpy(exact_masses(problem, law, 2.0))
        declared = solution.diagnostics
        assert 0.5 < float((law.masses - truth).abs().sum()) / declared["error_l1"] < 2
        assert 0.5 < symmetric_divergence(law.masses, truth) / declared["error_symkl"] < 2


@pytest.mark.parametrize("beta", [30.0, 300.0, 3000.0, 1e5])
@pytest.mark.parametrize("time", [1.0, 2.0])
def test_declared_error_holds_where_drift_outweighs_diffusion_in_a_cell(beta, time):
    """From N(-1, ¼) to ½: the flux becomes upwind, the order falls from 2 to below 1."""
    problem = flow_problem(Gaussian(tensor(-1.0), tensor(0.25)[None]), centre=0.5, beta=beta, times=(time,))
    solution = solve(problem)
    law, declared = solution.estimates[0].law, solution.diagnostics
    truth = torch.from_numpy(exact_masses(problem, law, time))
    assert 0.5 < float((law.masses - truth).abs().sum()) / declared["error_l1"] < 1.2
    assert 0.2 < symmetric_divergence(law.masses, truth) / declared["error_symkl"] < 1.2
    assert (declared["observed_order"] > 1.9) == (beta < 100)


def test_without_a_quarter_of_the_cells_the_order_counts_as_one():
    """Of 9 cells 5 are half of them, and 3 a quarter; of 8 these are 4 and 2, which make no grid."""
    orders = [solve(ornstein_uhlenbeck(), cells=cells).diagnostics["observed_order"] for cells in (8, 9)]
    assert orders[0] == 1
    assert orders[1] != 1


def test_declared_error_of_a_filter_holds_where_drift_outweighs_diffusion():
    """The evidence, and the law, against a Kalman filter's: one observation of x + N(0, ¼) on the way."""
    identity, beta = torch.eye(1, dtype=torch.float64), 1000.0
    observations = Observations((0.5,), tensor(-0.2)[None], LinearObservation(identity), GaussianNoise(0.5))
    law = Gaussian(tensor(-1.0), 0.25 * identity)
    flow = GradientFlow(law, FreeEnergy(Quadratic(identity, tensor(0.5)), Entropy(beta)), (1.0,))
    solution = solve(Problem(flow, ("symkl",), None, "", observations=observations))
    fade = math.exp(-0.5)
    mean, variance = 0.5 - 1.5 * fade, 0.25 * fade**2 + (1 - fade**2) / beta
    evidence = stats.norm(mean, math.sqrt(variance + 0.25)).logpdf(-0.2)
    error = abs(float(solution.diagnostics["log_evidence"]) - evidence)
    assert error < 1.2 * solution.diagnostics["error_log_evidence"]
    assert error > 0.3 * solution.diagnostics["error_log_evidence"]


def test_declared_symkl_is_within_a_factor_of_two_on_random_instances():
    for seed in range(1, 4):
        problem = DoubleWell(times=(1.0,)).build(1, seed, generator(seed))
        solution = solve(problem, cells=300)
        law, truth = solution.estimates[0].law, problem.truth(1.0)
        masses = truth.cumulative(law.edges()).diff()
        assert 0.5 < symmetric_divergence(law.masses, masses) / solution.diagnostics["error_symkl"] < 2


def test_domain_of_the_settings_is_used():
    solution = solve(ornstein_uhlenbeck(), domain=(-7.5, 8.0), cells=500)
    assert (solution.estimates[0].law.lower, solution.estimates[0].law.upper) == (-7.5, 8.0)
    assert (solution.diagnostics["domain_lower"], solution.diagnostics["domain_upper"]) == (-7.5, 8.0)
    chosen = solve(ornstein_uhlenbeck()).diagnostics
    assert chosen["domain_lower"] < -8
    assert chosen["domain_upper"] > 8
    assert solution.cost.setup_seconds > 0


@pytest.mark.parametrize("domain", [(2.0, 9.0), (-9.0, 1.0), (50.0, 60.0)])
def test_domain_without_the_initial_mass_is_refused(domain):
    with pytest.raises(ValueError, match=r"catch mass .* widen the domain"):
        solve(ornstein_uhlenbeck(), domain=domain)


def test_walls_keep_what_would_leave():
    # Reflected diffusion in half a well ends in the Boltzmann law of the half.
    problem = flow_problem(Gaussian(tensor(3.0), tensor(0.01)[None]), times=(40.0,))
    solution = solve(problem, domain=(0.0, 9.0))
    assert solution.diagnostics["mass_defect"] < 1e-13
    mean = float(solution.estimates[0].law.moments()[0])
    assert mean == pytest.approx(math.sqrt(2 / math.pi), abs=1e-5)


def test_repeats_to_the_bit():
    first, second = (solve(ornstein_uhlenbeck(), cells=333) for _ in range(2))
    assert all(torch.equal(a.law.masses, b.law.masses) for a, b in zip(first.estimates, second.estimates, strict=True))
    assert first.diagnostics == second.diagnostics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": 2}, "cells must be a whole number >= 6, got 2"),
        ({"cells": 100.0}, r"cells must be a whole number >= 6, got 100\.0"),
        ({"cells": True}, "cells must be"),
        ({"step_size": 0.0}, "step_size must be a finite number > 0"),
        ({"step_size": -0.1}, "step_size must be"),
        ({"step_size": math.nan}, "step_size must be"),
        ({"domain": (1.0, -1.0)}, "lower < upper; got"),
        ({"domain": (1.0, 1.0)}, "lower < upper; got"),
        ({"domain": (0.0, math.inf)}, "finite"),
        ({"domain": (0.0, 1.0, 2.0)}, "domain must be"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"chang-cooper: .*{message}"):
        ChangCooper(**settings)


def test_steps_must_reach_the_times():
    ChangCooper(step_size=0.1).check_times((0.5, 0.9))
    ChangCooper().check_times((0.5, 0.123))
    with pytest.raises(ValueError, match=r"time 0\.5 is not a multiple of step_size 0\.2"):
        ChangCooper(step_size=0.2).check_times((0.5,))
    with pytest.raises(ValueError, match="larger than the horizon"):
        ChangCooper(step_size=2.0).check_times((0.5,))


def test_what_it_does_not_solve():
    plane = flow_problem(Gaussian(torch.zeros(2).double(), torch.eye(2).double()))
    points = Empirical(torch.zeros(3, 1).double(), tensor(0.0), tensor(1.0)[None])
    attraction = QuadraticInteraction(1)
    solver = ChangCooper()
    assert solver.refusal(plane) == "one-dimensional problems only, this one has dimension 2"
    assert "no interaction" in solver.refusal(ornstein_uhlenbeck(interaction=attraction))
    assert "must have a density" in solver.refusal(flow_problem(points))
    assert solver.refusal(ornstein_uhlenbeck()) is None


class Slope(Potential):
    """V = x, in which a law runs away."""

    dim = 1

    def value(self, x):
        return x[:, 0]


def test_a_potential_that_does_not_confine_is_refused_unless_a_domain_is_given():
    problem = ornstein_uhlenbeck()
    flow = replace(problem.flow, energy=FreeEnergy(Slope(), Entropy(1.0)))
    running = replace(problem, flow=flow)
    refused = ChangCooper().refusal(running)
    assert refused is not None
    assert "the potential does not confine" in refused
    assert refused.endswith("domain = [lower, upper] gives one")
    assert ChangCooper(domain=(-20.0, 10.0)).refusal(running) is None
    assert ChangCooper().refusal(problem) is None
    found = solve(running, domain=(-20.0, 10.0), cells=800).estimates[-1].law.moments()
    assert float(found[0]) == pytest.approx(1.5 - 2.0, abs=1e-3)
    assert float(found[1]) == pytest.approx(0.3 + 4.0, rel=1e-3)
