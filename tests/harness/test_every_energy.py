"""Every solver meets every free energy: each cell is solved, or skipped with the reason that the solver declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import problems
import solvers
from harness.catalogue import catalogue, import_target
from harness.cell import Outcome, run_in_child
from harness.conformance import exhibits
from harness.conformance.contract import verdict
from harness.conformance.instances import ProblemTrial
from harness.conformance.problems import CHECKS
from harness.plan import Selection, plan
from harness.suite import Suite

PLUGIN = Path(__file__).parent / "every_energy.py"
FAMILIES = ("porous", "porous-alone", "herd", "gathering", "sliding", "heat")
SETTINGS: dict[str, dict[str, Any]] = {
    "euler-maruyama": {"particles": 500, "step_size": 0.02},
    "blob": {"particles": 50, "tolerance": 0.2},
    "bootstrap-filter": {"particles": 500, "step_size": 0.02},
    "proximal-recursion": {"particles": 100, "step_size": 0.05},
    "icnn-jko": {"iterations": 20, "width": 8, "batch_size": 64, "pool_size": 256, "step_size": 0.1},
    "dual-jko": {"samples": 1000, "step_size": 0.1, "iterations": 100},
    "chang-cooper": {"cells": 200},
    "quantile-jko": {"nodes": 100},
    "barenblatt-jko": {"step_size": 0.02},
    "finite-volume": {"cells": 48},
    "primal-dual-jko": {
        "iterations": 10,
        "width": 8,
        "dual_width": 8,
        "batch_size": 64,
        "pool_size": 512,
        "patience": 1,
        "step_size": 0.1,
    },
}
BOUNDS = ("oracle", "initial")
SOLVED: dict[str, tuple[str, ...]] = {
    "barenblatt-jko": FAMILIES,
    "blob": FAMILIES,
    "euler-maruyama": ("herd", "gathering", "sliding", "heat"),
    "finite-volume": FAMILIES,
    "icnn-jko": FAMILIES,
    "primal-dual-jko": FAMILIES,
    "quantile-jko": FAMILIES,
}
"""The families of general energies that a method solves: as far as its dimensions go, in time and stationary."""
MOST_DIMENSIONS = {"finite-volume": 2, "quantile-jko": 1}
DECLARED = (
    "no interaction term",
    "the internal energy must be",
    "stationary problems only",
    "-dimensional problems only",
)


def outcomes(name: str, dims: str, **settings: Any) -> dict[tuple[str, int], Outcome]:
    """Run every built-in solver on a family, in this process."""
    suite = Suite.model_validate(
        {
            "title": "every energy",
            "dims": dims,
            "draws": 500,
            "problems": [{"use": name, "settings": settings}],
            "solvers": [{"use": solver, "settings": SETTINGS.get(solver, {})} for solver in solvers.BUILTIN],
        }
    )
    cells = plan(suite, Selection(), catalogue([PLUGIN]))
    assert {cell.solver.name for cell in cells} == set(solvers.BUILTIN)
    return {(cell.solver.label, cell.dim): next(run_in_child([cell])) for cell in cells}


@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_solved_or_skipped_with_its_reason(name: str, stationary: bool) -> None:
    if stationary and name in ("porous-alone", "gathering", "heat"):
        pytest.skip("has no stationary law with a density")
    found = outcomes(name, "1:3", stationary=stationary)
    for (label, dim), outcome in found.items():
        where = f"{label}, D = {dim}: {outcome.reason}"
        solver = label.split()[0]
        assert outcome.status in ("ok", "skipped"), where
        assert (outcome.status == "skipped") == bool(outcome.reason), where
        if solver in BOUNDS:
            assert outcome.status == "ok" or (solver == "oracle" and stationary), where
        elif name in SOLVED.get(solver, ()) and dim <= MOST_DIMENSIONS.get(solver, dim):
            assert outcome.status == "ok", where
        elif name != "heat":
            assert outcome.status == "skipped", where
            assert any(words in str(outcome.reason) for words in DECLARED), where
    if name == "heat":
        solved = {label for (label, dim), outcome in found.items() if outcome.status == "ok" and dim == 1}
        assert solved >= {"chang-cooper", "quantile-jko", "euler-maruyama", "icnn-jko", "proximal-recursion"}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_truths_hold(name: str, check: str) -> None:
    component = import_target(catalogue([PLUGIN]).target("problem", name))
    found = verdict(check, CHECKS[check], ProblemTrial(component))
    assert found.passed, found.detail


FILTERING = {"linear-filtering", "nonlinear-filtering"}
IN_TIME = {"double-well", "ornstein-uhlenbeck"}
POSTERIORS = {"gaussian-mixture", "logistic-regression", "two-moons"}
EVERY = FILTERING | IN_TIME | POSTERIORS
"""The families that there were then."""
REFUSED_BEFORE: dict[str, set[str]] = {
    "oracle": set(),
    "initial": set(),
    "gaussian-jko": {"double-well D=1", "initial_components=2"} | POSTERIORS,
    "barenblatt-jko": {"double-well D=1", "initial_components=2"} | POSTERIORS | FILTERING,
    "gaussian-variational": FILTERING | IN_TIME,
    "finite-volume": FILTERING | {"D=4", "D=31"},
    "euler-maruyama": FILTERING,
    "chang-cooper": {"D=2", "D=4", "D=31"},
    "icnn-jko": set(),
    "primal-dual-jko": FILTERING,
    "svgd": FILTERING | IN_TIME,
    "bootstrap-filter": set(),
    "blob": FILTERING,
    "quantile-jko": {"D=2", "D=4", "D=31"},
    "dual-jko": set(),
    "proximal-recursion": FILTERING,
    "mala": FILTERING | IN_TIME,
    "laplace": FILTERING | IN_TIME | {"gaussian-mixture", "two-moons"},
}
"""What each built-in solver refused of the gallery when it still did so by hand: words of the titles of problems.

``gaussian-jko`` solved what it or ``gaussian-variational`` solves.
"""


def test_every_method_is_in_the_table() -> None:
    assert set(REFUSED_BEFORE) == set(solvers.BUILTIN)


@pytest.mark.parametrize("name", REFUSED_BEFORE)
def test_nothing_is_refused_that_was_solved(name: str) -> None:
    solver = import_target(solvers.BUILTIN[name])()
    shown = [
        exhibit for exhibit in exhibits(tuple(sorted(problems.BUILTIN.items()))) if exhibit.title.split()[0] in EVERY
    ]
    assert {exhibit.title.split()[0] for exhibit in shown} == EVERY
    refused = {exhibit.title for exhibit in shown if solver.refusal(exhibit.problem) is not None}
    words = REFUSED_BEFORE[name]
    assert refused == {exhibit.title for exhibit in shown if any(f" {word} " in f" {exhibit.title} " for word in words)}
