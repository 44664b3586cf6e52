"""The loop that all filters share, and its record."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import solvers
from harness.catalogue import import_target
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.observations import GaussianNoise, LinearObservation, Observations
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.exact_filter import condition_gaussian
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import fixed_generator, generator
from solvers.estimates import Exact
from solvers.filtering import Filter, Propagation, equal_steps, fixed_stream, timeline
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.one_dimensional.chang_cooper import ChangCooper
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.particles.bootstrap_filter import BootstrapFilter
from solvers.solver import Diverged, Solver

CPU = torch.device("cpu")
FILTERS = (
    ChangCooper(cells=600),
    QuantileJKO(nodes=300),
    GaussianJKO(),
    BootstrapFilter(particles=20_000, step_size=0.01),
)


def solve(solver, problem, seed=1):
    return solver.solve(problem, generator(seed), CPU)


@dataclass(frozen=True, kw_only=True)
class ExactFlow(Filter):
    """The exact moments of a linear flow: with exact conditioning, Kalman's filter through the loop."""

    name: ClassVar[str] = "exact-flow"

    def propagation(self, flow, generator, device):
        return ExactMoments(flow)


class ExactMoments(Propagation):
    def __init__(self, flow):
        self.flow, self.legs = flow, []

    def start(self):
        return Exact(self.flow.initial)

    def advance(self, estimate, start, stop):
        self.legs.append((start, stop))
        flow = self.flow
        return Exact(ornstein_uhlenbeck_marginal(estimate.law, flow.potential, flow.inverse_temperature, stop - start))

    def diagnostics(self):
        return {"legs": len(self.legs)}


@pytest.mark.parametrize(
    "times",
    [(), (0.0,), (0.0, 0.0, 0.7), (0.31, 0.31, 0.31, 1.9), (0.5, 1.0, 2.0), (0.1 + 0.2, 0.3, 2.5), (3.0,)],
)
def test_loop_with_exact_parts_is_kalman(times):
    """At t = 0, several at once, irregular, at an asked time, after the last one, and none at all."""
    problem = LinearFiltering(observation_times=times, times=(0.3, 1.0, 2.0)).build(2, 3, generator(3))
    solution = solve(ExactFlow(), problem)
    for time, estimate in zip(solution.times, solution.estimates, strict=True):
        torch.testing.assert_close(estimate.law.moments(), problem.truth(time).moments(), rtol=1e-9, atol=1e-9)
    used = sum(time <= 2.0 for time in times)
    assert solution.diagnostics["observations"] == used == len(solution.assimilated.get("observation_time", ()))
    assert solution.diagnostics["log_evidence"] == pytest.approx(problem.log_evidence(2.0), abs=1e-9)
    assert solution.diagnostics["legs"] == len({0.3, 1.0, 2.0, *(round(time, 9) for time in times[:used])} - {0.0})


def test_record_of_each_observation(monkeypatch):
    """Predictive and posterior laws, evidence and shares are Kalman's own at every observation."""
    predictive, condition = [], Exact.condition

    def seen(self, *arguments):
        predictive.append(self.law)
        return condition(self, *arguments)

    monkeypatch.setattr(Exact, "condition", seen)
    problem = LinearFiltering(observation_times=(0.0, 0.4, 0.4, 1.3)).build(1, 5, generator(5))
    solution = solve(ExactFlow(), problem)
    assert solution.traces == {}
    noted = solution.assimilated
    assert noted["observation_time"] == [0.0, 0.4, 0.4, 1.3]
    assert all(len(series) == 4 and all(map(math.isfinite, series)) for series in noted.values())
    assert len(predictive) == 4
    for place, law in enumerate(predictive):
        posterior = condition_gaussian(law, problem.observations.likelihood(place))
        assert noted["log_evidence"][place] == pytest.approx(posterior.log_evidence)
        assert noted["effective_share"][place] == pytest.approx(posterior.effective_share)
        for name, gaussian in (("predictive", law), ("posterior", posterior.law)):
            mean, std = float(gaussian.mean), math.sqrt(float(gaussian.covariance))
            assert noted[f"{name}_mean"][place] == pytest.approx(mean)
            assert noted[f"{name}_std"][place] == pytest.approx(std)
            assert noted[f"{name}_q95"][place] == pytest.approx(mean + 1.644853626951473 * std)
    assert solution.diagnostics["smallest_effective_share"] == min(noted["effective_share"])


def test_record_in_two_dimensions():
    problem = LinearFiltering().build(2, 1, generator(1))
    noted = solve(ExactFlow(), problem).assimilated
    assert {"predictive_mean[0]", "predictive_std[1]", "posterior_mean[1]"} <= set(noted)
    assert not any("q05" in name for name in noted)


@pytest.mark.parametrize("solver", FILTERS, ids=lambda solver: solver.name)
def test_every_filter_meets_kalman_in_one_dimension(solver):
    """Mean, deviation and evidence, within what steps, cells and particles allow."""
    problem = LinearFiltering(observation_times=(0.0, 0.37, 0.37, 1.2), times=(0.37, 2.0)).build(
        1, 6, fixed_generator(6)
    )
    solution = solve(solver, problem)
    for time, estimate in zip(solution.times, solution.estimates, strict=True):
        mean, covariance = estimate.moments(fixed_stream())
        exact_mean, exact_covariance = problem.truth(time).moments()
        assert float(mean - exact_mean) == pytest.approx(0, abs=0.06)
        assert math.sqrt(float(covariance / exact_covariance)) == pytest.approx(1, abs=0.06)
    assert solution.diagnostics["log_evidence"] == pytest.approx(problem.log_evidence(2.0), abs=0.25)
    assert solution.diagnostics["observations"] == 4


