"""Every check of a solver fails for a solver that breaks that rule, and a sound one passes them all."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import problems
from harness.conformance.contract import verdict
from harness.conformance.gallery import Exhibit, gallery
from harness.conformance.runs import SolverTrial
from harness.conformance.solvers import CHECKS
from problems.flow import Entropy, PowerEntropy
from problems.laws import Gaussian, Law
from problems.problem import Problem
from problems.validation import require_counts, require_positive
from solvers.estimates import DensityEstimate, Estimate, Exact, Particles
from solvers.solver import Cost, Solution, Solver, step_counts


def stretched(law: Law) -> Gaussian:
    """Return a Gaussian whose variances are off by a length of their own."""
    mean, covariance = law.moments()
    return Gaussian(mean, covariance + 1e-14 * torch.eye(len(mean), dtype=mean.dtype))


@cache
def exhibits() -> Sequence[Exhibit]:
    return gallery({"ornstein-uhlenbeck": problems.BUILTIN["ornstein-uhlenbeck"]})


@dataclass(frozen=True, kw_only=True)
class Sound(Solver):
    """Draws from the truth."""

    name: ClassVar[str] = "sound"
    particles: int = 500
    step_size: float = 0.1

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles)
        require_positive(self.name, step_size=self.step_size)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        assert problem.truth is not None
        estimates = [self.answer(problem.truth(t), generator, problem) for t in problem.flow.times]
        return Solution(problem.flow.times, tuple(estimates), Cost(0.0, 3), {"steps": 3})

    def answer(self, truth: Law, generator: torch.Generator, problem: Problem) -> Estimate:
        return Particles(truth.sample(self.particles, generator))


@dataclass(frozen=True, eq=False)
class Off(DensityEstimate):
    """A law whose density is ``factor`` times what it should be, or whose draws are moved by ``shift``."""

    law: Gaussian
    factor: float = 1.0
    shift: float = 0.0

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator) + self.shift

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.law.log_prob(x) + float(np.log(self.factor))

    def defect(self) -> str | None:
        return None


class OffMoments(Off):
    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        mean, covariance = self.law.moments()
        return mean, 1.2 * covariance


class OffQuantiles(Off):
    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        return [value + 0.3 for value in Exact(self.law).quantiles(levels, generator)]


class OffCumulative(Off):
    def cumulative(self, place: float, generator: torch.Generator) -> float:
        return 1 - Exact(self.law).cumulative(place, generator)


class OffBeside(Off):
    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.sample(n, generator)
        return x, self.log_prob(x) - 0.1


def broken(**members: Any) -> type[Solver]:
    body = {"name": "broken", "__doc__": "Broken.", "__module__": __name__} | members
    made: type[Solver] = dataclass(frozen=True, kw_only=True)(type("Broken", (Sound,), body))
    return made


def before(act: Any) -> Any:
    """Return a ``solve`` that does something first and then solves soundly."""

    def solve(self: Any, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        act(problem)
        return Sound.solve(self, problem, generator, device)

    return solve


def after(change: Any) -> Any:
    """Return a ``solve`` that changes a sound solution."""
    return lambda self, problem, generator, device: change(Sound.solve(self, problem, generator, device))


def answering(make: Any) -> Any:
    """Return an ``answer`` made from truth, generator and problem."""
    return lambda self, truth, generator, problem: make(truth, generator, problem)


def points(truth: Law, generator: torch.Generator) -> torch.Tensor:
    return truth.sample(500, generator)


def warn(problem: Problem) -> None:
    warnings.warn("close to the edge", RuntimeWarning, stacklevel=1)


def raise_something(problem: Problem) -> None:
    raise ArithmeticError("no pivot")


def without_checks(self: Solver) -> None:
    """Accept anything."""


counter = itertools.count()


def fixed_answer(truth: Law, generator: torch.Generator, problem: Problem) -> Particles:
    generator.manual_seed(3)
    return Particles(points(truth, generator))


def in_place(solution: Solution) -> Solution:
    """Return the answer of a method that moves one tensor in place, and answers with it at every time."""
    last = solution.estimates[-1]
    assert isinstance(last, Particles)
    return dataclasses.replace(solution, estimates=tuple(Particles(last.points) for _ in solution.times))


BREACHES: list[tuple[str, dict[str, Any], str]] = [
    ("definition", {"__doc__": None}, "no docstring"),
    ("definition", {"version": 1.5}, "version must be"),
    ("definition", {"name": ""}, "name must be"),
    ("default settings", {"particles": 0, "__annotations__": {"particles": int}}, "particles must be"),
    ("default settings", {"dtype": torch.float32, "__annotations__": {"dtype": torch.dtype}}, "TypeError"),
    ("refuses bad settings", {"__post_init__": without_checks}, "is accepted"),
    (
        "refuses unreachable times",
        {"check_times": lambda self, times: None, "orders": (1,)},
        "step_size 0.25 is accepted",
    ),
    ("says what it supports", {"unsupported": lambda self, problem: ""}, "must answer None or one line"),
    ("says what it supports", {"unsupported": lambda self, problem: False}, "must answer None or one line"),
    ("says what it supports", {"unsupported": lambda self, problem: "not today"}, "none of the 6 problems"),
    (
        "keeps to its declaration",
        {"internal_energies": (Entropy, PowerEntropy)},
        "a power entropy, D=1: raised AssertionError",
    ),
    ("keeps to its declaration", {"refusal": lambda self, problem: None}, "an interaction, D=1: neither declared nor"),
    ("keeps to its declaration", {"orders": (1,), "order_in_time": 2}, "order_in_time is 2, none of the declared"),
    ("solves", {"solve": before(raise_something)}, "raised ArithmeticError: no pivot"),
    ("stays silent", {"solve": before(warn)}, "RuntimeWarning: close to the edge"),
    ("leaves global state alone", {"solve": before(lambda _: torch.rand(1))}, "torch's global random state"),
    ("leaves global state alone", {"solve": before(lambda _: np.random.rand(1))}, "numpy's global"),  # noqa: NPY002
    ("leaves global state alone", {"solve": before(lambda _: torch.set_num_threads(2))}, "number of threads"),
    (
        "leaves the problem alone",
        {"solve": before(lambda problem: problem.flow.initial.mean.add_(1e-9))},
        "the problem's tensors changed",
    ),
    ("answers in form", {"solve": after(lambda s: Solution((0.1,), s.estimates))}, "are not"),
    ("answers in form", {"solve": after(lambda s: Solution(s.times, s.estimates[:1]))}, "1 estimates for 2 times"),
    ("answers in form", {"answer": answering(lambda t, g, p: Particles(points(t, g).float()))}, "torch.float32"),
    ("answers in form", {"answer": answering(lambda t, g, p: Particles(points(t, g)[:, [0, 0, 0]]))}, "dimension 3"),
    ("answers in form", {"answer": answering(lambda t, g, p: Particles(points(t, g) * torch.nan))}, "not finite"),
    ("answers in form", {"answer": answering(lambda t, g, p: Particles(points(t, g).requires_grad_()))}, "gradients"),
    ("answers in form", {"answer": answering(lambda t, g, p: points(t, g))}, "Tensor is no Estimate"),
    ("answers in form", {"solve": after(in_place)}, "t = 0.1 and t = 0.2 share their numbers in memory"),
    ("counts its particles", {"sample_size": 400}, "sample_size is 400, but the answer has 500"),
    ("counts its particles", {"answer": answering(lambda t, g, p: Exact(t))}, "the answer has no particles"),
    ("densities", {"answer": answering(lambda t, g, p: Off(p.flow.initial, factor=1.01))}, "integrates to 1.01"),
    ("densities", {"answer": answering(lambda t, g, p: Off(p.flow.initial, shift=0.1))}, "standard errors"),
    (
        "densities",
        {"answer": answering(lambda t, g, p: Off(t, factor=1.05 if t.dim > 2 else 1.0))},
        "an Ornstein-Uhlenbeck flow D=3 at t = 0.1: the density integrates to 1.05",
    ),
    ("densities", {"answer": answering(lambda t, g, p: OffMoments(p.flow.initial))}, "moments: the covariance is off"),
    ("densities", {"answer": answering(lambda t, g, p: OffQuantiles(p.flow.initial))}, "quantiles: 0.05 of the law"),
    (
        "densities",
        {"answer": answering(lambda t, g, p: OffCumulative(p.flow.initial))},
        "cumulative: 0.9496 of the law",
    ),
    (
        "densities",
        {"answer": answering(lambda t, g, p: OffBeside(p.flow.initial))},
        "sample_with_log_prob differs from log_prob at its own draws, by 0.1",
    ),
    (
        "repeats to the bit",
        {"answer": answering(lambda t, g, p: Particles(points(t, g) + 1e-15 * next(counter)))},
        "a second run gives other numbers",
    ),
    (
        "ignores threads",
        {"answer": answering(lambda t, g, p: Particles(points(t, g) * (1 + 1e-15 * torch.get_num_threads())))},
        "two threads give other numbers",
    ),
    ("follows the seed", {"answer": answering(fixed_answer)}, "another seed gives the same results"),
    ("states its cost", {"solve": after(lambda s: Solution(s.times, s.estimates, Cost(-1.0)))}, "setup_seconds"),
    (
        "states its cost",
        {"solve": after(lambda s: Solution(s.times, s.estimates, Cost(0.0, 1.5)))},
        "gradient_evaluations is 1.5",
    ),
    (
        "states its cost",
        {"solve": after(lambda s: Solution(s.times, s.estimates, diagnostics={"residual": torch.zeros(1)}))},
        "no plain number",
    ),
    (
        "states its cost",
        {"solve": after(lambda s: Solution(s.times, s.estimates, traces={"seconds": (0.1, math.nan)}))},
        "trace 'seconds' is no series of finite plain numbers",
    ),
    (
        "states its cost",
        {"solve": after(lambda s: Solution(s.times, s.estimates, assimilated={"a": (0.1,), "b": ()}))},
        "and not each one for every observation",
    ),
    (
        "beats doing nothing",
        {"answer": answering(lambda t, g, p: Particles(points(p.flow.initial, g)))},
        "that of the initial law",
    ),
    (
        "nearer to the truth than to errors",
        {"answer": answering(lambda t, g, p: Particles(points(p.truth(p.flow.times[0]), g)))},
        "the answer is nearer to the true law at t = 0.1, the first time, than to the true one, by ",
    ),
    (
        "nearer to the truth than to errors",
        {"answer": answering(lambda t, g, p: Particles(points(p.truth(p.flow.times[-1]), g)))},
        "at t = 0.1 the answer is nearer to the true law at t = 0.2, the last time, than to the true one, by ",
    ),
    ("answers alike", {"answer": answering(lambda t, g, p: Particles(points(t, g) + 0.3))}, "standard errors apart"),
    (
        "answers alike",
        {"answer": answering(lambda t, g, p: Exact(stretched(t)))},
        "between two seeds 0",
    ),
    ("answers alike", {"not_alike": lambda self: {"mirror": "left is right"}}, "not_alike names mirror"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_sound_solver_passes(check: str) -> None:
    found = verdict(check, CHECKS[check], SolverTrial(Sound, {}, exhibits()))
    assert found.passed, found.detail


@pytest.mark.parametrize(("check", "members", "said"), BREACHES, ids=[f"{c}: {s}" for c, _, s in BREACHES])
def test_breach_is_found(check: str, members: dict[str, Any], said: str) -> None:
    found = verdict(check, CHECKS[check], SolverTrial(broken(**members), {}, exhibits()))
    assert not found.passed
    assert said in found.detail


def test_every_check_can_fail() -> None:
    assert {check for check, _, _ in BREACHES} == set(CHECKS)


def test_class_must_be_a_frozen_dataclass() -> None:
    plain = type("Plain", (Sound,), {"name": "plain", "__doc__": "Plain.", "__module__": __name__})
    found = verdict("definition", CHECKS["definition"], SolverTrial(plain, {}, ()))
    assert not found.passed
    assert "must be decorated" in found.detail
