"""What the tables show is what the suite says: of edits, names, presets, devices, evaluations and data."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from former_stores import take_back
from harness import load
from harness.catalogue import Catalogue, catalogue
from harness.completion import Completion
from harness.components import Cell
from harness.data_checksum import DATA_UNKNOWN, content_checksum, data_checksum
from harness.editing import retire_edited
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.report.apart import told_apart
from harness.report.summary import summarise
from harness.store import Store
from harness.suite import Suite
from harness.sweeping import pending, with_known_data
from seeding import numpy_generator

Command = Callable[..., Any]
TABLE = {"title": "t", "seeds": 2, "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}


@pytest.fixture
def components(plugin: Path) -> Catalogue:
    return catalogue([plugin])


def run(path: Path, table: dict[str, Any], components: Catalogue, value: float, **more: Any) -> list[Cell]:
    """Record a suite as a sweep of it would, every cell ok with this value; return the cells that it had to run."""
    suite, preset = Suite.model_validate(table), str(more.pop("preset", ""))
    cells = plan(suite, Selection(**more), components)
    with Store(path) as store:
        retire_edited(store, "t", {preset: suite}, components, None, {cell.key for cell in cells})
        store.record_plan("t", preset, cells, "wgfbench run t.toml")
        number = store.begin("t", preset, provenance(1))
        waiting = pending(cells, store, False)
        for cell in waiting:
            figure = Measurement(1.0, "symkl-gaussian", value, 0.0, "test", None)
            store.record(cell, Outcome("ok", measurements=(figure,)), number, 0)
    return waiting


def solver(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return TABLE | {"solvers": [{"use": "shifted", "settings": settings, **more}]}


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["solver"] == "shifted"]


def test_an_edited_suite_replaces_its_old_rows(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    run(path, solver({"scale": 0.5}), components, 1.0)
    assert len(run(path, solver({"scale": 0.25}), components, 2.0)) == 2
    assert shifted(load(path))["value"].tolist() == [2.0, 2.0]
    kept = shifted(load(path, everything=True))
    assert sorted(kept["value"]) == [1.0, 1.0, 2.0, 2.0]
    assert kept["replaced"].notna().sum() == 2
    labels = set(summarise(kept)["label"])
    assert labels == {"shifted · scale=0.25", "shifted · scale=0.5, replaced"}


def test_an_edit_that_is_taken_back_finds_its_rows_again(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    for scale, value in ((0.5, 1.0), (0.25, 2.0), (0.5, 3.0)):
        waiting = run(path, solver({"scale": scale}), components, value)
    assert waiting == []
    assert shifted(load(path))["value"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "edited",
    [
        TABLE | {"seeds": 1},
        TABLE | {"draws": 100},
        TABLE | {"solvers": [{"use": "shifted", "label": "else"}, {"use": "initial"}], "seeds": 1},
        TABLE | {"dims": "2"},
        TABLE | {"measures": ["bures-w2"]},
        TABLE | {"problems": [{"use": "standing", "settings": {"times": [2.0]}}]},
    ],
)
def test_whatever_is_edited_the_tables_are_what_the_suite_plans(
    tmp_path: Path, components: Catalogue, edited: dict[str, Any]
) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE, components, 1.0)
    run(path, edited, components, 2.0)
    planned = {cell.key for cell in plan(Suite.model_validate(edited), Selection(), components)}
    assert set(load(path)["key"]) == planned
    assert set(load(path, everything=True)["key"]) > planned


def test_a_part_of_an_edited_suite_leaves_the_rest_that_is_still_planned(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE | {"dims": "1,2"}, components, 1.0)
    run(path, TABLE | {"dims": "1,2", "title": "other words"}, components, 1.0, dims="2")
    assert set(load(path)["size"]) == {1, 2}
    run(path, TABLE | {"dims": "1:3"}, components, 1.0, dims="3")
    assert set(load(path)["size"]) == {1, 2, 3}


def test_what_the_command_line_adds_to_a_suite_stays(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE, components, 1.0)
    run(path, TABLE, components, 1.0, dims="3")
    run(path, TABLE, components, 1.0)
    assert set(load(path)["size"]) == {1, 3}


def test_presets_are_not_pooled(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE | {"draws": 100}, components, 1.0, preset="rough")
    with Store(path) as store:
        cells = plan(Suite.model_validate(TABLE | {"draws": 5000}), Selection(), components)
        store.record_plan("t", "fine", cells, "wgfbench run t.toml")
        number = store.begin("t", "fine", provenance(1))
        for cell in cells:
            figure = Measurement(1.0, "symkl-gaussian", 3.0, 0.0, "test", None)
            store.record(cell, Outcome("ok", measurements=(figure,)), number, 0)
        assert store.last_preset("t") == "fine"
    rows = summarise(shifted(load(path)))
    assert rows["planned"].tolist() == [2, 2]
    assert dict(zip(rows["label"], rows["median"], strict=True)) == {
        "shifted · preset fine, draws=5000": 3.0,
        "shifted · preset rough, draws=100": 1.0,
    }
    assert set(load(path, "t", "rough")["preset"]) == {"rough"}


@pytest.mark.parametrize(
    ("column", "other", "said"),
    [
        ("device", "cuda", {"shifted · cpu", "shifted · cuda"}),
        ("evaluation", "[99, null]", {"shifted · draws=8192", "shifted · draws=99"}),
        ("evaluation", '[8192, ["pit"]]', {"shifted · measures of the problem", "shifted · measures=pit"}),
        ("data", "0123456789", {"shifted · data as shipped", "shifted · data 01234567"}),
        ("data", DATA_UNKNOWN, {"shifted · data as shipped", "shifted · data unknown"}),
        ("solver_settings", '{"scale": 7}', {"shifted · scale=0.1", "shifted · scale=7"}),
        ("solver", "else", {"shifted · shifted", "shifted · else"}),
    ],
)  # fmt: skip
def test_rows_of_one_label_that_differ_are_told_apart(
    tmp_path: Path, components: Catalogue, column: str, other: str, said: set[str]
) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE, components, 1.0)
    frame = shifted(load(path))
    copy = frame.assign(key=frame["key"] + "x", value=2.0, **{column: other})
    rows = summarise(pd.concat([frame, copy], ignore_index=True))
    assert set(rows["label"]) == said
    assert rows["planned"].tolist() == [2, 2]
    again = told_apart(told_apart(pd.concat([frame, copy], ignore_index=True)))
    assert set(again["label"]) == said


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("2026-11-30T12:03:04.005+00:00",), {"replaced"}),
        (
            ("2026-11-30T12:03:04.005+00:00", "2026-11-30T12:05:04.005+00:00"),
            {"replaced 2026-11-30 12:03", "replaced 2026-11-30 12:05"},
        ),
        (
            ("2026-11-30T12:03:04.005+00:00", "2026-11-30T12:03:14.005+00:00"),
            {"replaced 2026-11-30 12:03:04", "replaced 2026-11-30 12:03:14"},
        ),
        (
            ("2026-11-30T12:03:04.005+00:00", "2026-11-30T12:03:04.015+00:00"),
            {"replaced 2026-11-30 12:03:04.005", "replaced 2026-11-30 12:03:04.015"},
        ),
    ],
)
def test_rows_that_gave_way_at_several_times_are_not_pooled(
    tmp_path: Path, components: Catalogue, times: tuple[str, ...], said: set[str]
) -> None:
    path = tmp_path / "s.sqlite"
    run(path, TABLE, components, 1.0)
    frame = shifted(load(path))
    former = [
        frame.assign(key=frame["key"] + time, value=2.0 + place, replaced=time) for place, time in enumerate(times)
    ]
    frame = pd.concat([frame, *former], ignore_index=True)
    rows = summarise(frame)
    assert set(rows["label"]) == {"shifted"} | {f"shifted · {each}" for each in said}
    assert dict(zip(rows["label"], rows["median"], strict=True))["shifted"] == 1.0
    assert sorted(rows["median"]) == [1.0, *(2.0 + place for place in range(len(times)))]
    assert set(rows["planned"]) == {2}
    again = told_apart(told_apart(frame))
    assert set(again["label"]) == set(rows["label"])


def write(path: Path, title: str, **solver: Any) -> Path:
    settings = ", ".join(f"{name} = {value}" for name, value in solver.items())
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'title = "{title}"\n[[problems]]\nuse = "standing"\n'
        f'[[solvers]]\nuse = "shifted"\nsettings = {{ {settings} }}\n'
    )
    return path


def test_suites_of_one_name_are_two_and_a_report_bears_its_own_title(
    command: Command, tmp_path: Path, plugin: Path
) -> None:
    mine, theirs = (
        write(tmp_path / "mine" / "ou.toml", "Mine"),
        write(tmp_path / "theirs" / "ou.toml", "Theirs", scale=2.0),
    )
    for suite in (mine, theirs):
        assert command("run", suite, "--plugin", plugin, "--store", "s.sqlite").code == 0
    frame = load("s.sqlite")
    assert frame["suite"].nunique() == 2
    assert frame.groupby("suite")["key"].nunique().tolist() == [3, 3]
    ambiguous = command("show", "ou", "--store", "s.sqlite")
    assert (ambiguous.code, len(ambiguous.err.strip().splitlines())) == (2, 1)
    assert "'Mine'" in ambiguous.err
    for name in ("Mine", "mine/ou.toml"):
        shown = command("show", name, "--store", "s.sqlite").out
        assert shown.startswith("Mine\n")
    (page,) = command("report", "Theirs", "--store", "s.sqlite").out.split()
    text = (tmp_path / page).read_text()
    assert "<h1>Theirs" in text
    assert "Large-Scale" not in text.partition("<h1>")[2][:2000]
    (other,) = command("report", "Mine", "--store", "s.sqlite").out.split()
    assert other != page


def test_a_suite_with_an_id_is_one_wherever_it_lies(command: Command, tmp_path: Path, plugin: Path) -> None:
    for folder in ("a", "b"):
        path = write(tmp_path / folder / f"{folder}.toml", "T")
        path.write_text('id = "ours"\n' + path.read_text())
        assert command("run", path, "--plugin", plugin, "--store", "s.sqlite").code == 0
    assert set(load("s.sqlite")["suite"]) == {"ours"}
    assert len(load("s.sqlite")) == 3


def test_a_suite_that_an_older_store_knows_by_its_file_goes_on(command: Command, tmp_path: Path, plugin: Path) -> None:
    suite = write(tmp_path / "b.toml", "B")
    with Store(tmp_path / "s.sqlite") as store:
        cells = plan(Suite.model_validate(TABLE | {"seeds": 1}), Selection(), catalogue([plugin]))
        store.record_plan("b", "", cells, "wgfbench run b.toml")
        store.begin("b", "", provenance(1))
    assert command("run", suite, "--plugin", plugin, "--store", "s.sqlite").code == 0
    frame = load("s.sqlite")
    assert (frame["suite"].nunique(), len(frame)) == (1, 3)
    assert command("show", "b", "--store", "s.sqlite").out.startswith("B\n")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return two folders with a table named banana; in the second a third of the labels are turned round."""
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    x = numpy_generator(0).normal(size=(5300, 2)).round(3)
    found = []
    for turned in (0, 3):
        folder = tmp_path / f"d{turned}"
        folder.mkdir()
        rows = [f"{a},{b},{-1 if (a > 0) == (turned > 0 and place % 3 == 0) else 1}" for place, (a, b) in enumerate(x)]
        with gzip.open(folder / "banana.csv.gz", "wt") as file:
            file.write("\n".join(["x0,x1,label", *rows]) + "\n")
        found.append(folder)
    return found[0], found[1]


