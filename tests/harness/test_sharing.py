"""Stores are for sharing: read where they cannot be written, refused where they are too new, and merged."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.store
from former_stores import take_back
from harness import load
from harness.catalogue import catalogue
from harness.components import Cell
from harness.editing import retire_edited
from harness.errors import UsageError
from harness.merge import merge
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.store import Store
from harness.store_formats import SCHEMA_VERSION
from harness.suite import Suite

Command = Callable[..., Any]
TABLE = {"title": "t", "seeds": 3, "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}


def cells_of(plugin: Path, **keys: Any) -> list[Cell]:
    return plan(Suite.model_validate(TABLE | keys), Selection(), catalogue([plugin]))


def ok(value: float) -> Outcome:
    return Outcome("ok", measurements=(Measurement(1.0, "symkl-gaussian", value, 0.0, "test", None),))


def fill(path: Path, plugin: Path, started: str, outcomes: dict[int, Outcome], **keys: Any) -> list[Cell]:
    """Make a store of the suite ``t``, in which the seeds of ``shifted`` ended so."""
    suite = Suite.model_validate(TABLE | keys)
    cells = [cell for cell in cells_of(plugin, **keys) if cell.solver.name == "shifted"]
    with Store(path) as store:
        retire_edited(store, "t", {"": suite}, catalogue([plugin]), None, {cell.key for cell in cells})
        store.record_plan("t", "", cells, "wgfbench run t.toml")
        run = store.begin("t", "", replace(provenance(1), started=started))
        for cell in cells:
            if cell.seed in outcomes:
                store.record(cell, outcomes[cell.seed], run, 0)
    return cells


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that takes away the right to write a store and its folder; the superuser is told so."""

    def protect(path: Path) -> None:
        path.chmod(0o444)
        path.parent.chmod(0o555)
        monkeypatch.setattr(harness.store, "may_write", lambda store: False)

    return protect


@pytest.fixture
def shared(tmp_path: Path, plugin: Path) -> Path:
    (tmp_path / "shared").mkdir()
    path = tmp_path / "shared" / "r.sqlite"
    fill(path, plugin, "2026", {0: ok(1.0), 1: ok(2.0)})
    return path


def test_what_cannot_be_written_is_read(
    shared: Path, tmp_path: Path, unwritable: Callable[[Path], None], command: Command
) -> None:
    before = shared.read_bytes()
    shutil.copy(shared, tmp_path / "own.sqlite")
    unwritable(shared)
    try:
        shown = command("show", "--store", shared)
        assert (shown.code, shown.err) == (0, "")
        assert "shifted" in shown.out
        assert command("report", "--store", shared, "-o", tmp_path / "page.html").code == 0
        assert "shifted" in command("export", "--store", shared).out
        assert command("compare", shared, tmp_path / "own.sqlite").code == 0
        assert "2 ok" in command("doctor", "--store", shared).out
        assert len(load(shared)) == 3
        assert os.listdir(shared.parent) == ["r.sqlite"]
        assert shared.read_bytes() == before
    finally:
        shared.parent.chmod(0o755)


def test_what_is_still_in_the_log_is_read(shared: Path, unwritable: Callable[[Path], None]) -> None:
    """A copy of a store that was being written: its last cells are in the log beside it."""
    writer = sqlite3.connect(shared)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE cells SET reason = 'from the log'")
    writer.commit()
    log = shared.with_name("r.sqlite-wal")
    copies = {file: file.read_bytes() for file in (shared, log)}
    assert copies[log]
    writer.close()
    for file, content in copies.items():
        file.write_bytes(content)
    unwritable(shared)
    try:
        assert "from the log" in set(load(shared)["reason"])
        assert log.read_bytes() == copies[log]
    finally:
        shared.parent.chmod(0o755)


def test_an_older_store_that_cannot_be_written_is_brought_up_in_memory(
    shared: Path, unwritable: Callable[[Path], None]
) -> None:
    with sqlite3.connect(shared) as old:
        take_back(old, 5)
    old.close()
    unwritable(shared)
    try:
        assert len(load(shared)) == 3
    finally:
        shared.parent.chmod(0o755)
    with sqlite3.connect(f"file:{shared}?mode=ro&immutable=1", uri=True) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (5,)
    old.close()


def test_a_newer_store_asks_for_an_upgrade(shared: Path, command: Command) -> None:
    with Store(shared) as store:
        store.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for arguments in (["show"], ["run", "demo"], ["export"], ["report"]):
        printed = command(*arguments, "--store", shared)
        assert printed.code == 2
        assert f"reads 1 to {SCHEMA_VERSION}: upgrade wgfbench to read it" in printed.err
        assert len(printed.err.strip().splitlines()) == 1


