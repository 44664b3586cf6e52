"""A solver on the gallery: one watched run for each problem that it applies to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from harness.catalogue import make
from harness.conformance.contract import (
    copies,
    generator,
    global_state,
    require,
    same_bits,
    tensors_in,
    torch_threads,
    touched,
)
from harness.conformance.gallery import Exhibit
from problems.problem import Problem
from solvers.estimates import Estimate
from solvers.solver import Solution, Solver

CPU = torch.device("cpu")

BOUND = "initial"
"""The solver that is meant to do nothing."""


@dataclass(frozen=True)
class TrialRun:
    """One solve on one problem of the gallery, with what it did beside."""

    exhibit: Exhibit
    outcome: Solution | Exception
    drew: bool
    warned: tuple[str, ...]
    touched: tuple[str, ...]
    altered: bool


@dataclass(frozen=True)
class SolverTrial:
    """A solver on the gallery; each problem is solved once for all checks, and again for those that compare."""

    component: type[Solver]
    settings: Mapping[str, Any]
    exhibits: Sequence[Exhibit]

    @cached_property
    def solver(self) -> Solver:
        """The solver with the settings of the trial."""
        made: Solver = make("solver", self.component, self.settings)
        return made

    @cached_property
    def supported(self) -> list[Exhibit]:
        """The problems that the solver applies to."""
        return [exhibit for exhibit in self.exhibits if self.solver.refusal(exhibit.problem) is None]

    @cached_property
    def runs(self) -> list[TrialRun]:
        """One run on every problem that the solver applies to."""
        return [attempt(self.solver, exhibit) for exhibit in self.supported]

    @cached_property
    def on_two_threads(self) -> list[Solution]:
        """The solutions once more, from the same state of the generator, with two threads."""
        with torch_threads(2):
            return [self.solver.solve(exhibit.problem, generator(1), CPU) for exhibit, _ in self.solutions()]

    def solutions(self) -> list[tuple[Exhibit, Solution]]:
        """Return the runs that ended well; raises ``Violation`` when none did."""
        ended = [(run.exhibit, run.outcome) for run in self.runs if isinstance(run.outcome, Solution)]
        require(bool(ended), "no problem of the gallery was solved")
        return ended

    def estimates(self) -> list[tuple[str, Problem, float, Estimate]]:
        """Return every estimate with where it comes from and its time."""
        return [
            (f"{exhibit.title} at t = {t:g}", exhibit.problem, t, estimate)
            for exhibit, solution in self.solutions()
            for t, estimate in zip(solution.times, solution.estimates, strict=False)
        ]


def attempt(solver: Solver, exhibit: Exhibit) -> TrialRun:
    """Solve one problem and watch what is touched on the way."""
    problem, source = exhibit.problem, generator(1)
    problem_before, state_before, source_before = copies(contents(problem)), global_state(), source.get_state()
    outcome: Solution | Exception
    with warnings.catch_warnings(record=True) as caught, torch_threads(1):
        warnings.simplefilter("always")
        try:
            outcome = solver.solve(problem, source, CPU)
        except Exception as error:
            outcome = error
        state = global_state() | {"torch's number of threads": state_before["torch's number of threads"]}
        changed = touched(state_before, state)
        if torch.get_num_threads() != 1:
            changed.append("torch's number of threads")
    return TrialRun(
        exhibit,
        outcome,
        drew=not torch.equal(source.get_state(), source_before),
        warned=tuple(f"{warning.category.__name__}: {warning.message}" for warning in caught),
        touched=tuple(changed),
        altered=not same_bits(problem_before, contents(problem)),
    )


def contents(problem: Problem) -> list[torch.Tensor]:
    """Return the tensors of a problem, of shapes (...,), and the moments of its truth."""
    flow = problem.flow
    truths = [] if problem.truth is None else [moment for t in flow.times for moment in problem.truth(t).moments()]
    return tensors_in((flow, problem.prediction)) + truths


def bits(solution: Solution) -> list[torch.Tensor]:
    """Return the tensors, of shapes (...,), that a repeated run must give again: estimates, draws, densities."""
    found: list[torch.Tensor] = []
    for estimate in solution.estimates:
        draws = estimate.sample(256, generator(5))
        density = estimate.density
        found += [*tensors_in(estimate), draws] + ([] if density is None else [density.log_prob(draws)])
    return found
