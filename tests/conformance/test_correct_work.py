"""Work that is correct passes its checks, whatever it leaves out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from harness.conformance.instances import ProblemTrial
from harness.conformance.problems import refuses_bad_sizes
from harness.conformance.runs import SolverTrial
from harness.conformance.solvers import refuses_unreachable_times
from harness.conformance.truths import difference_rule, truth_obeys_the_equation
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.nonlinear_filtering import NonlinearFiltering
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from solvers.solver import Solver


@dataclass(frozen=True, kw_only=True)
class AtAnObservation(NonlinearFiltering):
    """The shipped suite's times, of which the first is that of an observation."""

    name: ClassVar[str] = "at-an-observation"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    times: tuple[float, ...] = (4.5, 5.0)


def test_derivatives_of_a_truth_never_straddle_an_observation() -> None:
    assert "2 marginals" in truth_obeys_the_equation(ProblemTrial(AtAnObservation))


@pytest.mark.parametrize("t", [0.3, 0.5, 0.5005, 0.4995, 1.2])
def test_difference_rules_stay_between_observations(t: float) -> None:
    family = NonlinearFiltering(instance="random", times=(t,), observation_times=(0.5, 0.51))
    problem = family.build(1, 0, torch.Generator().manual_seed(0))
    offsets, weights = difference_rule(problem, t)
    for time in (0.5, 0.51):
        sides = {t + offset >= time - 1e-12 for offset in offsets}
        assert len(sides) == 1
        assert sides == {t >= time}
    # exact for parabolas
    for power, expected in ((0, 0.0), (1, 1.0), (2, 2 * t)):
        found = sum(weight * (t + offset) ** power for offset, weight in zip(offsets, weights, strict=True))
        assert found == pytest.approx(expected, abs=1e-9)


@dataclass(frozen=True, kw_only=True)
class Kinetic(Solver):
    """A sampler of a stationary law whose step is no flow time."""

    name: ClassVar[str] = "kinetic"
    stationary_only: ClassVar[bool] = True
    step_size: float = 0.2

    def solve(self, problem, generator, device):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_the_step_of_a_sampler_is_no_flow_time() -> None:
    assert "no flow time" in refuses_unreachable_times(SolverTrial(Kinetic, {}, ()))


@dataclass(frozen=True, kw_only=True)
class OneDimensional(ProblemFamily):
    """A flow on the line, whose dimensions nobody declared."""

    name: ClassVar[str] = "one-dimensional"

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        if dim != 1:
            raise ValueError(f"dimension must be 1, got {dim}")
        one = torch.ones(1, 1, dtype=torch.float64)
        law = Gaussian(torch.zeros(1, dtype=torch.float64), one)
        flow = GradientFlow(law, FreeEnergy(Quadratic(one, one[0] * 0), Entropy(1.0)), self.times)
        return Problem(flow, ("symkl",), truth=lambda t: law)


def test_a_family_of_one_dimension_is_told_to_declare_it_in_one_line() -> None:
    said = ProblemTrial(OneDimensional).undeclared
    assert said is not None
    assert "let dims() return (1,)" in said
    assert "dimension must be 1, got 2" in said
    assert "\n" not in said


@dataclass(frozen=True, kw_only=True)
class Declared(OneDimensional):
    """The same, declared, and built whatever the argument says."""

    name: ClassVar[str] = "declared"

    def dims(self) -> tuple[int, ...] | None:
        return (1,)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        return super().build(1, seed, generator)


def test_a_family_of_one_declared_dimension_need_not_look_at_it() -> None:
    assert ProblemTrial(Declared).undeclared is None
    assert refuses_bad_sizes(ProblemTrial(Declared))
    assert math.isclose(Declared().build(0, 0, torch.Generator()).flow.dim, 1)
