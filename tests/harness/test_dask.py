"""The same sweep through a dask cluster: workers supervise the cells, the store is written here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import cluster
from harness.catalogue import catalogue
from harness.components import Cell
from harness.errors import UsageError
from harness.outcome import Outcome
from harness.plan import Selection, plan
from harness.schedule import Resources, dispatch
from harness.suite import load_suite
from harness.supervise import Limits

LIMITS = Limits(seconds=60, memory=2**30, threads=1)
ELSEWHERE = """\
import os
from dataclasses import dataclass
from typing import ClassVar

import psutil

from solvers.estimates import Exact
from solvers.solver import Solution, Solver


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Solver):
    \"\"\"Says which process keeps the server that its own is forked from, and may kill it.\"\"\"

    name: ClassVar[str] = "elsewhere"
    kills: bool = False

    def solve(self, problem, generator, device):
        keeper = psutil.Process().parents()[1]
        if self.kills:
            keeper.kill()
        laws = tuple(Exact(problem.flow.initial) for _ in problem.flow.times)
        return Solution(problem.flow.times, laws, diagnostics={"keeper": keeper.pid})
"""


@pytest.fixture
def cells(plugin: Path, tmp_path: Path, suite_file: Callable[..., Path]) -> Callable[..., list[Cell]]:
    """Return a function that plans a suite of one solver that says where it runs, for so many seeds."""
    own = tmp_path / "elsewhere.py"
    own.write_text(ELSEWHERE)

    def planned(seeds: int = 1, kills: bool = False) -> list[Cell]:
        path = suite_file("elsewhere", seeds=seeds)
        path.write_text(path.read_text() + f"\nsettings = {{ kills = {str(kills).lower()} }}\n")
        suite, _ = load_suite(str(path), None)
        return plan(suite, Selection(), catalogue([plugin, own]))

    return planned


@pytest.fixture
def workers() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a cluster of some workers of one thread, which end with the test."""
    distributed = pytest.importorskip("distributed")
    started = []

    def start(count: int) -> Any:
        started.append(distributed.LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None))
        return started[-1]

    yield start
    for each in started:
        each.close()


def on(where: Any, cells: Sequence[Cell]) -> dict[str, Outcome]:
    """Return the outcomes of cells on a cluster, by key."""
    resources = Resources(LIMITS, backend="dask", scheduler=where.scheduler_address)
    return {cell.key: outcome for cell, outcome, _ in dispatch(cells, resources, lambda cell: False)}


def test_a_cluster_gives_the_same_outcomes(plugin: Path, suite_file: Callable[..., Path]) -> None:
    distributed = pytest.importorskip("distributed")
    suite, _ = load_suite(str(suite_file("shifted", "raising", seeds=3)), None)
    cells = plan(suite, Selection(), catalogue([plugin]))
    here = {cell.key: outcome for cell, outcome, _ in dispatch(cells, Resources(LIMITS, jobs=2), lambda cell: False)}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        resources = Resources(LIMITS, backend="dask", scheduler=cluster.scheduler_address)
        there = {cell.key: outcome for cell, outcome, _ in dispatch(cells, resources, lambda cell: False)}
    assert {key: (each.status, each.measurements) for key, each in there.items()} == {
        key: (each.status, each.measurements) for key, each in here.items()
    }
    assert sorted(each.status for each in there.values()) == ["error"] * 3 + ["ok"] * 9


def test_a_scheduler_must_be_named_and_answer(plugin: Path, suite_file: Callable[..., Path]) -> None:
    pytest.importorskip("distributed")
    suite, _ = load_suite(str(suite_file("shifted")), None)
    cells = plan(suite, Selection(), catalogue([plugin]))
    with pytest.raises(UsageError, match="needs --scheduler ADDRESS"):
        next(dispatch(cells, Resources(LIMITS, backend="dask"), lambda cell: False))
    resources = Resources(LIMITS, backend="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(UsageError, match="no dask scheduler answers"):
        next(dispatch(cells, resources, lambda cell: False))


@pytest.mark.xdist_group("dask")
def test_a_single_worker_of_one_thread_runs_all_cells(
    cells: Callable[..., list[Cell]], workers: Callable[..., Any]
) -> None:
    """None runs where the command does, which may be a machine that is not meant to compute."""
    planned = cells(seeds=2)
    found = on(workers(1), planned)
    keepers = {each.diagnostics["keeper"] for each in found.values() if "keeper" in each.diagnostics}
    assert len(keepers) == 1
    assert keepers != {os.getpid()}
    assert {each.status for each in found.values()} == {"ok"}
    assert len(found) == len(planned)


@pytest.mark.xdist_group("dask")
def test_a_cell_that_takes_down_every_worker_has_crashed(
    cells: Callable[..., list[Cell]], workers: Callable[..., Any]
) -> None:
    """The others keep their answers, and it has a row that says so."""
    dask = pytest.importorskip("dask")
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        found = on(workers(1), cells(kills=True))
    crashed = [each for each in found.values() if each.status != "ok"]
    assert [each.status for each in crashed] == ["crashed"]
    assert crashed[0].reason == "its worker died 2 times while it ran: of its memory, or killed by it"
    assert len(found) == 3


@pytest.mark.xdist_group("dask")
def test_a_cluster_without_workers_is_one_line(
    cells: Callable[..., list[Cell]], workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "JOINING", 1)
    with pytest.raises(UsageError, match=r"no worker has joined the dask scheduler at .* in 1 s: start some"):
        on(workers(0), cells())


@pytest.mark.xdist_group("dask")
def test_a_worker_without_the_project_is_one_line(
    cells: Callable[..., list[Cell]], workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "packed", lambda group, limits: b"cabsent\nthere\n.")
    with pytest.raises(UsageError, match="a dask worker cannot run cells: ModuleNotFoundError: No module named 'absen"):
        on(workers(1), cells())


def test_two_commands_share_the_cells_that_are_the_same(cells: Callable[..., list[Cell]]) -> None:
    first, second = cells(), cells()
    keys = [cluster.task_key([each], LIMITS) for each in first]
    assert keys == [cluster.task_key([each], LIMITS) for each in second]
    assert len(set(keys)) == len(first)
    edited = replace(first[-1], solver=replace(first[-1].solver, code="another"))
    assert cluster.task_key([edited], LIMITS) not in keys
    assert cluster.task_key([first[-1]], replace(LIMITS, checkpoints="another")) not in keys


def test_a_scheduler_s_file_must_be_one(tmp_path: Path) -> None:
    for name in ("s.json", "s"):
        (tmp_path / name).write_text(json.dumps({"address": "tcp://10.0.0.1:8786"}))
        assert cluster.address_of(str(tmp_path / name)) == "tcp://10.0.0.1:8786"
    assert cluster.address_of("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting property name"):
        cluster.address_of(str(tmp_path / "torn.json"))
    for text in ("[1]", "{}", '{"address": 3}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="the file holds no 'address'"):
            cluster.address_of(str(tmp_path / "other.json"))


@pytest.mark.parametrize("address", ["tls://127.0.0.1:9", "http://127.0.0.1:9", "localhost", ""])
def test_an_address_of_another_kind_is_one_line(cells: Callable[..., list[Cell]], address: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match=f"no dask scheduler answers at '{address}': "):
        next(dispatch(cells(), Resources(LIMITS, backend="dask", scheduler=address), lambda cell: False))
