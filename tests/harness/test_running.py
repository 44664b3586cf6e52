"""A sweep says what it does: reasons, lines for a log, what cells print, and which of them are not worth asking."""

from __future__ import annotations

import io
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import load
from harness.catalogue import catalogue
from harness.components import Cell
from harness.course import Course
from harness.outcome import Outcome
from harness.plan import Selection, plan
from harness.printed import KEPT, Printed
from harness.progress import Log, outcome_lines, reason_line, say, watching
from harness.request import Change
from harness.schedule import Resources, dispatch
from harness.suite import Suite
from harness.supervise import Limits, supervise

Command = Callable[..., Any]
LIMITS = Limits(seconds=30.0, memory=2**31, threads=1)
PRINTING = '''
"""Solvers that print."""
import ctypes, os, sys
from dataclasses import dataclass
from solvers.estimates import Exact
from solvers.solver import Diverged, Solution, Solver

@dataclass(frozen=True, kw_only=True)
class Printing(Solver):
    """Prints ``lines`` lines, to both outputs, and from a child of its own."""

    name = "printing"
    lines: int = 1
    end: str = "ok"

    def solve(self, problem, generator, device):
        for line in range(self.lines):
            print("line", line, "of solve")
        print("\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07", file=sys.stderr)
        os.system("echo from a child")
        if self.end == "diverged":
            raise Diverged("at step 3")
        if self.end == "killed":
            os.kill(os.getpid(), 9)
        return Solution(problem.flow.times, tuple(Exact(problem.flow.initial) for _ in problem.flow.times))
'''


def cells_of(*plugins: Path, seeds: int = 1, **solvers: dict[str, Any]) -> list[Cell]:
    """Return the cells of the named solvers with these settings on the free problem."""
    entries = [{"use": name, "settings": settings} for name, settings in solvers.items()]
    suite = Suite.model_validate({"title": "t", "seeds": seeds, "problems": [{"use": "standing"}], "solvers": entries})
    return [cell for cell in plan(suite, Selection(), catalogue(plugins)) if cell.solver.name in solvers]


@pytest.fixture
def printing(tmp_path: Path) -> Path:
    path = tmp_path / "printing.py"
    path.write_text(PRINTING)
    return path


@pytest.mark.parametrize(("end", "status"), [("ok", "ok"), ("diverged", "diverged"), ("killed", "crashed")])
def test_what_a_cell_prints_is_kept_in_its_row_however_it_ends(
    plugin: Path, printing: Path, capfd: pytest.CaptureFixture[str], end: str, status: str
) -> None:
    (cell,) = cells_of(plugin, printing, printing={"end": end})
    (outcome,) = supervise([cell], LIMITS)
    assert outcome.status == status, outcome.reason
    assert outcome.printed is not None
    for said in ("line 0 of solve", "red", "from a child"):
        assert said in outcome.printed
    assert capfd.readouterr() == ("", "")


def test_the_end_of_much_is_kept(plugin: Path, printing: Path) -> None:
    (cell,) = cells_of(plugin, printing, printing={"lines": 200_000})
    (outcome,) = supervise([cell], LIMITS)
    assert outcome.status == "ok"
    assert outcome.printed is not None
    assert "line 199999 of solve" in outcome.printed
    assert KEPT < len(outcome.printed.encode()) < KEPT + 100
    assert re.match(r"\[\d+ bytes before this are not kept\]\n", outcome.printed)


def test_a_cell_that_prints_without_end_is_killed_at_its_limit(plugin: Path, printing: Path) -> None:
    (cell,) = cells_of(plugin, printing, printing={"lines": 10**9})
    (outcome,) = supervise([cell], Limits(0.5, LIMITS.memory, 1))
    assert outcome.status == "timeout"
    assert outcome.printed


def test_a_cell_that_prints_nothing_has_nothing(plugin: Path) -> None:
    (outcome,) = supervise(cells_of(plugin, shifted={}), LIMITS)
    assert outcome.printed is None


def test_the_end_of_a_pipe_is_read_without_waiting() -> None:
    from multiprocessing import Pipe

    source, sender = Pipe(duplex=False)
    printed = Printed(source)
    assert printed.take() is None
    import os

    os.write(sender.fileno(), b"caf\xc3\xa9 \xff")
    assert printed.take() == "café \N{REPLACEMENT CHARACTER}"
    sender.close()
    assert printed.take() is None
    assert not printed.open


