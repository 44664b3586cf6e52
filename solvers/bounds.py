"""The two bounds of every table: exact draws from the true law, and the initial law unchanged.

What an estimator reports for a solver whose answer is exact is the estimator's own error, and no solver can be
expected below it. A solver that is no better than the initial law has done nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import InternalEnergy
from problems.problem import Problem
from problems.validation import require_counts
from solvers.estimates import Estimate, Exact, Particles
from solvers.solver import Solution, Solver


@dataclass(frozen=True, kw_only=True)
class Oracle(Solver):
    """The oracle answers with the truth: ``particles`` independent exact draws (n, D), or the law itself if ``None``.

    Raises ``ValueError`` for ``particles`` below 1.
    """

    name: ClassVar[str] = "oracle"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (InternalEnergy, None)
    interacts: ClassVar[bool] = True
    assimilates: ClassVar[bool] = True
    particles: int | None = None

    def __post_init__(self) -> None:
        if self.particles is not None:
            require_counts(self.name, particles=self.particles)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def unsupported(self, problem: Problem) -> str | None:
        return None if problem.truth is not None else f"no exact law to draw from: {problem.truth_missing}"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        assert problem.truth is not None
        estimates: list[Estimate] = []
        for time in problem.flow.times:
            law = problem.truth(time)
            if self.particles is None:
                estimates.append(Exact(law))
            else:
                estimates.append(Particles(law.sample(self.particles, generator)))
        return Solution(problem.flow.times, tuple(estimates))


@dataclass(frozen=True, kw_only=True)
class Initial(Solver):
    """The initial law is the answer at every time: ρ_t = ρ_0."""

    name: ClassVar[str] = "initial"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (InternalEnergy, None)
    interacts: ClassVar[bool] = True
    assimilates: ClassVar[bool] = True

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow = problem.flow
        return Solution(flow.times, tuple(Exact(flow.initial) for _ in flow.times))
