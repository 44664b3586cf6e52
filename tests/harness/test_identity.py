"""Keys and random streams of stored cells stay what they are, whatever components and settings are called today."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import harness.identity
from harness.catalogue import all_settings, catalogue
from harness.components import Cell, Component, Evaluation
from harness.expansion import expand
from harness.identity import SETTINGS, Former, former
from harness.suite import ProblemEntry, SolverEntry
from solvers.bounds import Initial

KNOWN = [json.loads(line) for line in (Path(__file__).parent / "known_keys.jsonl").read_text().splitlines()]
"""Problem, settings, solver, settings, dimension, draws and key of cells in stores that were written before.

Names are those of today, keys those of then.
"""
VERSIONS = {
    "blob": 1,
    "chang-cooper": 1,
    "dual-jko": 3,
    "gaussian-variational": 1,
    "icnn-jko": 3,
    "proximal-recursion": 1,
    "quantile-jko": 1,
}
"""Versions that those cells were of, where others have come since: such cells are run again, on purpose."""


def component(kind: Any, name: str, settings: dict[str, Any]) -> Component:
    entry = {"problem": ProblemEntry, "solver": SolverEntry}[kind](use=name, settings=settings)
    ((found, _),) = expand(kind, entry, catalogue())
    return found


def cell(problem: str, settings: Any, solver: str, solver_settings: Any, size: int, draws: int) -> Cell:
    problem_component, made = component("problem", problem, settings), component("solver", solver, solver_settings)
    of_then = replace(made, version=VERSIONS.get(solver, made.version))
    return Cell(problem_component, of_then, size, 0, Evaluation(draws), "cpu")


@pytest.mark.parametrize(("known", "key"), [(row[:-1], row[-1]) for row in KNOWN])
def test_a_stored_cell_keeps_its_key(known: list[Any], key: str) -> None:
    assert cell(*known).key == key


def test_every_method_is_among_the_known() -> None:
    assert {row[0] for row in KNOWN} == set(SETTINGS["problem"])
    assert {cell(*row[:-1]).place[2] for row in KNOWN} == set(SETTINGS["solver"])


@dataclass(frozen=True, kw_only=True)
class Renamed(Initial):
    """A Laplace approximation as it may be called one day: one setting renamed, one more."""

    name: ClassVar[str] = "mode"
    rounds: int = 200
    damping: float = 0.5


def renamed(monkeypatch: pytest.MonkeyPatch, *entries: Former, **settings: Any) -> Component:
    monkeypatch.setattr(harness.identity, "FORMERLY", {("solver", "mode"): entries})
    text = json.dumps(all_settings(Renamed(**settings)), sort_keys=True)
    return Component("solver", "mode", "mode", f"{__name__}:Renamed", 1, text)


def of(solver: Component) -> Cell:
    return Cell(component("problem", "gaussian-mixture", {}), solver, 2, 0, Evaluation(8192), "cpu")


def test_a_method_and_a_setting_with_new_names_and_a_new_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(component("solver", "laplace", {}))
    now = of(renamed(monkeypatch, Former("laplace", {"rounds": "iterations"})))
    assert (now.key, now.run_identity) == (before.key, before.run_identity)
    other = of(component("solver", "laplace", {"iterations": 7}))
    assert of(renamed(monkeypatch, Former("laplace", {"rounds": "iterations"}), rounds=7)).key == other.key
    damped = of(renamed(monkeypatch, Former("laplace", {"rounds": "iterations"}), damping=0.25))
    assert json.loads(damped.solver.formerly()[1]) == {"iterations": 200, "damping": 0.25}
    assert damped.key != before.key


def test_a_name_may_hold_on_some_problems_and_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        Former("laplace", {"rounds": "iterations"}, problems=("gaussian-mixture",), where={"damping": 0.5}),
        Former("oracle", problems=("double-well",), fixed={"particles": 5}),
    )
    here = renamed(monkeypatch, *entries)
    assert here.formerly("gaussian-mixture") == ("laplace", '{"iterations": 200}')
    assert here.formerly("double-well") == ("oracle", '{"particles": 5}')
    assert renamed(monkeypatch, *entries, damping=0.1).formerly("gaussian-mixture")[0] == "mode"
    assert here.formerly("ornstein-uhlenbeck") == ("mode", here.settings)


def test_a_setting_that_has_gone_counts_with_what_was_its_default() -> None:
    now = dict(SETTINGS["solver"]["bootstrap-filter"])
    del now["collapse"]
    assert former("solver", "bootstrap-filter", now, "unused") == (
        "bootstrap-filter",
        SETTINGS["solver"]["bootstrap-filter"],
    )


@pytest.mark.parametrize("problem", ["gaussian-mixture", "logistic-regression"])
def test_a_method_that_came_to_be_two_has_the_old_key_once(problem: str) -> None:
    """On a posterior under the name that solves it now; the other, which declines it, has another key."""
    settings = {"step_size": 0.1, "order": 2}
    exact, variational = (
        cell(problem, {}, name, settings, 2, 8192) for name in ("gaussian-jko", "gaussian-variational")
    )
    assert exact.key != variational.key
    then = SETTINGS["solver"]["gaussian-jko"] | settings
    assert variational.solver.formerly(problem) == ("gaussian-jko", json.dumps(then, sort_keys=True))
    # Settings as they stand in stores of then, whose names ``wgfbench compare`` reads.
    assert former("solver", "gaussian-jko", then, exact.solver.target, problem) == ("gaussian-jko", then)


def test_a_problem_with_a_new_name_keeps_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(component("solver", "laplace", {}))
    monkeypatch.setattr(harness.identity, "FORMERLY", {("problem", "mixture"): (Former("gaussian-mixture"),)})
    known = before.problem
    now = Component("problem", "mixture", "mixture", known.target, known.version, known.settings)
    again = Cell(now, before.solver, 2, 0, before.evaluation, "cpu")
    assert (again.key, again.problem_stream) == (before.key, "gaussian-mixture")


def test_components_of_plugins_count_as_they_are(plugin: Path) -> None:
    ((shifted, _),) = expand("solver", SolverEntry(use="shifted"), catalogue([plugin]))
    assert shifted.formerly() == (shifted.name, shifted.settings)
