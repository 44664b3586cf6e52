"""The examples of CONTRIBUTING.md do what it says, exactly as printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import load

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
COMMANDS = [line for line in TEXT.splitlines() if line.startswith("wgfbench ")]


@pytest.fixture
def wgfbench(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that runs a command of the text beside the files of its examples."""
    for name, body in re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(body)

    def run(command: str) -> str:
        words = command.split()
        binary = str(Path(sys.executable).with_name(words[0]))
        done = subprocess.run([binary, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_worked_solver(wgfbench: Callable[[str], str], tmp_path: Path) -> None:
    for command in COMMANDS[:3]:
        printed = wgfbench(command)
    assert "heun" in printed
    frame = load(tmp_path / "results" / "wgfbench.sqlite")
    w2 = frame[frame["metric"].eq("bures-w2")].groupby("label")["value"].median()
    assert w2["heun"] < 0.1 * w2["initial"]


def test_the_worked_problem(wgfbench: Callable[[str], str], tmp_path: Path) -> None:
    for command in COMMANDS[3:7]:
        wgfbench(command)
    frame = load(tmp_path / "results" / "wgfbench.sqlite")
    assert set(frame["status"]) == {"ok", "skipped"}
    assert frame.loc[frame["status"].eq("skipped"), "label"].eq("chang-cooper").all()
    assert (tmp_path / "reports" / "warming.html").exists()
    grid = frame[frame["label"].eq("chang-cooper") & frame["metric"].eq("symkl")]
    assert (grid["value"] < 1e-6).all()
    assert len(grid) == 4


def test_the_worked_measure(wgfbench: Callable[[str], str], tmp_path: Path) -> None:
    for command in COMMANDS[7:]:
        printed = wgfbench(command)
    assert "mmd" in printed
    frame = load(tmp_path / "discrepancy.sqlite")
    assert set(frame["metric"]) == {"mmd", "bures-w2"}
    found = frame[frame["metric"].eq("mmd")].set_index("label")
    assert (found.loc["initial", "value"] > 2 * found.loc["initial", "standard_error"]).all()
    assert (found.loc["oracle", "value"].abs() < 6 * found.loc["oracle", "standard_error"]).all()