def test_reasons_are_printed_and_a_cell_shown(command: Command, plugin: Path, printing: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'title = "t"\nseeds = 3\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "printing"\n'
        'settings = { end = "diverged" }\n[[solvers]]\nuse = "svgd"\n'
    )
    ran = command("run", suite, "--plugin", plugin, "--plugin", printing, "--store", "s.sqlite")
    assert ran.code == 1
    lines = {line.split()[0]: line for line in ran.err.splitlines() if line.startswith("  ")}
    assert "printing on standing D=1, 3 cells: at step 3" in lines["diverged"]
    assert "svgd on standing D=1, 3 cells: stationary problems only" in lines["skipped"]
    assert "of solve" not in ran.err + ran.out
    key = load("s.sqlite").set_index("label").loc["printing", "key"].iloc[0]
    assert key[:12] in lines["diverged"]
    shown = command("show", "--cell", key[:12], "--store", "s.sqlite").out
    for said in ("line 0 of solve", "at step 3", "Traceback", "from a child", "red", "wgfbench run"):
        assert said in shown
    assert "\x1b" not in shown
    missed = command("show", "--cell", "zzz", "--store", "s.sqlite")
    assert (missed.code, missed.err.count("\n")) == (2, 1)


def test_a_log_has_a_line_every_so_often() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Log(7, 0.01, console) as log:
        log.done, log.failed = 3, 1
        deadline = time.monotonic() + 20
        while console.file.getvalue().count("\n") < 2 and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.01)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) >= 2
    assert log.line(60.0) == "3 of 7 cells, 1 failed, after 0:01:00, about 0:01:20 left"
    assert Log(7, 1.0, console).line(3661.0) == "0 of 7 cells, 0 failed, after 1:01:01, no cell has ended yet"
    assert re.fullmatch(r"[03] of 7 cells, [01] failed, after 0:00:\d\d, .*", lines[0])


