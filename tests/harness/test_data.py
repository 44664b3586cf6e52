"""Data sets reach the cells from the folder that the command line names; without them only their cells end."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.catalogue import catalogue
from harness.cell import run_in_child
from harness.components import Cell
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.schedule import Resources, dispatch
from harness.suite import Suite
from harness.supervise import Limits, check_data, supervise
from seeding import numpy_generator

SUITE = """\
title = "data"
seeds = 1
measures = ["accuracy"]
[[problems]]
use = "logistic-regression"
label = "banana"
settings = { data = "banana" }
[[problems]]
use = "logistic-regression"
label = "subset"
settings = { data = "covtype_subset", constant_features = "zero" }
[[solvers]]
use = "initial"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that holds a banana of the right shape, and nothing else."""
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    features = numpy_generator(0).normal(size=(5300, 2)).round(3)
    path = tmp_path / "data"
    path.mkdir()
    with gzip.open(path / "banana.csv.gz", "wt") as file:
        file.write("x0,x1,label\n")
        file.writelines(f"{x},{y},{1 if x > 0 else -1}\n" for x, y in features)
    return path


def cells() -> list[Cell]:
    suite = Suite.model_validate(
        {
            "title": "data",
            "seeds": 1,
            "problems": [
                {"use": "logistic-regression", "settings": {"data": "banana"}},
                {"use": "logistic-regression", "settings": {"data": "covtype_subset"}},
            ],
            "solvers": [{"use": "initial"}],
        }
    )
    return [cell for cell in plan(suite, Selection(), catalogue()) if cell.solver.name == "initial"]


def test_children_are_told_the_folder(folder: Path) -> None:
    """The server may have been started before, with another environment, and keeps it."""
    banana, subset = cells()
    limits = Limits(seconds=60, memory=2**30, threads=1, data=str(folder))
    (there,) = supervise([banana], limits)
    assert (there.status, there.reason) == ("ok", None)
    (absent,) = supervise([subset], limits)
    assert absent.status == "unavailable"
    assert "put covtype_subset.csv.gz into a folder and name it by --data DIR or WGFBENCH_DATA" in str(absent.reason)


def test_workers_of_a_cluster_are_told_the_folder(folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    limits = Limits(seconds=60, memory=2**30, threads=1, data=str(folder))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        resources = Resources(limits, backend="dask", scheduler=cluster.scheduler_address)
        statuses = {cell.dim: outcome.status for cell, outcome, _ in dispatch(cells(), resources, lambda _: False)}
    assert statuses == {3: "ok", 55: "unavailable"}


def test_bad_data_are_an_error_of_their_cell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "banana.csv.gz").write_bytes(b"not gzip")
    monkeypatch.setenv("WGFBENCH_DATA", str(folder))
    (outcome,) = run_in_child(cells()[:1])
    assert outcome.status == "error"
    assert "banana.csv.gz is not a gzip table of numbers" in str(outcome.reason)


def test_the_sweep_goes_on_without_the_data_that_are_missing(
    folder: Path, tmp_path: Path, wgfbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    suite = tmp_path / "data.toml"
    suite.write_text(SUITE)
    found = wgfbench("run", suite, "-j", "1", "--data", "data")
    assert found.returncode == 1, found.stderr
    with sqlite3.connect(tmp_path / "results" / "wgfbench.sqlite") as store:
        rows = store.execute(
            "SELECT size, status, reason, rerun FROM plans JOIN cells USING (key) WHERE solver = 'initial' "
            "ORDER BY size"
        ).fetchall()
    assert [row[:2] for row in rows] == [(3, "ok"), (55, "unavailable")]
    assert "put covtype_subset.csv.gz into a folder" in rows[1][2]
    assert "--data data" in rows[0][3]


def test_a_folder_that_is_not_there_is_bad_usage(
    tmp_path: Path, wgfbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = wgfbench("run", "logistic-regression", "--dry-run", "--data", "nowhere")
    assert found.returncode == 2
    assert found.stderr.strip() == "wgfbench: --data 'nowhere' is not a folder"
    with pytest.raises(UsageError):
        check_data(tmp_path / "nowhere")


def test_the_variable_stands_in_for_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    assert check_data(None) is None
    monkeypatch.setenv("WGFBENCH_DATA", str(tmp_path))
    assert check_data(None) == str(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    assert check_data(other) == str(other)
