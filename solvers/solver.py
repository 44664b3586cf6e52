"""The contract of a solver: a frozen dataclass of all its hyper-parameters that turns a problem into a solution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from problems.flow import Entropy
from problems.problem import Problem
from problems.unavailable import Unavailable as Unavailable
from solvers.estimates import Estimate


class Diverged(ArithmeticError):
    """The method produced values that are not finite, or left its domain; the message says where."""


@dataclass(frozen=True)
class Cost:
    """What a solution cost: seconds of set-up (grids, factorisations), evaluations of ∇V (one per point).

    ``earlier_seconds`` are those of a run that was cut off and that this one went on from; the harness adds them.
    """

    setup_seconds: float = 0.0
    gradient_evaluations: int = 0
    earlier_seconds: float = 0.0


@dataclass(frozen=True)
class Solution:
    """Estimates at the flow's times, one each, with their cost and what the method has to say about itself.

    ``diagnostics`` holds plain numbers and strings (residuals, effective sample sizes, error estimates). ``traces``
    holds series with one finite number for each step of the method, in order (``seconds``, ``iterations``,
    ``residual``); ``assimilated`` those with one for each observation that a filter took in, its ``observation_time``
    among them (see ``solvers.filtering.assimilate``).
    """

    times: tuple[float, ...]
    estimates: tuple[Estimate, ...]
    cost: Cost = Cost()
    diagnostics: Mapping[str, float | int | str] = field(default_factory=dict)
    traces: Mapping[str, Sequence[float]] = field(default_factory=dict)
    assimilated: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Solver(ABC):
    """A method. Fields are its hyper-parameters; nothing else may change its results.

    Subclasses set ``name`` and raise ``version`` whenever the same settings come to give other numbers. Invalid
    settings raise ``ValueError`` when the dataclass is made.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    assimilates: ClassVar[bool] = False
    """Whether the method takes observations into account, where a problem has them."""
    resumes: ClassVar[bool] = False
    """Whether ``solve`` and ``solve_batch`` take a folder ``checkpoint``, from which a run that was killed goes on."""
    batches_seeds: ClassVar[bool] = False
    """Whether ``solve_batch(problems, generators, device)`` solves instances of one size together, each as alone."""

    @property
    def sample_size(self) -> int | None:
        """Number of particles that the answer consists of, or ``None`` for an answer with a density."""
        return None

    def check_times(self, times: Sequence[float]) -> None:  # noqa: B027 - most methods accept any times
        """Raise ``ValueError`` when the settings cannot reach these observation times."""

    def unsupported(self, problem: Problem) -> str | None:
        """Return why this method does not apply to the problem, or ``None`` when it does."""
        return None

    def refusal(self, problem: Problem) -> str | None:
        """Return why this method is not run on the problem: it would ignore observations, or ``unsupported``."""
        if problem.observations is not None and not self.assimilates:
            return f"{self.name} is no filter: it would ignore the observations"
        return self.unsupported(problem)

    @abstractmethod
    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Follow ``problem.flow`` to its times.

        All randomness comes from ``generator`` (on the CPU). Estimates come back on the CPU.

        Raises ``Diverged`` when the result would not be finite.
        """


def step_counts(times: Sequence[float], step_size: float) -> tuple[int, ...]:
    """Return how many steps of ``step_size`` reach each time, as integers, so that no step is lost to rounding.

    Raises ``ValueError`` for a step larger than a time or one that a time is not a multiple of (to 1e-9 relative).
    """
    if step_size > times[-1]:
        raise ValueError(f"step_size {step_size:g} is larger than the horizon {times[-1]:g}")
    counts = tuple(round(time / step_size) for time in times)
    for time, count in zip(times, counts, strict=True):
        if count < 1 or abs(count * step_size - time) > 1e-9 * time:
            raise ValueError(f"time {time:g} is not a multiple of step_size {step_size:g}")
    return counts


def interaction_between_particles(problem: Problem) -> str | None:
    """Say so where particles act on each other."""
    if problem.flow.energy.interaction is not None:
        return "the free energy must have no interaction term: particles are followed independently"
    return None


def beyond_linear_on_the_line(problem: Problem) -> str | None:
    """Say why the flow is not a linear Fokker-Planck equation in one dimension."""
    if problem.flow.dim != 1:
        return f"one-dimensional problems only, this one has dimension {problem.flow.dim}"
    if problem.flow.energy.interaction is not None or not isinstance(problem.flow.energy.internal, Entropy):
        return "linear Fokker-Planck equations only: an entropy and no interaction"
    return None
