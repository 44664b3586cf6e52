"""The same sweep through a dask cluster: workers supervise the cells, the store is written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.catalogue import catalogue
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.schedule import Resources, dispatch
from harness.suite import load_suite
from harness.supervise import Limits

LIMITS = Limits(seconds=60, memory=2**30, threads=1)


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
