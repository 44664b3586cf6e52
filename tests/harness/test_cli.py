"""The command line: bad input is one clear line and exit code 2, and help needs nothing heavy."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from harness.cli import main
from harness.store import Store


class Printed(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Printed]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "ouu"], "unknown suite 'ouu'; did you mean 'ou'?"),
        (["run", "ou", "--solver", "euler-maruyma"], "unknown solver 'euler-maruyma'; did you mean 'euler-maruyama'?"),
        (["run", "ou", "--problem", "ornstein"], "unknown problem 'ornstein'"),
        (["run", "ou", "--preset", "papr"], "did you mean 'paper'?"),
        (["run", "ou", "--dims", "0"], "dims must be whole numbers >= 1, ranges rising; got '0'"),
        (["run", "ou", "--dims", "a:b"], "dims must be numbers such as 2,6 or 1:12, got 'a:b'"),
        (["run", "ou", "--seeds", "-3"], "seeds must be a count >= 1"),
        (["run", "ou", "--timeout", "soon"], "timeout must be a duration > 0"),
        (["run", "ou", "--memory", "4"], "memory must be a size > 0"),
        (["run", "ou", "--device", "cuda:7"], "device 'cuda:7' is not there"),
        (["run", "ou", "--device", "tpu"], "device must be cpu, cuda, cuda:N or auto; got 'tpu'"),
        (["run", "ou", "--backend", "slurm"], "unknown backend 'slurm'"),
        (["run", "ou", "--cell", "zzz"], "have a key that starts with 'zzz'"),
        (["run", "demo", "--problem", "double-well", "--dims", "7"], "the selection leaves nothing to run"),
        (["run", "ou", "--plugin", "absent.py"], "plugin 'absent.py' does not import"),
        (["run", "nowhere.toml"], "suite 'nowhere.toml' cannot be read"),
        (["show"], "there is no store"),
        (["check", "chang-coper"], "did you mean 'chang-cooper'?"),
    ],
)
def test_bad_input(command: Command, arguments: list[str], said: str) -> None:
    printed = command(*arguments)
    assert printed.code == 2
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('colour = "red"', "unknown key of suite"),
        ("seeds = [1]", "seeds"),
        ("draws = 'many'", "draws = 'many'"),
        ("draws = 1", "draws = 1"),
        ("seeds = -2", "seeds must be a count >= 1"),
        ("measures = ['symlk']", "unknown measure 'symlk'; did you mean 'symkl'?"),
        ("[[problems]]\nuse = 'ornstein-uhlenbeck'\nsettings = { instanse = 'random' }", "did you mean 'instance'?"),
        ("[[problems]]\nuse = 'ornstein-uhlenbeck'\nsettings = { inverse_temperature = 0.0 }", "inverse_temperature"),
        ("[[problems]]\nuse = 'ornstein-uhlenbeck'\nsettings = { inverse_temperature = 'warm' }", "'warm'"),
        (
            "[[problems]]\nuse = 'ornstein-uhlenbeck'\n"
            "settings = { instance = 'given', precision = [[1.0, 2.0], [2.0, 1.0]], centre = [0.0, 0.0] }",
            "must be positive definite",
        ),
        (
            "[[problems]]\nuse = 'ornstein-uhlenbeck'\n"
            "settings = { instance = 'given', precision = [[1.0, 0.0], [0.0, 1.0]], centre = [0.0] }",
            "centre (b) must have shape (2,), got shape (1,)",
        ),
        (
            "[[solvers]]\nuse = 'euler-maruyama'\nsettings = { step_size = 0.0 }",
            "step_size must be a finite number > 0",
        ),
        ("[[solvers]]\nuse = 'euler-maruyama'\nsettings = { step_size = 3.0 }", "larger than the horizon"),
        ("[[solvers]]\nuse = 'euler-maruyama'\nsettings = { particles = -1 }", "particles must be a whole number >= 1"),
    ],
)
def test_bad_suite(command: Command, tmp_path: Path, lines: str, said: str) -> None:
    head = 'title = "bad"\n'
    if "[[" not in lines:
        head, lines = head + lines + "\n", ""
    body = lines
    if "[[problems]]" not in body:
        body += "\n[[problems]]\nuse = 'ornstein-uhlenbeck'\n"
    if "[[solvers]]" not in body:
        body += "\n[[solvers]]\nuse = 'euler-maruyama'\n"
    (tmp_path / "bad.toml").write_text(head + body)
    printed = command("run", "bad.toml")
    assert printed.code == 2
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists(), "a suite that cannot run leaves nothing behind"


def test_not_a_store(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, and no database")
    for arguments in (["run", "ou", "--store", "notes.txt"], ["show", "--store", "notes.txt"]):
        printed = command(*arguments)
        assert printed.code == 2
        assert "'notes.txt' is not a wgfbench store" in printed.err
    assert (tmp_path / "notes.txt").read_text() == "these are notes, and no database"


def test_a_plugin_that_does_not_import(command: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_package")
    printed = command("run", "ou", "--plugin", "broken.py")
    assert printed.code == 2
    assert "plugin 'broken.py' does not import: ModuleNotFoundError: No module named 'no_such_package'" in printed.err


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
