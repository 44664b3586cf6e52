"""Stored cells count as done until a measure that they are asked for is missing or has become another."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.identity
from harness import load
from harness.catalogue import catalogue, import_target
from harness.completion import Completion
from harness.components import Cell
from harness.measure import CATALOGUE
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.store import Store
from harness.store_formats import APPLICATION_ID, SCHEMA, SINCE_2, SINCE_3
from harness.suite import Suite
from harness.sweeping import incomplete, pending

Run = Callable[..., subprocess.CompletedProcess[str]]
NOW = {name: import_target(entry.target).version for name, entry in CATALOGUE.items()}


def planned(**keys: object) -> list[Cell]:
    table = {"title": "t", "problems": [{"use": "gaussian-mixture"}], "solvers": [{"use": "laplace"}]}
    return plan(Suite.model_validate(table | keys), Selection(dims="2"), catalogue())


def old_store(path: Path, cells: list[Cell], metrics: tuple[str, ...]) -> None:
    """Write a store as format 3 was: it says neither what a cell was asked for nor by which version of a measure."""
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA + SINCE_2 + SINCE_3)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 3")
        for cell in cells:
            old.execute("INSERT INTO cells (key, status) VALUES (?, 'ok')", (cell.key,))
            row = (
                "t",
                "",
                *cell.place,
                cell.key,
                cell.solver.label,
                cell.dim,
                cell.seed,
                cell.device,
                "wgfbench run t",
            )
            old.execute(
                "INSERT INTO plans (suite, preset, problem, problem_settings, solver, solver_settings, key, label, "
                f"size, seed, device, rerun) VALUES ({', '.join('?' * len(row))})",
                row,
            )
            for metric in metrics:
                old.execute("INSERT INTO measurements VALUES (?, 4.0, ?, 0.5, 0.1, 'old', NULL)", (cell.key, metric))
    old.close()


def waiting(path: Path, cells: list[Cell]) -> tuple[int, int]:
    with Store(path) as store:
        return len(pending(cells, store, True)), len(incomplete(cells, store, Completion(catalogue())))


def test_cells_of_an_old_store_are_done(tmp_path: Path) -> None:
    """Whatever has no figure there was asked for, for all that is known, and not suited."""
    cells = planned(measures=["elbo", "accuracy"])
    old_store(tmp_path / "old.sqlite", cells, ("elbo",))
    assert NOW["elbo"] == NOW["accuracy"] == 1
    assert waiting(tmp_path / "old.sqlite", cells) == (0, 0)


def test_cells_of_an_old_store_with_an_older_measure_are_completed(tmp_path: Path) -> None:
    cells = planned(measures=["elbo", "sliced-w2"])
    old_store(tmp_path / "old.sqlite", cells, ("elbo", "sliced-w2"))
    assert NOW["sliced-w2"] > 1
    assert waiting(tmp_path / "old.sqlite", cells) == (0, len(cells))
    asked = planned(measures=["elbo"])
    old_store(tmp_path / "asked.sqlite", asked, ("elbo",))
    assert waiting(tmp_path / "asked.sqlite", asked) == (0, 0)


def test_a_measure_that_there_was_not_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = planned()
    old_store(tmp_path / "old.sqlite", cells, ("elbo",))
    family = import_target(cells[0].problem.target)
    monkeypatch.setattr(family, "measures", ("elbo", "accuracy"))
    assert waiting(tmp_path / "old.sqlite", planned()) == (0, 0)
    monkeypatch.setattr(family, "measures", ("elbo", "accuracy", "free-energy"))
    assert waiting(tmp_path / "old.sqlite", planned()) == (0, len(cells))


@pytest.mark.parametrize(
    ("taken", "lacks"),
    [
        ({"symkl": NOW["symkl"], "bures-w2": NOW["bures-w2"]}, False),
        ({"symkl": NOW["symkl"], "bures-w2": NOW["bures-w2"], "pit": 0}, False),
        ({"symkl": NOW["symkl"] - 1, "bures-w2": NOW["bures-w2"]}, True),
        ({"symkl": None, "bures-w2": NOW["bures-w2"]}, False),
        ({"bures-w2": NOW["bures-w2"]}, True),
    ],
)
def test_what_a_cell_lacks(taken: dict[str, int | None], lacks: bool) -> None:
    cell = planned(measures=["symkl", "bures-w2"])[0]
    assert Completion(catalogue())(cell, taken) is lacks


def outcome(value: float, status: str = "ok", **measures: int) -> Outcome:
    figures = tuple(Measurement(1.0, name, value, 0.1, "test", None) for name in measures)
    return Outcome(status, measurements=figures, measures=measures, unsuited={"pit": "no filter"})


def test_an_ok_cell_gives_way_to_newer_measures_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    cell = planned()[0]
    with Store(path) as store:
        run = store.begin("t", "", provenance(1))
        store.record_plan("t", "", [cell], "wgfbench run t")
        values = []
        for each in (
            outcome(1.0, symkl=1),
            outcome(2.0, symkl=1),
            outcome(3.0, "error", symkl=2),
            outcome(4.0, symkl=2),
            outcome(5.0, symkl=1),
            outcome(6.0, symkl=2, elbo=1),
        ):
            store.record(cell, each, run, 0)
            values.append(float(load(path)["value"].iloc[0]))
        assert store.taken() == {cell.key: {"symkl": 2, "elbo": 1}} == store.taken(cell.key)
        unsuited = store.connection.execute("SELECT unsuited FROM cells").fetchone()[0]
    assert values == [1.0, 1.0, 1.0, 4.0, 4.0, 6.0]
    assert json.loads(unsuited) == {"pit": "no filter"}


def test_a_cell_that_is_run_anew_is_kept_as_it_ends(tmp_path: Path) -> None:
    cell = planned()[0]
    with Store(tmp_path / "s.sqlite") as store:
        run = store.begin("t", "", provenance(1))
        for how in (outcome(1.0, elbo=1), outcome(2.0, elbo=1), outcome(0.0, "timeout")):
            store.record(cell, how, run, None, anew=True)
            found = store.connection.execute("SELECT status, value FROM cells LEFT JOIN measurements USING (key)")
            assert found.fetchone() == (how.status, how.measurements[0].value if how.measurements else None)


def test_one_cell_runs_again_although_it_is_ok(command: Callable[..., Any], plugin: Path, suite_file: Any) -> None:
    options = (suite_file("shifted"), "--plugin", plugin, "--store", "s.sqlite")
    assert command("run", *options).code == 0
    before = load("s.sqlite").set_index("key")
    key = before.index[before["label"] == "shifted"][0]
    assert "1 of them ran now" in command("run", *options, "--cell", key[:12]).err
    after = load("s.sqlite").set_index("key")
    assert list(after.index) == list(before.index)
    assert list(after.index[after["finished"] > before["finished"]].unique()) == [key]
    assert list(after["value"]) == list(before["value"])
    assert "1 cells to run" in command("run", *options, "--cell", key, "--dry-run").out.replace("1 of 1", "1")


def test_a_plan_under_new_names_takes_the_place_of_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming a setting leaves one row a cell, under the new name, even where the version is raised as well."""

    cells = planned()
    old_store(tmp_path / "old.sqlite", cells, ("bures-w2",))
    assert any(cell.solver.name == "laplace" for cell in cells)
    entry = harness.identity.Former("laplace", {"rounds": "iterations"})
    monkeypatch.setattr(harness.identity, "FORMERLY", {("solver", "mode"): (entry,)})
    mode = {"name": "mode", "version": 2, "settings": '{"rounds": 200}'}
    now = [
        replace(each, solver=replace(each.solver, **mode)) if each.solver.name == "laplace" else each for each in cells
    ]
    with Store(tmp_path / "old.sqlite") as store:
        store.record_plan("t", "", now, "wgfbench run t")
        statements: list[str] = []
        store.connection.set_trace_callback(statements.append)
        store.record_plan("t", "", now, "wgfbench run t")
        assert not any(statement.startswith("INSERT") for statement in statements)
    frame = load(tmp_path / "old.sqlite")
    assert sorted(frame["solver"]) == ["initial", "mode", "oracle"]
    assert frame.set_index("solver").loc["mode", ["status", "solver_settings"]].tolist() == [
        "planned",
        '{"rounds": 200}',
    ]


def test_the_sweep_completes_what_is_stale(
    tmp_path: Path, plugin: Path, suite_file: Callable[..., Path], wgfbench: Run
) -> None:
    suite, path = suite_file("shifted", seeds=2), tmp_path / "store.sqlite"
    command = ("run", suite, "--plugin", plugin, "--store", path)
    assert wgfbench(*command).returncode == 0
    before = load(path)
    again = wgfbench(*command)
    assert "0 of them ran now" in again.stderr
    with sqlite3.connect(path) as store:
        store.execute("UPDATE cells SET measures = '{\"symkl-gaussian\": 0}'")
        store.execute("UPDATE measurements SET value = -1.0")
    store.close()
    completed = wgfbench(*command)
    assert completed.returncode == 0
    assert "6 cells in the store lack a measure or have an older one" in completed.stderr
    assert "6 of them ran now" in completed.stderr
    assert load(path)["value"].tolist() == before["value"].tolist()
    assert "0 of them ran now" in wgfbench(*command).stderr
