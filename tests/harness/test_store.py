"""The store keeps every cell once, whatever happens to the process that writes it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from harness import load, load_projections, load_traces
from harness.catalogue import catalogue
from harness.components import Cell
from harness.editing import retire_edited
from harness.errors import UsageError
from harness.outcome import Measurement, Outcome, Projection
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.store import Store
from harness.store_formats import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, SINCE_2, SINCE_3
from harness.suite import Suite

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cells(plugin: Path) -> list[Cell]:
    suite = Suite.model_validate(
        {"title": "test", "seeds": 2, "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}
    )
    return plan(suite, Selection(), catalogue([plugin]))


def measured(value: float, sample_size: int | None = None) -> Outcome:
    return Outcome("ok", measurements=(Measurement(1.0, "symkl", value, 0.1, "test", sample_size),))


def test_a_cell_that_is_ok_is_never_replaced(tmp_path: Path, cells: list[Cell]) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        run = store.begin("test", "", provenance(1))
        for outcome in (Outcome("error", "first"), Outcome("timeout", "second"), measured(3.0), Outcome("error", "x")):
            store.record(cells[0], outcome, run, 0)
        store.record_plan("test", "", cells, "wgfbench run test")
        assert store.statuses() == {cells[0].key: "ok"}
    frame = load(tmp_path / "store.sqlite")
    done = frame[frame["key"] == cells[0].key]
    assert done["value"].tolist() == [3.0]
    assert frame.loc[frame["key"] != cells[0].key, "status"].eq("planned").all()
    assert len(frame) == len(cells)


@pytest.mark.parametrize("own", [{"label": "wells"}, {"grid": {"times": [[0.5], [0.9]]}}])
def test_problems_are_kept_by_the_name_that_published_figures_go_by(tmp_path: Path, own: dict[str, object]) -> None:
    suite = Suite.model_validate(
        {"title": "test", "problems": [{"use": "ornstein-uhlenbeck", **own}], "solvers": [{"use": "euler-maruyama"}]}
    )
    with Store(tmp_path / "store.sqlite") as store:
        store.record_plan("test", "", plan(suite, Selection(), catalogue()), "wgfbench run test")
    assert set(load(tmp_path / "store.sqlite")["problem"]) == {"ornstein-uhlenbeck"}


def test_the_floor_is_the_oracle_of_the_same_sample_size(tmp_path: Path, plugin: Path) -> None:
    suite = Suite.model_validate(
        {
            "title": "test",
            "problems": [{"use": "ornstein-uhlenbeck"}],
            "solvers": [{"use": "euler-maruyama", "grid": {"particles": [10, 20]}}, {"use": "shifted"}],
        }
    )
    cells = plan(suite, Selection(), catalogue([plugin]))
    values = {"oracle": 1.0, "oracle particles=10": 2.0, "oracle particles=20": 3.0}
    with Store(tmp_path / "store.sqlite") as store:
        store.record_plan("test", "", cells, "wgfbench run test")
        run = store.begin("test", "", provenance(1))
        for cell in cells:
            size = cell.solver.make().sample_size
            store.record(cell, measured(values.get(cell.solver.label, 9.0), size), run, 0)
    frame = load(tmp_path / "store.sqlite").set_index("label")
    assert frame["floor"].to_dict() == {
        "initial": 1.0,
        "oracle": 1.0,
        "shifted": 1.0,
        "oracle particles=10": 2.0,
        "euler-maruyama particles=10": 2.0,
        "oracle particles=20": 3.0,
        "euler-maruyama particles=20": 3.0,
    }


@pytest.mark.parametrize("content", [b"a text that is no database at all, " * 10, b""])
def test_what_is_not_a_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    if content:
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
        other.close()
    with pytest.raises(UsageError, match="is not a wgfbench store"):
        Store(path)


def test_a_store_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="is a store of format 99"):
        Store(path)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        Store(tmp_path)
    with pytest.raises(UsageError, match="there is no store"):
        load(tmp_path / "none.sqlite")


def test_a_full_disk_keeps_what_was_stored(tmp_path: Path, cells: list[Cell]) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        run = store.begin("test", "", provenance(1))
        store.record(cells[0], measured(1.0), run, 0)
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UsageError, match="disk is full"):
            store.record(cells[1], replace(measured(1.0), traceback="x" * 10**6), run, 0)
        assert store.statuses() == {cells[0].key: "ok"}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_store_that_was_cut_off_is_said_to_be_damaged(tmp_path: Path, cells: list[Cell], share: float) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        run = store.begin("test", "", provenance(1))
        for cell in cells:
            store.record(cell, replace(measured(1.0), traceback="x" * 10**5), run, 0)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for reading in (False, True):
        with pytest.raises(UsageError, match="is damaged: a part of the file is missing"):
            load(path) if reading else Store(path)


def test_resume_asks_the_store_once(tmp_path: Path, cells: list[Cell]) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        statements: list[str] = []
        store.connection.set_trace_callback(statements.append)
        store.statuses()
        assert len(statements) == 1


def table(frame: pd.DataFrame) -> dict[tuple[str, str, float, str], float]:
    keys = zip(frame["key"], frame["status"], frame["t"], frame["metric"], strict=True)
    return dict(zip(keys, frame["value"], strict=True))


def test_killed_at_random_moments_every_cell_once(
    tmp_path: Path, plugin: Path, suite_file: Callable[..., Path], wgfbench: Run
) -> None:
    """SIGKILL at 20 random moments of a sweep of 201 cells, each time run again."""
    suite = suite_file("shifted", seeds=67)
    store = tmp_path / "killed.sqlite"
    command = [str(Path(sys.executable).with_name("wgfbench")), "run", str(suite), "--plugin", str(plugin)]
    command += ["--store", str(store), "-j", "2"]
    moments = random.Random(20)
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = finished(store)
        while process.poll() is None and finished(store) <= before:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.15))
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == [], "a cell outlived the sweep that was killed"
    assert 0 < finished(store) <= 201
    assert wgfbench("run", suite, "--plugin", plugin, "--store", store).returncode == 0
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT key) FROM cells").fetchone() == (201, 201)
        assert connection.execute("SELECT count(*) FROM measurements").fetchone() == (201,)
    connection.close()
    undisturbed = tmp_path / "undisturbed.sqlite"
    assert wgfbench("run", suite, "--plugin", plugin, "--store", undisturbed).returncode == 0
    assert table(load(store)) == table(load(undisturbed))


def finished(store: Path) -> int:
    """Return how many cells a store that another process writes has."""
    if not store.exists():
        return 0
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM cells").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def test_two_sweeps_at_once_lose_nothing(
    tmp_path: Path, plugin: Path, suite_file: Callable[..., Path], wgfbench: Run
) -> None:
    suite = suite_file("shifted", seeds=20)
    store = tmp_path / "shared.sqlite"
    command = [str(Path(sys.executable).with_name("wgfbench")), "run", str(suite), "--plugin", str(plugin)]
    sweeps = [subprocess.Popen([*command, "--store", str(store), "-j", "1"], cwd=tmp_path) for _ in range(2)]
    assert [sweep.wait() for sweep in sweeps] == [0, 0]
    alone = tmp_path / "alone.sqlite"
    assert wgfbench("run", suite, "--plugin", plugin, "--store", alone, "-j", "2").returncode == 0
    assert table(load(store)) == table(load(alone))
    assert len(load(store)) == 60


def test_one_job_and_two_give_the_same_bits(tmp_path: Path, wgfbench: Run) -> None:
    suite = tmp_path / "bits.toml"
    suite.write_text(
        """
        title = "bits"
        draws = 500
        seeds = 2
        [[problems]]
        use = "ornstein-uhlenbeck"
        dims = "3"
        [[solvers]]
        use = "euler-maruyama"
        settings = { particles = 500 }
        [[solvers]]
        use = "gaussian-jko"
        """
    )
    frames = []
    for jobs in ("1", "2"):
        store = tmp_path / f"{jobs}.sqlite"
        assert wgfbench("run", suite, "--store", store, "-j", jobs).returncode == 0
        frames.append(load(store))
    columns = ["key", "label", "t", "metric", "value", "standard_error", "estimator", "floor"]
    pd.testing.assert_frame_equal(frames[0][columns], frames[1][columns], check_exact=True)
    assert len(frames[0]) > 50


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_disk_that_fills_during_a_sweep(tmp_path: Path, plugin: Path, suite_file: Callable[..., Path]) -> None:
    """A limit on the size of files stands in for a full disk: one line, exit code 2, and the store is still whole."""
    suite = suite_file("shifted", seeds=300)
    store = tmp_path / "small.sqlite"
    binary = Path(sys.executable).with_name("wgfbench")
    shell = f"ulimit -f 400; exec {binary} run {suite} --plugin {plugin} --store {store} -j 2"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=1200)
    assert result.returncode == 2
    # A slow machine has time for lines that say how far it is.
    said = [line for line in result.stderr.strip().splitlines() if " failed, after " not in line]
    assert len(said) == 1
    assert str(store) in said[0]
    with Store(store) as whole:
        assert whole.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_plan_replaces_what_it_changes(tmp_path: Path, plugin: Path) -> None:
    """The same cells with other evaluation draws: one row each, and floors still match one to one."""
    with Store(tmp_path / "store.sqlite") as store:
        for draws in (100, 200):
            suite = Suite.model_validate(
                {"title": "t", "draws": draws, "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}
            )
            cells = plan(suite, Selection(), catalogue([plugin]))
            run = store.begin("test", "", provenance(1))
            retire_edited(store, "test", {"": suite}, catalogue([plugin]), None, {cell.key for cell in cells})
            store.record_plan("test", "", cells, "wgfbench run test")
            for cell in cells:
                store.record(cell, measured(float(draws)), run, 0)
    frame = load(tmp_path / "store.sqlite")
    assert frame["value"].tolist() == [200.0] * 3
    assert frame["floor"].tolist() == [200.0] * 3


def test_traces_and_draws_come_back(tmp_path: Path, cells: list[Cell]) -> None:
    path = tmp_path / "store.sqlite"
    points = np.arange(8, dtype="<f4").reshape(4, 2)
    outcome = replace(
        measured(1.0),
        traces={"seconds": (0.25, 0.5, 1e-3), "objective": (-1.0,)},
        assimilated={"seconds": (2.0,)},
        projections=(
            Projection(0.5, 1.0, points[:3].tobytes(), np.array([0.0, 1, 2, 3]).tobytes(), points[:2].tobytes()),
            Projection(1.0, 0.75, points.tobytes()),
        ),
    )
    with Store(path) as store:
        store.record_plan("test", "", cells, "wgfbench run test")
        run = store.begin("test", "", provenance(1))
        store.record(cells[0], replace(outcome, status="error", traces={"seconds": (7.0,)}), run, 0)
        assert load_traces(path).empty
        store.record(cells[0], outcome, run, 0)
        store.record(cells[1], measured(2.0), run, 0)
    traces = load_traces(path, "test")
    assert traces["key"].unique().tolist() == [cells[0].key]
    assert traces[["along", "name", "step", "value"]].to_numpy().tolist() == [
        ["observations", "seconds", 1, 2.0],
        ["steps", "objective", 1, -1.0],
        ["steps", "seconds", 1, 0.25],
        ["steps", "seconds", 2, 0.5],
        ["steps", "seconds", 3, 1e-3],
    ]
    draws = load_projections(path, "test")
    assert draws[["key", "t", "share"]].to_numpy().tolist() == [[cells[0].key, 0.5, 1.0], [cells[0].key, 1.0, 0.75]]
    np.testing.assert_array_equal(draws["points"][1], points)
    assert draws["box"][0].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(draws["density"][0], points[:2])
    assert (draws["box"][1], draws["density"][1]) == (None, None)
    assert len(load(path)) == len(cells)
    with pytest.raises(UsageError, match="suite in the store"):
        load_traces(path, "tset")


def test_a_store_of_the_first_format_is_brought_up(tmp_path: Path, cells: list[Cell]) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO cells (key, status) VALUES (?, 'ok')", (cells[0].key,))
    old.close()
    with Store(path) as store:
        assert store.format() == SCHEMA_VERSION
        assert store.statuses() == {cells[0].key: "ok"}
        store.record_plan("test", "", cells, "wgfbench run test")
    assert load_traces(path).empty
    assert load_projections(path).empty
    assert len(load(path)) == len(cells)


def test_series_of_the_third_format_are_told_apart_by_their_names(tmp_path: Path, cells: list[Cell]) -> None:
    """Those of observations had names of their own, and meant it only in a cell that knew their times."""
    path = tmp_path / "old.sqlite"
    of_observations = ("observation_time", "log_evidence", "effective_share", "effective_sample_size", "posterior_q05")
    of_steps = ("seconds", "posterior_", "predictive")
    with sqlite3.connect(path) as old:
        for statements in (SCHEMA, SINCE_2, SINCE_3):
            old.executescript(statements)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 3")
        for cell in cells[:2]:
            old.execute("INSERT INTO cells (key, status) VALUES (?, 'ok')", (cell.key,))
        rows = [(cells[0].key, name) for name in (*of_observations, *of_steps)]
        rows += [(cells[1].key, name) for name in ("effective_sample_size", "posterior_odds")]
        old.executemany("INSERT INTO traces (key, name, series) VALUES (?, ?, '[0.5, 2.0]')", rows)
    old.close()
    with Store(path) as store:
        assert store.format() == SCHEMA_VERSION
        store.record_plan("test", "", cells, "wgfbench run test")
    traces = load_traces(path)
    assert len(traces) == 2 * len(rows)
    assert set(traces["value"]) == {0.5, 2.0}
    found = set(zip(traces["key"], traces["name"], traces["along"], strict=True))
    assert {(key, name) for key, name, along in found if along == "observations"} == {
        (cells[0].key, name) for name in of_observations
    }
    assert {(key, name) for key, name, along in found if along == "steps"} == {
        *((cells[0].key, name) for name in of_steps), *((cells[1].key, name) for _, name in rows[-2:])
    }  # fmt: skip


def test_an_old_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", partial(read_only, sqlite3.connect))
        with pytest.raises(UsageError, match=r"old.sqlite.*readonly"):
            Store(path)


def read_only(connect: Callable[..., sqlite3.Connection], path: Path, **options: object) -> sqlite3.Connection:
    return connect(f"file:{path}?mode=ro", uri=True, **options)
