"""The form of an answer: whatever does not fit the problem is said in one line, and gives no figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from harness import measure, problem, solve
from harness.answer_form import one_memory
from harness.cell import run_in_child
from harness.components import Evaluation
from harness.instance import cell_of, component_of
from problems.laws import Gaussian
from problems.problem import Problem
from problems.references.grid_law import GridLaw
from seeding import generator
from solvers.estimates import DensityEstimate, Estimate, Exact, GridDensity, Nodes, ParticleDensity, Particles
from solvers.maps import InvertibleMap, pushed_law
from solvers.solver import Solution, Solver


@dataclass(frozen=True, eq=False)
class Flat(DensityEstimate):
    """Draws of ``width`` coordinates, with a log-density of ``columns`` columns."""

    dim: ClassVar[int] = 2
    width: int = 2
    columns: int = 0

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(n, self.width, generator=generator, dtype=torch.float64)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros((len(x), self.columns) if self.columns else (len(x),), dtype=torch.float64)

    def defect(self) -> str | None:
        return None


class Stays(InvertibleMap):
    """Moves nothing."""

    def push(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, torch.zeros(len(x), dtype=torch.float64)

    inverse = forward


class Cut(InvertibleMap):
    """Leaves one coordinate."""

    def push(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :1], torch.zeros(len(x), dtype=torch.float64)

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return y, torch.zeros(len(y), dtype=torch.float64)


def points(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(0), dtype=torch.float64)


def standard(dim: int) -> Gaussian:
    return Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))


# What is wrong, by name: the dimension, what is answered, what kind of error that is, and what it says.
WRONG: dict[str, tuple[int, Callable[[], Any], type[Exception], str]] = {
    "one column": (2, lambda: Particles(points(50, 1)), ValueError, r"of shape \(n, 2\), got .* of shape \(50, 1\)"),
    "two columns": (1, lambda: Particles(points(50, 2)), ValueError, r"of shape \(n, 1\), got .* of shape \(50, 2\)"),
    "no column": (1, lambda: Particles(points(50)), ValueError, r"of shape \(n, 1\), got .* of shape \(50,\)"),
    "no points": (2, lambda: Particles(points(0, 2)), ValueError, r"got .* of shape \(0, 2\)"),
    "numpy": (2, lambda: Particles(points(50, 2).numpy()), TypeError, r"got numpy.ndarray of float64 .* \(50, 2\)"),  # type: ignore[arg-type]
    "list": (2, lambda: Particles([[0.0, 1.0]]), TypeError, "the points .* got list"),  # type: ignore[arg-type]
    "whole": (2, lambda: Particles(points(50, 2).round().long()), TypeError, "got torch.Tensor of torch.int64"),
    "gradients": (2, lambda: Particles(points(50, 2).requires_grad_()), ValueError, "carries gradients: detach it"),
    "few weights": (2, lambda: Particles(points(1000, 2), points(5)), ValueError, r"\(1000,\), got .* \(5,\)"),
    "column of weights": (2, lambda: Particles(points(50, 2), points(50, 1)), ValueError, r"log-weights .* \(50, 1\)"),
    "whole weights": (2, lambda: Particles(points(50, 2), torch.ones(50).long()), TypeError, "torch.int64"),
    "NaN weight": (2, lambda: Particles(points(2, 2), torch.tensor([0.0, math.nan])), ArithmeticError, "log-weights"),
    "no weight": (2, lambda: Nodes(points(2, 2), torch.full((2,), -math.inf)), ArithmeticError, "log-weights"),
    "nodes": (2, lambda: Nodes(points(50, 2), points(51)), ValueError, r"log-weights of Nodes .* \(50,\), got"),
    "groups": (2, lambda: Particles(points(50, 2), groups=torch.ones(5).long()), ValueError, r"groups .* \(50,\)"),
    "broken groups": (2, lambda: Particles(points(50, 2), groups=torch.ones(50)), TypeError, "whole numbers"),
    "log-density": (
        2, lambda: ParticleDensity(points(50, 2), log_density=points(50, 1)), ValueError, "the log-density of",
    ),
    "law": (2, lambda: standard(2), TypeError, "must be an Estimate .* got problems.laws.Gaussian"),
    "law's dimension": (2, lambda: Exact(standard(3)), ValueError, "has dimension 3, the problem 2"),
    "draws of a density": (2, lambda: Flat(width=1), ValueError, r"2 draws of Flat .* \(2, 2\), got .* \(2, 1\)"),
    "log-density of a density": (2, lambda: Flat(columns=1), ValueError, r"log_prob of Flat .* got .* \(2, 1\)"),
    "draws of a map": (2, lambda: pushed_law(standard(2), (Cut(),)), ValueError, r"2 draws of Pushforward .* \(2, 1\)"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Formless(Solver):
    """Answers with what is ``wrong``."""

    name: ClassVar[str] = "formless"
    wrong: str = "one column"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        return Solution(problem.flow.times, tuple(WRONG[self.wrong][1]() for _ in problem.flow.times))


@dataclass(frozen=True, kw_only=True)
class Otherwise(Solver):
    """Answers with no solution, at other times, or with one estimate too many."""

    name: ClassVar[str] = "otherwise"
    how: str = "list"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        answer, times = Exact(problem.flow.initial), problem.flow.times
        if self.how == "list":
            return [answer]  # type: ignore[return-value]
        return Solution((9.0,), (answer,)) if self.how == "times" else Solution(times, (answer, answer))


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_of_another_form_is_said_in_one_line(wrong: str) -> None:
    dim, answer, kind, said = WRONG[wrong]
    posed = problem("ornstein-uhlenbeck", dim, times=[0.5])
    with pytest.raises(kind, match=said) as error:
        solve(posed, Formless, wrong=wrong)
    assert "t = 0.5" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    if not isinstance(error.value, ArithmeticError):
        assert str(error.value).startswith("formless at t = 0.5: ")
    given = dataclasses.replace(solve(posed, "initial"), estimates=(answer(),))
    with pytest.raises(kind, match=said):
        measure(given, "mean-error", draws=100)
    cell = cell_of(posed, component_of("solver", Formless, {"wrong": wrong}, ()), Evaluation(100), "cpu")
    (outcome,) = run_in_child([cell])
    assert outcome.status == ("diverged" if kind is ArithmeticError else "error")
    assert str(error.value) in str(outcome.reason)
    assert outcome.measurements == ()


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("list", TypeError, "otherwise must answer with a Solution, got list"),
        ("times", ValueError, r"otherwise must answer at the times \(0.5,\) of the flow, got \(9.0,\)"),
        ("count", ValueError, r"an estimate for each of 1 time\(s\), got 2"),
    ],
)
def test_a_solution_is_one_with_an_estimate_for_each_time(how: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        solve(problem("ornstein-uhlenbeck", 2, times=[0.5]), Otherwise, how=how)


def test_answers_of_the_right_form_are_taken() -> None:
    posed = problem("ornstein-uhlenbeck", 2, times=[0.5])
    given = solve(posed, "initial")
    for estimate in (
        Particles(points(50, 2).float(), torch.full((50,), -math.inf).index_fill(0, torch.arange(9), 0.0)),
        ParticleDensity(points(50, 2), log_density=points(50), groups=torch.arange(50)),
        Flat(),
    ):
        assert (
            measure(dataclasses.replace(given, estimates=(estimate,)), "mean-error", draws=100)["value"].notna().all()
        )


def on_a_grid(masses: torch.Tensor) -> GridDensity:
    return GridDensity(GridLaw(-1.0, 1.0, masses))


def of_weight(points: torch.Tensor, seed: int) -> Particles:
    return Particles(points, torch.randn(len(points), generator=generator(seed), dtype=torch.float64))


# Answers at two times that lie in the same memory, and such that only look so.
X, MASSES, MEAN, ONE = points(50, 1), torch.full((4,), 0.25).double(), torch.zeros(1).double(), torch.eye(1).double()
SHARED: dict[str, tuple[Estimate, Estimate]] = {
    "points": (Particles(X), Particles(X)),
    "a view of all": (Particles(X), Particles(X.view(50, 1))),
    "numpy": (Particles(torch.from_numpy(X.numpy())), Particles(torch.from_numpy(X.numpy()))),
    "a density at the points": (Particles(X), ParticleDensity(X, log_density=X[:, 0])),
    "cells of a grid": (on_a_grid(MASSES), on_a_grid(MASSES)),
    "moments of a Gaussian": (Exact(Gaussian(MEAN, ONE)), Exact(Gaussian(MEAN, ONE))),
}
APART: dict[str, tuple[Estimate, Estimate]] = {
    "copies": (Particles(X), Particles(X.clone())),
    "parts of one tensor": (Particles(X[:25]), Particles(X[25:])),
    "other weights": (of_weight(X, 1), of_weight(X, 2)),
    "another mean": (Exact(Gaussian(MEAN, ONE)), Exact(Gaussian(MEAN + 1, ONE))),
    "one law that is meant": (Exact(law := standard(1)), Exact(law)),
    "another number of maps": (pushed_law(law, (stays := Stays(),)), pushed_law(law, (stays, stays))),
    "what a plug-in defines": (line := Flat(width=1), line),
}


@dataclass(frozen=True, kw_only=True)
class Twice(Solver):
    """Answers at two times with a pair of estimates."""

    name: ClassVar[str] = "twice"
    pair: str = "points"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        return Solution(problem.flow.times, (SHARED | APART)[self.pair])


@pytest.mark.parametrize("pair", SHARED)
def test_estimates_that_share_their_memory_are_refused(pair: str) -> None:
    posed = problem("ornstein-uhlenbeck", 1, times=[0.5, 2.0])
    said = "twice: the answers at t = 0.5 and t = 2 share their numbers in memory, .* a copy at each time"
    with pytest.raises(ValueError, match=said) as error:
        solve(posed, Twice, pair=pair)
    assert len(str(error.value).splitlines()) == 1
    given = dataclasses.replace(solve(posed, "initial"), estimates=SHARED[pair])
    with pytest.raises(ValueError, match="share their numbers in memory"):
        measure(given, "mean-error", draws=100)
    cell = cell_of(posed, component_of("solver", Twice, {"pair": pair}, ()), Evaluation(100), "cpu")
    (outcome,) = run_in_child([cell])
    assert outcome.status == "error"
    # The stationary law is the same at all times.
    posed = dataclasses.replace(posed, problem=dataclasses.replace(posed.problem, stationary=True))
    assert solve(posed, Twice, pair=pair).times == (0.5, 2.0)


@pytest.mark.parametrize("pair", APART)
def test_estimates_that_share_parts_are_taken(pair: str) -> None:
    first, second = APART[pair]
    assert one_memory((0.5, 2.0), (first, second)) is None
