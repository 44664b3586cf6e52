"""Cells of a plug-in whose files have changed under one version are named, and run again when that is asked for."""

from __future__ import annotations

import sqlite3
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from former_stores import take_back
from harness import load
from harness.catalogue import catalogue
from harness.plan import Selection, plan
from harness.plugin_code import code_checksum
from harness.store import Store
from harness.suite import Suite

Command = Callable[..., Any]
PLUGIN = '''
"""An answer that is off by what a file beside says."""
from dataclasses import dataclass

import torch
from problems.laws import Gaussian
from solvers.estimates import Exact
from solvers.solver import Diverged, Solution, Solver

from offset_beside import OFFSET

@dataclass(frozen=True, kw_only=True)
class Off(Solver):
    name = "off"
    version = 1

    def solve(self, problem, generator, device):
        if OFFSET > 9:
            raise Diverged("too far off")
        law = Gaussian(torch.full((problem.flow.dim,), OFFSET, dtype=torch.float64),
                       torch.eye(problem.flow.dim, dtype=torch.float64))
        return Solution(problem.flow.times, tuple(Exact(law) for _ in problem.flow.times))
'''
SUITE = """
title = "t"
seeds = 2
draws = 64
measures = ["bures-w2"]
[[problems]]
use = "ornstein-uhlenbeck"
dims = "1"
settings = { instance = "random", times = [1.0] }
[[solvers]]
use = "off"
"""
CHANGED = "solver off: its files have changed since 2 of these cells ran, its version has not"


@pytest.fixture
def run(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return `wgfbench run`, of a suite with a plug-in and a file beside it, which has run once."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # a dry run plans in this process, where other tests' folders lie
    (tmp_path / "off.py").write_text(PLUGIN)
    offset(tmp_path, 0.5)
    (tmp_path / "t.toml").write_text(SUITE)

    def again(*more: str) -> Any:
        return command("run", "t.toml", "--plugin", "off.py", "--store", "s.sqlite", "-j", "1", *more)

    said = again()
    assert said.code == 0
    assert "changed" not in said.err
    return again


def offset(folder: Path, value: float) -> None:
    """Write the module of the plug-in that it imports from beside it, and the module that this one imports."""
    (folder / "number_beside.py").write_text(f"NUMBER = {value}\n")
    (folder / "offset_beside.py").write_text("from number_beside import NUMBER as OFFSET\n")


def values(folder: Path) -> list[float]:
    frame = load(folder / "s.sqlite")
    return [float(value) for value in frame.loc[frame["label"] == "off", "value"]]


def test_an_unchanged_plugin_is_not_spoken_of(run: Command) -> None:
    for _ in range(2):
        said = run()
        assert said.code == 0
        assert "changed" not in said.err


def test_an_edited_helper_of_a_helper_is_named_until_its_cells_are_run_again(run: Command, tmp_path: Path) -> None:
    before = values(tmp_path)
    offset(tmp_path, 2.5)
    for _ in range(2):  # it is said again each time
        said = run()
        assert CHANGED in said.err
        assert "0 of them ran now" in said.err
        assert values(tmp_path) == before
    assert CHANGED in run("--dry-run").err
    sys.modules.pop("offset_beside")
    said = run("--rerun-changed-code")
    assert "2 of them ran now" in said.err
    assert "changed" not in said.err
    assert all(now > then for now, then in zip(values(tmp_path), before, strict=True))
    assert "changed" not in run().err
    assert "0 of them ran now" in run("--rerun-changed-code").err


def test_an_edited_plugin_is_named_and_a_higher_version_is_run(run: Command, tmp_path: Path) -> None:
    (tmp_path / "off.py").write_text(PLUGIN.replace("OFFSET, dtype", "-OFFSET, dtype"))
    assert CHANGED in run().err
    (tmp_path / "off.py").write_text(PLUGIN.replace("version = 1", "version = 2"))
    said = run()
    assert "2 of them ran now" in said.err
    assert "changed" not in said.err


def test_a_failure_of_changed_code_takes_the_place_of_a_figure(run: Command, tmp_path: Path) -> None:
    offset(tmp_path, 10.0)
    assert run("--rerun-changed-code").code == 1
    frame = load(tmp_path / "s.sqlite")
    assert set(frame.loc[frame["label"] == "off", "status"]) == {"diverged"}
    offset(tmp_path, 0.5)
    assert CHANGED in run().err
    assert run("--rerun-changed-code").code == 0


def test_figures_of_two_states_of_a_file_are_told_in_the_verdict(
    run: Command, tmp_path: Path, command: Command
) -> None:
    assert "states of its files" not in command("verdict", "--store", "s.sqlite").out
    offset(tmp_path, 2.5)
    assert CHANGED in run("--seeds", "4").err
    assert "solver off: its cells ran with 2 states of its files under one version" in " ".join(
        command("verdict", "--store", "s.sqlite").out.split()
    )
    assert load(tmp_path / "s.sqlite").groupby("label")["code"].nunique()["off"] == 2


def test_of_cells_of_older_stores_the_code_is_not_known(run: Command, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as store:
        take_back(store, 9)
    offset(tmp_path, 2.5)
    said = run()
    assert said.code == 0
    assert "changed" not in said.err
    with Store(tmp_path / "s.sqlite") as opened:
        assert opened.codes() == {}


def test_built_in_solvers_have_no_checksum(tmp_path: Path, command: Command) -> None:
    text = SUITE.replace('"off"', '"gaussian-jko"').replace("seeds = 2", "seeds = 1")
    (tmp_path / "t.toml").write_text(text)
    assert command("run", "t.toml", "--store", "s.sqlite", "-j", "1").code == 0
    assert set(load(tmp_path / "s.sqlite")["code"]) == {""}


def test_a_cell_says_what_it_ran_with_not_what_was_planned(run: Command, tmp_path: Path) -> None:
    suite = Suite.model_validate(tomllib.loads(SUITE))
    cell = next(
        each for each in plan(suite, Selection(), catalogue([tmp_path / "off.py"])) if each.solver.name == "off"
    )
    assert cell.code_here() == cell.code != ""
    offset(tmp_path, 2.5)
    assert cell.code_here() != cell.code


def test_files_of_a_package_and_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_package_of_mine"
    (package / "inside").mkdir(parents=True)
    for place in (package, package / "inside"):
        (place / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_checksum("a_package_of_mine.inside:Something")
    assert before is not None
    (package / "inside" / "deep.py").write_text("A = 1\n")
    assert code_checksum("a_package_of_mine.inside:Something") != before
    assert code_checksum("no_such_package_of_mine:Something") is None