@pytest.mark.parametrize("solver", FILTERS, ids=lambda solver: solver.name)
def test_missing_observations_are_skipped_and_counted(solver):
    settings = {"instance": "given", "times": (1.0,)}
    gap = NonlinearFiltering(
        values=((0.5,), (None,), (math.nan,), (-0.5,)),
        observation_times=(0.2, 0.6, 0.8, 0.8),
        missing="skip",
        **settings,
    )
    plain = NonlinearFiltering(values=((0.5,), (-0.5,)), observation_times=(0.2, 0.8), **settings)
    with_gap, without = (solve(solver, family.build(1, 0, generator())) for family in (gap, plain))
    assert with_gap.diagnostics["missing"] == 2
    assert with_gap.diagnostics["observations"] == 2
    assert without.diagnostics["missing"] == 0
    difference = with_gap.diagnostics["log_evidence"] - without.diagnostics["log_evidence"]
    assert abs(difference) < (0.1 if isinstance(solver, BootstrapFilter) else 1e-3)


@pytest.mark.parametrize("solver", FILTERS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("value", [40.0, -1e6])
def test_far_observation_never_passes_for_an_answer(solver, value):
    """Either an error that names the observation, or, where Gaussians have a closed form, the right one."""
    family = NonlinearFiltering(instance="given", values=((value,),), observation_times=(0.5,), times=(0.6,))
    problem = family.build(1, 0, generator())
    if isinstance(solver, GaussianJKO):
        solution = solve(solver, problem)
        assert solution.estimates[0].defect() is None
        assert solution.diagnostics["log_evidence"] < -300
        return
    with pytest.raises(Diverged, match=r"observation 1 \(t = 0.5\): "):
        solve(solver, problem)


def test_nothing_that_ignores_observations_is_run_on_them():
    """Every built-in either takes observations in, or says that it does not."""
    problem = NonlinearFiltering().build(1, 0, generator())
    for target in solvers.BUILTIN.values():
        component: type[Solver] = import_target(target)
        reason = component().refusal(problem)
        if issubclass(component, Filter) or component.name in ("oracle", "initial"):
            assert reason is None
        elif component.assimilates:
            assert reason is None or reason.strip()
        else:
            assert reason == f"{component.name} is no filter: it would ignore the observations"
        plain = replace(problem, observations=None, log_evidence=None)
        assert "observations" not in (component().refusal(plain) or "")


def test_timeline_merges_and_orders():
    problem = LinearFiltering(observation_times=(0.0, 0.1 + 0.2, 0.5, 2.0), times=(0.3, 1.0)).build(1, 0, generator())
    stops = [(stop.time, stop.observations, stop.asked) for stop in timeline((0.3, 1.0), problem.observations)]
    assert stops == [(0.0, (0,), False), (0.3, (1,), True), (0.5, (2,), False), (1.0, (), True)]
    assert [stop.time for stop in timeline((0.3, 1.0), None)] == [0.3, 1.0]


@pytest.mark.parametrize(
    ("duration", "step_size", "expected"),
    [
        (0.5, 0.1, (5, 0.1)),
        (0.3, 0.1, (3, 0.1)),
        (0.25, 0.1, (3, 0.25 / 3)),
        (0.01, 0.1, (1, 0.01)),
        (5.0, 1e-3, (5000, 1e-3)),
    ],
)
def test_equal_steps(duration, step_size, expected):
    assert equal_steps(duration, step_size) == expected


@pytest.mark.parametrize(
    "solver",
    [
        lambda unit: BootstrapFilter(particles=500, step_size=0.05 * unit, dtype="float64"),
        lambda unit: ChangCooper(cells=200),
        lambda unit: GaussianJKO(step_size=0.05 * unit),
        lambda unit: QuantileJKO(step_size=0.05 * unit, nodes=100),
    ],
    ids=["bootstrap-filter", "chang-cooper", "gaussian-jko", "quantile-jko"],
)
def test_times_may_be_in_any_unit(solver):
    """Of 1e-12 of it, say: no step is left out for being short, and the answer is that in units of one."""
    answers = []
    for unit in (1.0, 1e-12):
        potential = Quadratic(torch.eye(1, dtype=torch.float64) / unit, torch.ones(1, dtype=torch.float64))
        law = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
        flow = GradientFlow(law, FreeEnergy(potential, Entropy(unit)), (0.5 * unit,))
        seen = Observations(
            (0.1 * unit, 0.2 * unit),
            torch.tensor([[0.5], [1.5]], dtype=torch.float64),
            LinearObservation(torch.eye(1, dtype=torch.float64)),
            GaussianNoise(0.5),
        )
        found = solver(unit).solve(Problem(flow, (), None, observations=seen), fixed_generator(0), torch.device("cpu"))
        answers.append([*found.estimates[0].moments(fixed_stream()), torch.tensor(found.diagnostics["log_evidence"])])
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-6, atol=1e-6, check_dtype=False)