def values(path: Path) -> dict[int, float]:
    frame = load(path)
    return dict(zip(frame["seed"], frame["value"], strict=True))


def test_a_merged_store_has_every_cell_once_and_the_one_that_finished(tmp_path: Path, plugin: Path) -> None:
    a, b, c = (tmp_path / f"{name}.sqlite" for name in "abc")
    fill(a, plugin, "2025", {0: ok(1.0), 1: Outcome("timeout", "too slow")})
    fill(b, plugin, "2026", {1: ok(2.0), 2: ok(3.0)})
    found = merge([b, a], c)
    assert (found.cells, found.runs, found.shared, found.conflicts) == (3, 2, 1, ())
    assert values(c) == {0: 1.0, 1: 2.0, 2: 3.0}
    assert load(c).set_index("seed")["started"].to_dict() == {0: "2025", 1: "2026", 2: "2026"}
    with Store(c) as store:
        assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again = merge([c, a, b], tmp_path / "d.sqlite")
    assert (again.cells, again.runs) == (3, 2)


def test_cells_that_disagree_are_named(tmp_path: Path, plugin: Path, command: Command) -> None:
    cells = fill(tmp_path / "a.sqlite", plugin, "2025", {0: ok(1.0), 1: ok(2.0)})
    fill(tmp_path / "b.sqlite", plugin, "2026", {0: ok(1.5), 1: ok(2.0 * (1 + 1e-12))})
    printed = command("merge", "a.sqlite", "b.sqlite", "-o", "new/c.sqlite")
    assert printed.code == 0
    said = [line for line in printed.out.splitlines() if "symkl-gaussian" in line]
    assert len(said) == 1
    assert cells[0].key in said[0]
    assert values(tmp_path / "new" / "c.sqlite")[0] == 1.5


def test_one_suite_of_two_contents_asks(tmp_path: Path, plugin: Path, command: Command) -> None:
    fill(tmp_path / "a.sqlite", plugin, "2025", {0: ok(1.0)})
    edited = {"solvers": [{"use": "shifted", "settings": {"scale": 0.5}}]}
    fill(tmp_path / "b.sqlite", plugin, "2026", {0: ok(2.0)}, **edited)
    refused = command("merge", "b.sqlite", "a.sqlite", "-o", "c.sqlite")
    assert refused.code == 2
    assert "suite 't' has another content in 'b.sqlite'" in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.glob("*c.sqlite*")) == []
    assert command("merge", "b.sqlite", "a.sqlite", "-o", "c.sqlite", "--newest").code == 0
    assert values(tmp_path / "c.sqlite")[0] == 2.0
    assert len(load(tmp_path / "c.sqlite", everything=True)) == 6


def test_what_cannot_be_merged(tmp_path: Path, plugin: Path) -> None:
    fill(tmp_path / "a.sqlite", plugin, "2025", {0: ok(1.0)})
    for sources, target, said in (
        (["a"], "c", "two stores or more, got 1"),
        (["a", "a"], "a", "is there already"),
        (["a", "none"], "c", "there is no store"),
    ):
        with pytest.raises(UsageError, match=said):
            merge([tmp_path / f"{name}.sqlite" for name in sources], tmp_path / f"{target}.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_report_never_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact density behind draws wants the data set; it is looked for on this machine alone."""
    import torch

    from harness.report.exact_density import exact_density

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    asked: list[object] = []

    def refuse(*arguments: object, **more: object) -> None:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    draws = torch.zeros(3, 2).double().numpy()
    assert exact_density("logistic-regression", '{"data": "banana"}', 3, draws) is None
    assert asked == []
    assert "WGFBENCH_OFFLINE" not in os.environ


def test_a_report_finds_the_data_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    from harness.report.exact_density import exact_density
    from seeding import numpy_generator

    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    x = numpy_generator(1).normal(size=(5300, 2)).round(3)
    with gzip.open(tmp_path / "banana.csv.gz", "wt") as file:
        file.write("\n".join(["x0,x1,label", *(f"{a},{b},{1 if a > b else -1}" for a, b in x)]) + "\n")
    draws = numpy_generator(2).normal(size=(50, 2))
    exact = exact_density("logistic-regression", '{"data": "banana"}', 3, draws, str(tmp_path))
    assert exact is not None
    assert exact.names == ("w₁", "w₂")