BANANA = """title = "My data"
measures = ["accuracy"]
[[problems]]
use = "logistic-regression"
settings = { data = "banana" }
[[solvers]]
use = "laplace"
"""


def test_corrected_data_are_run_again(command: Command, tmp_path: Path, folders: tuple[Path, Path]) -> None:
    (tmp_path / "banana.toml").write_text(BANANA)

    def accuracy(folder: Path) -> float:
        command("run", "banana.toml", "--data", folder, "--solver", "laplace", "--store", "s.sqlite")
        frame = load("s.sqlite").set_index("label")
        return float(frame.loc["laplace", "value"])

    first, second = (accuracy(folder) for folder in folders)
    assert first > 0.9 > 0.75 > second
    assert accuracy(folders[0]) == first
    fresh = tmp_path / "fresh.sqlite"
    command("run", "banana.toml", "--data", folders[1], "--solver", "laplace", "--store", fresh)
    assert float(load(fresh).set_index("label").loc["laplace", "value"]) == second
    assert command("report", "--store", fresh).code == 0
    with Store(fresh) as store:
        assert store.last_data(store.last_suite()) == str(folders[1])


def test_a_checksum_is_of_what_a_file_holds(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    one, other = (folder / "banana.csv.gz" for folder in folders)
    again = tmp_path / "banana.csv.gz"
    again.write_bytes(gzip.compress(gzip.decompress(one.read_bytes()), compresslevel=1, mtime=7))
    assert again.read_bytes() != one.read_bytes()
    assert content_checksum(again) == content_checksum(one) != content_checksum(other)
    assert data_checksum([]) is None
    again.write_bytes(b"cut off")
    assert content_checksum(again) != content_checksum(one)


def banana_cells(folder: Path | None) -> list[Cell]:
    table = {"title": "t", "problems": [{"use": "logistic-regression", "settings": {"data": "banana"}}]}
    suite = Suite.model_validate(table | {"solvers": [{"use": "laplace"}]})
    return plan(suite, Selection(data=None if folder is None else str(folder)), catalogue())


def test_cells_of_before_are_of_unknown_data(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """They stand, are marked, and are run again when that is asked for, and then known."""
    lacks = Completion(catalogue())
    old = banana_cells(None)
    measures = dict.fromkeys(("accuracy",), 99)
    with Store(tmp_path / "s.sqlite") as store:
        number = store.begin("t", "", provenance(1))
        for cell in old:
            store.record(replace(cell, data=DATA_UNKNOWN), Outcome("ok", measures=measures), number, 0)
        cells = banana_cells(folders[0])
        assert {cell.key for cell in cells}.isdisjoint(cell.key for cell in old)
        never = lambda cell, taken: False  # noqa: E731
        standing, unknown = with_known_data(cells, store, never, rerun=False)
        assert [cell.key for cell in standing] == [cell.key for cell in old]
        assert {cell.data for cell in unknown} == {DATA_UNKNOWN}
        store.record_plan("t", "", standing, "wgfbench run t")
        assert pending(standing, store, False) == []
        assert with_known_data(cells, store, never, rerun=True)[0] == cells
        assert pending(cells, store, False) == cells
        # To be completed anyhow, they are run with the data that are here.
        assert with_known_data(cells, store, lacks, rerun=False) == (cells, [])
        # Without a folder the key is the same, and what is run again is known from then on.
        assert with_known_data(old, store, never, rerun=True) == (old, old)
        for cell in old:
            store.record(cell, Outcome("ok", measures=measures), number, 0)
        assert store.of_unknown_data() == set()


def test_cells_that_older_stores_have_of_data_sets_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.record_plan("t", "", banana_cells(None), "wgfbench run t")
        number = store.begin("t", "", provenance(1))
        for cell in banana_cells(None):
            figure = Measurement(10.0, "accuracy", 0.5, 0.0, "test", None)
            store.record(cell, Outcome("ok", measurements=(figure,)), number, 0)
        # That format said nothing of data.
        take_back(store.connection, 5)
    frame = load(path)
    assert set(frame["data"]) == {DATA_UNKNOWN}
    assert all("data unknown" in label for label in summarise(frame)["label"])


def test_keys_without_data_files_are_what_they_were(folders: tuple[Path, Path]) -> None:
    table = {"title": "t", "problems": [{"use": "logistic-regression"}], "solvers": [{"use": "laplace"}]}
    suite = Suite.model_validate(table)
    with_folder, without = (plan(suite, Selection(data=data), catalogue()) for data in (str(folders[0]), None))
    assert [cell.key for cell in with_folder] == [cell.key for cell in without]


def test_a_cell_of_other_data_than_planned_is_an_error(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.cell import run_in_child

    cell = banana_cells(folders[0])[0]
    monkeypatch.setenv("WGFBENCH_DATA", str(folders[1]))
    (outcome,) = run_in_child([cell])
    assert outcome.status == "error"
    assert "are other data than those planned" in str(outcome.reason)


def test_a_database_says_which_rows_are_of_today(tmp_path: Path, components: Catalogue) -> None:
    path = tmp_path / "s.sqlite"
    run(path, solver({"scale": 0.5}), components, 1.0)
    run(path, solver({"scale": 0.25}), components, 1.0)
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT replaced IS NULL, count(*) FROM plans GROUP BY 1 ORDER BY 1").fetchall()
    connection.close()
    assert rows == [(0, 2), (1, 6)]
