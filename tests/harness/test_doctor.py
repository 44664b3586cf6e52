"""The doctor says what there is, and survives everything that is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import harness.doctor
import solvers
from harness.catalogue import catalogue
from harness.doctor import answer, print_diagnosis
from harness.outcome import Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.store import Store
from harness.suite import Suite


def diagnosis(capsys: pytest.CaptureFixture[str], *plugins: Path, store: Path) -> dict[str, str]:
    """Return what was printed, by the words before the first wide gap; lines below belong to the one above."""
    print_diagnosis(plugins, store)
    said: dict[str, str] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        first, _, rest = line.strip().partition("  ")
        if line.startswith("  ") and not line.startswith("   "):
            name = first
            said[name] = rest.strip()
        elif name:
            said[name] += f"\n{line.strip()}"
    return said


def test_a_healthy_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = diagnosis(capsys, store=tmp_path / "absent.sqlite")
    assert "cores" in said["machine"]
    assert "torch " in said["packages"]
    assert "threads" in said["torch"]
    assert "forkserver" in said["processes"]
    kinds = catalogue().targets
    assert said["components"].strip() == f"{len(kinds['problem'])} problems, {len(kinds['solver'])} solvers"
    assert "not there yet" in said[f"store {tmp_path / 'absent.sqlite'}"]
    assert "GiB free" in said[f"store {tmp_path / 'absent.sqlite'}"]


def test_a_store_is_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path, plugin: Path) -> None:
    suite = Suite.model_validate({"title": "test", "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]})
    cells = plan(suite, Selection(), catalogue([plugin]))
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        run = store.begin("test", "", provenance(1))
        for cell, status in zip(cells, ("ok", "error", "ok"), strict=True):
            store.record(cell, Outcome(status), run, 0)
    said = diagnosis(capsys, store=path)[f"store {path}"]
    assert "1 error, 2 ok; 1 runs" in said


def test_what_is_no_store_is_said_and_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database\n" * 50)
    assert "is not a wgfbench store" in diagnosis(capsys, store=path)[f"store {path}"]
    assert path.read_text().startswith("these are my notes")
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert "empty" in diagnosis(capsys, store=empty)[f"store {empty}"]
    assert empty.stat().st_size == 0
    assert "cannot be opened" in diagnosis(capsys, store=tmp_path)[f"store {tmp_path}"]


def test_plugins_and_components_that_fail_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(solvers.BUILTIN, "elsewhere", "package_that_is_not_there.solver:Elsewhere")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    said = diagnosis(capsys, plugin, broken, store=tmp_path / "absent.sqlite")
    assert "solver elsewhere is not available: needs No module named 'package_that_is_not_there'" in said["components"]
    assert "solver shifted" in said[f"plugin {plugin}"]
    assert "ZeroDivisionError" in said[f"plugin {broken}"]


def test_missing_tools_stop_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", fails)
    monkeypatch.setattr(harness.doctor, "machine", fails)
    monkeypatch.setattr(harness.doctor, "find_spec", lambda module: None)
    said = diagnosis(capsys, store=tmp_path / "absent.sqlite")
    assert "no commit known" in said["code"]
    assert said["machine"].startswith("not known: FileNotFoundError: git")
    assert "not installed: pip install 'wgfbench[dask]'" in said["cluster"]
    assert "not installed: pip install 'wgfbench[parquet]'" in said["parquet"]


def test_any_exception_is_an_answer() -> None:
    assert answer(lambda: "fine") == "fine"
    assert answer(lambda: str(1 / 0)) == "not known: ZeroDivisionError: division by zero"
