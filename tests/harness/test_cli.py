"""The command line: bad input is one clear line and exit code 2, and help needs nothing heavy."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from harness.store import Store

Command = Callable[..., Any]


def test_dry_run_runs_nothing(command: Command, tmp_path: Path) -> None:
    printed = command("run", "ou", "--preset", "paper", "--solver", "euler-maruyama", "--dims", "2,6,12", "--dry-run")
    assert printed.code == 0
    assert "360 of 360 cells to run" in " ".join(printed.out.split())
    assert list(tmp_path.iterdir()) == []


def test_run_show_export_report(command: Command, tmp_path: Path, plugin: Path) -> None:
    """A plugin solver that the suite does not know runs with its defaults, and every view of the store shows it."""
    common = ["--store", "store.sqlite"]
    arguments = ["run", "ou", "--dims", "2", "--seeds", "2", "--solver", "gaussian-jko,shifted", "--plugin", plugin]
    assert command(*arguments, *common).code == 0
    shown = command("show", *common)
    assert shown.code == 0
    assert "shifted" in shown.out
    exported = command("export", "ou", "--format", "csv", "-o", "out.csv", *common)
    assert exported.code == 0
    assert "symkl" in (tmp_path / "out.csv").read_text()
    page = command("report", *common)
    assert page.code == 0
    assert "shifted" in (tmp_path / "reports" / "ou.html").read_text()
    assert command(*arguments, *common).code == 0


def test_failures_give_exit_code_one_and_a_rerun(
    command: Command, plugin: Path, suite_file: Callable[..., Path]
) -> None:
    from harness import load

    suite = suite_file("raising", "shifted")
    arguments = ["run", suite, "--plugin", plugin, "--store", "store.sqlite"]
    printed = command(*arguments)
    assert printed.code == 1
    assert "1 error" in printed.err
    frame = load("store.sqlite").set_index("label")
    assert frame.loc["raising", "reason"] == "KeyError: 'no such thing'"
    rerun = frame.loc["raising", "rerun"].split()
    assert rerun[:2] == ["wgfbench", "run"]
    again = command(*rerun[1:])
    assert again.code == 1
    assert "1 of them ran now" in again.err
    assert "0 of them ran now" in command(*arguments).err


def test_interrupting_keeps_what_finished(tmp_path: Path, plugin: Path, suite_file: Callable[..., Path]) -> None:
    from harness import load

    suite = suite_file("shifted", "looping", seeds=2)
    arguments = ["run", str(suite), "--plugin", str(plugin), "--store", "store.sqlite", "-j", "2"]
    binary = str(Path(sys.executable).with_name("wgfbench"))
    process = subprocess.Popen(
        [binary, *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that a shell runs in the background ignore the signal, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.2)
        path = tmp_path / "store.sqlite"
        if path.exists() and path.stat().st_size > 0 and Store(path).statuses():
            break
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: what had finished is kept" in printed
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert set(load(tmp_path / "store.sqlite")["status"]) == {"ok", "planned"}


def test_help_and_errors_of_use_import_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['wgfbench', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'pydantic', 'joblib', 'ot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