def test_a_sweep_without_a_terminal_writes_lines(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = cells_of(plugin, shifted={})
    with watching(1, 1, every=0.01) as advance:
        advance(cell, Outcome("ok"))
        time.sleep(0.3)
    assert "1 of 1 cells, 0 failed, after 0:00:00, about 0:00:00 left" in capsys.readouterr().err


def test_reasons_are_one_line_each_and_harmless(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = cells_of(plugin, seeds=40, shifted={})
    line = reason_line("error", "a on b", "first\nsecond \x1b[2J [bold]" + "x" * 999, cells[:1])
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 450
    ended: dict[str, tuple[str, str | None]] = {cell.key: ("error", f"reason {cell.seed}") for cell in cells}
    say(outcome_lines(cells, ended, Counter(error=40), Path("s")))
    assert len(capsys.readouterr().err.splitlines()) == 14


def outcomes(cells: list[Cell], course: Course, jobs: int = 1) -> dict[tuple[str, int], Outcome]:
    done = dispatch(cells, Resources(LIMITS, jobs=jobs), lambda cell: False, course)
    return {(cell.solver.name, cell.seed): outcome for cell, outcome, _ in done}


def test_a_hopeless_solver_is_not_asked_the_rest(plugin: Path, printing: Path) -> None:
    cells = cells_of(plugin, printing, seeds=4, printing={"end": "diverged"}, raising={})
    ended = outcomes(cells, Course(cells, {}, stop_hopeless=True))
    assert [ended["printing", seed].status for seed in range(4)] == ["diverged", "diverged", "hopeless", "hopeless"]
    said = "not tried, since all seeds before it failed: seed 0 diverged, seed 1 diverged"
    assert ended["printing", 3].reason == said
    assert [ended["raising", seed].status for seed in range(4)] == ["error"] * 4
    ended = outcomes(cells, Course(cells, {}))
    assert {ended["printing", seed].status for seed in range(4)} == {"diverged"}


@pytest.mark.parametrize(
    ("statuses", "hopeless"),
    [
        ((), False),
        (("timeout",), False),
        (("timeout", "diverged"), True),
        (("timeout", "diverged", "hopeless"), True),
        (("timeout", "hopeless"), False),
        (("diverged", "ok", "diverged"), False),
        (("diverged", "diverged", "error"), False),
    ],
)
def test_what_is_hopeless(plugin: Path, statuses: tuple[str, ...], hopeless: bool) -> None:
    cells = cells_of(plugin, seeds=5, shifted={})
    before = {cell.key: status for cell, status in zip(cells, statuses, strict=False)}
    assert (Course(cells, before, True).hopeless(cells[4]) is not None) == hopeless
    assert Course(cells, before, False).hopeless(cells[4]) is None
    other = replace(cells[4], dim=2)
    assert Course([*cells, other], before, True).hopeless(other) is None


def test_seeds_that_are_tried_again_are_not_hopeless_for_what_they_were(plugin: Path) -> None:
    cells = cells_of(plugin, seeds=4, shifted={})
    course = Course(cells, {cell.key: "diverged" for cell in cells}, True)
    assert course.hopeless(cells[0]) is not None
    course.again(cells)
    assert course.hopeless(cells[0]) is None


def test_floors_are_run_for_what_runs(command: Command, tmp_path: Path) -> None:
    """``svgd`` has no flow in time and is skipped: the exact draws that would be its floor are left out."""
    (tmp_path / "s.toml").write_text(
        'title = "t"\ndraws = 100\nmeasures = ["bures-w2"]\n[[problems]]\nuse = "ornstein-uhlenbeck"\n'
        'settings = { times = [0.1] }\n[[solvers]]\nuse = "svgd"\nsettings = { particles = 50 }\n'
        '[[solvers]]\nuse = "euler-maruyama"\nsettings = { particles = 60, step_size = 0.1 }\n'
    )
    for _ in range(2):
        assert command("run", "s.toml", "--store", "s.sqlite").code == 0
        labels = set(load("s.sqlite")["label"])
        assert labels == {"initial", "oracle", "oracle particles=60", "svgd", "euler-maruyama"}
    with sqlite3.connect(tmp_path / "s.sqlite") as store:
        assert store.execute("SELECT count(*) FROM cells").fetchone() == (5,)
    store.close()


SLOWLY_SKIPPED = '''
import time
from solvers.bounds import Initial

class Slow(Initial):
    """Takes its time to decline, and has particles."""

    name = "slow"
    sample_size = 7

    def refusal(self, problem):
        time.sleep(1)
        return "on purpose"
'''


def test_a_floor_waits_until_it_is_known_whether_anything_stands_on_it(plugin: Path, tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(SLOWLY_SKIPPED)
    suite = {"title": "t", "problems": [{"use": "standing"}], "solvers": [{"use": "slow"}]}
    cells = plan(Suite.model_validate(suite), Selection(), catalogue([plugin, path]))
    course = Course(cells, {})
    assert [cell.solver.label for cell in cells if course.waits_for(cell)] == ["oracle particles=7"]
    done = dispatch(sorted(cells, key=course.is_floor), Resources(LIMITS, jobs=2), lambda cell: False, course)
    assert sorted((cell.solver.label, outcome.status) for cell, outcome, _ in done) == [
        ("initial", "ok"), ("oracle", "ok"), ("slow", "skipped"),
    ]  # fmt: skip
    assert not any(course.waits_for(cell) for cell in cells)


def test_settings_are_replaced_and_labels_say_so(plugin: Path) -> None:
    suite = Suite.model_validate(
        {
            "title": "t",
            "problems": [{"use": "standing"}],
            "solvers": [
                {"use": "shifted", "label": "mine", "settings": {"scale": 0.5}},
                {"use": "euler-maruyama", "grid": {"particles": [10, 20]}},
            ],
        }
    )
    changes = [Change("mine", "scale", 2.0), Change("euler-maruyama", "particles", 30)]
    changes += [Change("standing", "times", [2.0])]
    cells = plan(suite, Selection(changes=changes), catalogue([plugin]))
    labels = {cell.solver.label: cell.solver.settings for cell in cells}
    assert '"scale": 2.0' in labels["mine scale=2.0"]
    assert [label for label in labels if "euler" in label] == ["euler-maruyama particles=30"]
    assert {cell.problem.settings for cell in cells} == {'{"times": [2.0]}'}


def test_the_command_line_replaces_settings_and_measures(command: Command, tmp_path: Path, plugin: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'title = "t"\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "shifted"\n[[solvers]]\nuse = "raising"\n'
    )
    common = ["s.toml", "--plugin", plugin, "--store", "s.sqlite", "--solver", "shifted"]
    assert command("run", *common, "--set", "shifted.scale=3", "--dry-run").out.count("shifted scale=3")
    changed = ["--set", "shifted.scale=3.0", "--measures", "bures-w2,symkl-gaussian"]
    assert command("run", *common, *changed).code == 0
    frame = load("s.sqlite")
    assert set(frame["metric"]) == {"bures-w2", "symkl-gaussian"}
    rerun = frame.set_index("label").loc["shifted scale=3.0", "rerun"].iloc[0].split()
    assert rerun[rerun.index("--set") + 1] == "shifted.scale=3.0"
    assert "1 cells: 1 ok; 1 of them ran now" in command(*rerun[1:]).err
    assert command("run", *common).code == 0
    shown = command("show", "--store", "s.sqlite", "--measure", "bures-w2,symkl-gaussian", "--solver", "shifted").out
    assert "bures-w2 (lower" in shown
    assert "symkl-gaussian (lower" in shown
    only = command("show", "--store", "s.sqlite", "--metric", "bures-w2").out
    assert "symkl-gaussian (lower" not in only
    table = command("export", "--store", "s.sqlite", "--measure", "bures-w2", "--solver", "shifted scale=3.0").out
    assert "symkl-gaussian," not in table
    assert {line.split(",")[7] for line in table.splitlines()[1:]} == {"initial", "oracle", "shifted scale=3.0"}


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version") == (0, f"wgfbench {version('wgfbench')}\n", "")
