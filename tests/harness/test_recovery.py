"""A store that was cut off in the middle: what is left of it is read, and what is read is right."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from former_stores import take_back
from harness import load
from harness.catalogue import catalogue
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.recovery import recover
from harness.store import Store
from harness.suite import Suite

Command = Callable[..., Any]
SEEDS = 400


@pytest.fixture
def store(tmp_path: Path, plugin: Path) -> Path:
    """Return a store of 400 seeds, each with two figures and a traceback of some length."""
    table = {"title": "t", "seeds": SEEDS, "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}
    cells = plan(Suite.model_validate(table), Selection(), catalogue([plugin]))
    path = tmp_path / "s.sqlite"
    with Store(path) as opened:
        opened.record_plan("t", "", cells, "wgfbench run t.toml")
        run = opened.begin("t", "", provenance(1))
        for cell in cells:
            figures = tuple(Measurement(1.0, name, cell.seed + 0.5, 0.0, "x" * 200, None) for name in ("a", "b"))
            opened.record(cell, Outcome("ok", measurements=figures, measures={"a": 1, "b": 1}), run, 0)
    return path


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_the_rest_is_read(store: Path, tmp_path: Path, command: Command, share: float) -> None:
    whole = load(store)
    figures = {(row.key, row.metric): row.value for row in whole.itertuples()}
    store.write_bytes(store.read_bytes()[: int(share * store.stat().st_size)])
    refused = command("show", "--store", store)
    assert refused.code == 2
    assert "is damaged: a part of the file is missing" in refused.err
    assert "wgfbench recover" in refused.err
    said = command("recover", store, "-o", "new.sqlite")
    assert (said.code, said.err) == (0, "")
    with Store(tmp_path / "new.sqlite") as opened:
        assert opened.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = opened.statuses()
    found = load(tmp_path / "new.sqlite")
    measured = found[found["status"].eq("ok")]
    assert {(row.key, row.metric): row.value for row in measured.itertuples()}.items() <= figures.items()
    assert measured.groupby("key").size().eq(2).all()
    assert len(kept) == measured["key"].nunique() > 0.2 * share * whole["key"].nunique()


def test_a_store_that_is_whole_is_copied_in_whole(store: Path, tmp_path: Path) -> None:
    cells = load(store)["key"].nunique()
    assert recover(store, tmp_path / "new.sqlite") == (cells, cells, ())
    assert load(tmp_path / "new.sqlite").drop(columns=["run"]).equals(load(store).drop(columns=["run"]))


def test_cells_whose_plan_is_lost_are_kept_and_that_is_said(store: Path, tmp_path: Path, command: Command) -> None:
    with closing(sqlite3.connect(store)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cells = {key for (key,) in opened.execute("SELECT key FROM cells")}
        (size,) = opened.execute("PRAGMA page_size").fetchone()
    # A leaf of the plans is a page with the command of a row, and not the first, where the schema stands.
    data = store.read_bytes()
    pages = [place for place in range(1, len(data) // size) if b"wgfbench run t.toml" in data[place * size :][:size]]
    page = pages[len(pages) // 2]
    store.write_bytes(data[: page * size] + bytes(size) + data[(page + 1) * size :])
    said = command("recover", store, "-o", "new.sqlite")
    assert said.code == 0
    first, second = said.out.splitlines()
    assert f"{len(cells)} cells of at least {len(cells)} that were planned could be read in whole" in first
    assert second == "rows that could not be read, how many is not known: of plans"
    with Store(tmp_path / "new.sqlite") as opened:
        assert opened.statuses().keys() == cells
        planned = {key for (key,) in opened.connection.execute("SELECT key FROM plans")}
    assert 0 < len(planned) < len(cells)


def test_a_store_of_the_format_before_can_be_recovered(store: Path, tmp_path: Path) -> None:
    cells = load(store)["key"].nunique()
    with closing(sqlite3.connect(store)) as opened:
        take_back(opened, 9)
        opened.commit()
    assert recover(store, tmp_path / "new.sqlite") == (cells, cells, ())


def test_what_cannot_be_recovered_is_one_line(store: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "notes").write_text("these are notes, and no database" * 100)
    for arguments, said in [
        ((tmp_path / "nowhere", "-o", "new.sqlite"), "there is no store at"),
        ((tmp_path / "notes", "-o", "new.sqlite"), "nothing can be read of"),
        ((store, "-o", store), "is there already: recover writes a new store"),
    ]:
        printed = command("recover", *arguments)
        assert printed.code == 2
        assert said in printed.err
        assert len(printed.err.strip().splitlines()) == 1
