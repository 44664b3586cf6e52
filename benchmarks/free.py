"""A plugin whose problem and solver cost next to nothing: a sweep of them shows what the sweep itself costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from solvers.estimates import Exact
from solvers.solver import Solution, Solver

SUITE = """\
title = "free"
seeds = {seeds}
[[problems]]
use = "standing"
[[solvers]]
use = "free"
"""


@dataclass(frozen=True, kw_only=True)
class Standing(ProblemFamily):
    """A standard Gaussian at rest."""

    name: ClassVar[str] = "standing"

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        one = torch.eye(dim, dtype=torch.float64)
        law = Gaussian(torch.zeros(dim, dtype=torch.float64), one)
        flow = GradientFlow(law, FreeEnergy(Quadratic(one, law.mean), Entropy()), self.times)
        return Problem(flow, ("symkl-gaussian",), lambda t: law)


@dataclass(frozen=True, kw_only=True)
class Free(Solver):
    """The initial law, which is the answer."""

    name: ClassVar[str] = "free"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        return Solution(problem.flow.times, tuple(Exact(problem.flow.initial) for _ in problem.flow.times))
