"""What the tests of the sweep share: the misbehaving plugin, and the command line as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli import main

PLUGIN = Path(__file__).parent / "misbehaving.py"


@pytest.fixture
def plugin() -> Path:
    """Return the plugin file with a free problem and solvers that fail in every way."""
    return PLUGIN


@pytest.fixture
def wgfbench(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line in an empty folder and gives what it printed."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("wgfbench")), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)

    return run


@pytest.fixture
def suite_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a suite of the free problem and the named solvers."""

    def write(*solvers: str, **keys: object) -> Path:
        lines = ['title = "test"', *(f"{key} = {value!r}" for key, value in keys.items())]
        lines += ["[[problems]]", 'use = "standing"']
        for solver in solvers:
            lines += ["[[solvers]]", f'use = "{solver}"']
        path = tmp_path / "suite.toml"
        path.write_text("\n".join(lines).replace("'", '"'))
        return path

    return write


class Printed(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Printed]:
    """Return a function that runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Printed:
        monkeypatch.setattr(sys, "argv", ["wgfbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Printed(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
