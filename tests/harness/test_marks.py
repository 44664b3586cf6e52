"""What a method says against its own answer stands beside the figure, and the run is ok."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import pytest
import torch

from harness import marks
from harness.catalogue import BUILTIN, import_target
from harness.cell import said
from problems.gaussian_mixture import GaussianMixtureFlow
from seeding import fixed_generator, generator
from solvers.limits import LIMITS, Limit
from solvers.samplers.mala import MALA
from solvers.solver import Solver


@pytest.mark.parametrize("name", list(BUILTIN["solver"]))
def test_the_list_of_limits_is_what_methods_declare(name):
    assert import_target(BUILTIN["solver"][name]).limits == LIMITS.get(name, {})


@pytest.mark.parametrize(
    ("solver", "diagnostics", "reason"),
    [
        ("mala", {"rhat": 1.42, "ess": 430.0}, "R̂ 1.42, above 1.01"),
        ("mala", {"rhat": 1.0, "ess": 41.0}, "effective sample size 41, below 400"),
        ("mala", {"rhat": math.inf, "ess": 0.0}, "R̂ inf, above 1.01; effective sample size 0, below 400"),
        ("mala", {"rhat": 1.009, "ess": 4000.0}, ""),
        ("laplace", {"pareto_k": 0.95}, "Pareto k 0.95, above 0.7"),
        ("laplace", {"pareto_k": math.nan}, "Pareto k nan, above 0.7"),
        ("dual-jko", {"unconverged_steps": 3, "stopped": "limit"}, "steps that did not reach their tolerance: 3"),
        ("dual-jko", {"unconverged_steps": 0}, ""),
        ("euler-maruyama", {}, ""),
        ("mine", {"unfinished": "residual 2, above 1"}, "residual 2, above 1"),
    ],
)
def test_reasons(solver, diagnostics, reason):
    assert marks.reason(solver, diagnostics) == reason
    assert marks.reasons([solver, solver], [json.dumps(diagnostics), None]) == [reason, ""]


def test_a_group_of_runs_says_how_many_and_why():
    said_of = [{"rhat": 1.3}, {"rhat": 1.0}, {"rhat": 1.2}]
    cells = pd.DataFrame(
        {
            "label": ["mala"] * 3 + ["laplace", "laplace", "fine"],
            "solver": ["mala"] * 3 + ["laplace", "laplace", "fine"],
            "status": ["ok"] * 3 + ["ok", "diverged", "ok"],
            "diagnostics": [*map(json.dumps, said_of), json.dumps({"pareto_k": 0.8}), None, "{}"],
        }
    )
    found = marks.of_groups(cells, ["label"])
    assert found.to_dict() == {
        "laplace": "Pareto k 0.8, above 0.7",
        "mala": "R̂ 1.3, above 1.01 (2 of 3 runs)",
    }


def test_chains_that_disagree_are_marked():
    """Short chains in separate modes: the run is well, its figures are not to be trusted."""
    problem = GaussianMixtureFlow(instance="random").build(2, 0, fixed_generator(0))
    solution = MALA(particles=400, chains=20, warmup=20).solve(problem, generator(0), torch.device("cpu"))
    assert "R̂" in marks.reason("mala", solution.diagnostics)


def test_a_plug_in_declares_its_own():
    @dataclass(frozen=True, kw_only=True)
    class Mine(Solver):
        name: ClassVar[str] = "mine"
        limits: ClassVar = {"residual": Limit("residual", most=1e-3)}

        def solve(self, problem, generator, device):
            raise NotImplementedError

    assert said({"residual": 0.5}, Mine()) == {"residual": 0.5, "unfinished": "residual 0.5, above 0.001"}
    assert said({"residual": 1e-4}, Mine()) == {"residual": 1e-4}
    assert said({"rhat": 3.0}, MALA()) == {"rhat": 3.0}
