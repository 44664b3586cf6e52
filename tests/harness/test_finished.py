"""A run that has nothing to do says so without planning, until anything that its plan was made from has changed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sklearn  # noqa: F401 - now, since it sets variables of the environment that commands here then all have

import harness.planning
import harness.provenance
import harness.running
from former_stores import take_back
from harness.origins import Origins, hearing, origins
from harness.store import Store

Command = Callable[..., Any]
HEAVY = "{'torch', 'numpy', 'scipy', 'pandas', 'joblib', 'ot', 'sklearn', 'psutil', 'rich.progress'}"
PLUGIN = '''
"""A free problem and solver, whose settings are in a file beside."""
from dataclasses import dataclass
from pathlib import Path

import torch
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from solvers.estimates import Exact
from solvers.solver import Diverged, Solution, Solver

BESIDE = Path(__file__).with_name("beside.txt")

@dataclass(frozen=True, kw_only=True)
class Standing(ProblemFamily):
    name = "standing"

    def data_files(self, folder):
        return () if folder is None else tuple(sorted(folder.glob("*.csv")))

    def build(self, dim, seed, generator):
        one = torch.eye(dim, dtype=torch.float64)
        law = Gaussian(torch.zeros(dim, dtype=torch.float64), one)
        return Problem(GradientFlow(law, FreeEnergy(Quadratic(one, law.mean), Entropy()), self.times),
                       ("symkl-gaussian",), lambda t: law)

@dataclass(frozen=True, kw_only=True)
class Free(Solver):
    name = "free"
    version = int(BESIDE.read_text()) if BESIDE.exists() else 1
    fails: bool = False

    def solve(self, problem, generator, device):
        if self.fails:
            raise Diverged("on purpose")
        return Solution(problem.flow.times, tuple(Exact(problem.flow.initial) for _ in problem.flow.times))
'''
SUITE = 'title = "t"\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "free"\n'
ARGUMENTS = ("run", "t.toml", "--plugin", "free.py", "--store", "s.sqlite")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every plan that is made, in this process."""
    monkeypatch.setattr(harness.planning, "planned_by_server", harness.running.PlannedRun)
    made: list[int] = []
    plan = harness.running.plan

    def counted(*arguments: Any) -> Any:
        cells = plan(*arguments)
        made.append(len(cells))
        return cells

    monkeypatch.setattr(harness.running, "plan", counted)
    return made


@pytest.fixture
def steady(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return the command line, in an environment that does not say how far this test is."""

    def run(*arguments: str) -> Any:
        monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
        return command(*arguments)

    return run


@pytest.fixture
def finished(steady: Command, tmp_path: Path, plans: list[int]) -> Command:
    """Return the command line in a folder with a suite that has run in whole, before the last moment."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    (tmp_path / "free.py").write_text(PLUGIN)
    (tmp_path / "t.toml").write_text(SUITE)
    (tmp_path / "beside.txt").write_text("1")
    time.sleep(0.05)
    assert steady(*ARGUMENTS, "--data", "data").code == 0
    assert plans == [3]
    return steady


def again(command: Command, *more: str) -> Any:
    return command(*ARGUMENTS, "--data", "data", *more)


def test_it_says_what_a_plan_would_have_said(finished: Command, plans: list[int], tmp_path: Path) -> None:
    known = again(finished)
    assert plans == [3]
    assert known.code == 0
    assert known.err.splitlines() == [
        "3 of 3 cells are in the store already",
        "3 cells: 3 ok; 0 of them ran now, in s.sqlite",
    ]
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as store:
        store.execute("DELETE FROM finished")
        runs = store.execute("SELECT suite, preset, data, threads FROM runs").fetchall()
        assert len(runs) == 2
        assert runs[0] == runs[1]
        store.commit()
    assert again(finished) == known
    assert plans == [3, 3]
    assert finished("show", "--store", "s.sqlite").code == 0


def test_what_failed_is_said_again(steady: Command, tmp_path: Path, plans: list[int]) -> None:
    (tmp_path / "free.py").write_text(PLUGIN)
    (tmp_path / "t.toml").write_text(SUITE + "settings = { fails = true }\n")
    time.sleep(0.05)
    first, second = steady(*ARGUMENTS), steady(*ARGUMENTS)
    assert first.code == second.code == 1
    assert plans == [3]
    assert first.err.splitlines()[-1] == second.err.splitlines()[-1]
    assert "free on standing D=1, seed 0: on purpose" in second.err
    assert "1 of them ran now" in steady(*ARGUMENTS, "--retry").err
    assert "1 of them ran now" in steady(*ARGUMENTS, "--retry").err


EDITS: dict[str, Callable[[Path], object]] = {
    "the suite": lambda here: (here / "t.toml").write_text(SUITE.replace('"t"', '"u"')),
    "a plug-in": lambda here: (here / "free.py").write_text(PLUGIN.replace("version = int", "version = 1 + int")),
    "a file that a plug-in reads": lambda here: (here / "beside.txt").write_text("2"),
    "a file that a plug-in reads is gone": lambda here: (here / "beside.txt").unlink(),
    "data": lambda here: (here / "data" / "a.csv").write_text("2"),
    "more data": lambda here: (here / "data" / "b.csv").write_text("1"),
    "a module beside the plug-in": lambda here: (here / "another.py").write_text(""),
}


@pytest.mark.parametrize("what", EDITS)
def test_whatever_a_plan_is_made_from_it_is_planned_anew_when_that_changes(
    finished: Command, plans: list[int], tmp_path: Path, what: str
) -> None:
    again(finished)
    assert len(plans) == 1
    EDITS[what](tmp_path)
    again(finished)
    assert len(plans) == 2


@pytest.mark.parametrize(
    "more", [("--seeds", "2"), ("--set", "standing.times=[2.0]"), ("-j", "1"), ("--timeout", "1m"), ("--retry",)]
)
def test_what_is_asked_otherwise_is_planned(finished: Command, plans: list[int], more: tuple[str, ...]) -> None:
    again(finished, *more)
    assert len(plans) == 2
    assert again(finished, "--dry-run").code == 0
    assert len(plans) == 3


def test_errors_of_use_are_errors_still(finished: Command) -> None:
    for more in (("--timeout", "soon"), ("--backend", "dusk"), ("--data", "nowhere"), ("--device", "gpu")):
        assert again(finished, *more).code == 2


def test_another_environment_is_planned_anew(
    finished: Command, plans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SETTING_OF_A_PLUGIN", "1")
    again(finished)
    assert len(plans) == 2
    monkeypatch.setenv("OLDPWD", "/")
    again(finished)
    assert len(plans) == 2


CHANGES = {
    "a cell is gone": "DELETE FROM cells WHERE key = (SELECT key FROM plans WHERE label = 'free')",
    "a cell has failed": "UPDATE cells SET status = 'error'",
    "a measure is missing": "UPDATE cells SET measures = '{}'",
    "a plan is gone": "DELETE FROM plans",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_store_that_has_changed_is_looked_at(finished: Command, plans: list[int], tmp_path: Path, what: str) -> None:
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as store:
        store.execute(CHANGES[what])
        store.commit()
    said = again(finished)
    assert len(plans) == 2
    if what == "a cell is gone":
        assert "1 of them ran now" in said.err


def test_one_cell_and_a_store_of_before_are_planned(finished: Command, plans: list[int], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as store:
        (key,) = store.execute("SELECT key FROM plans WHERE label = 'free'").fetchone()
        take_back(store, 8)
    for _ in range(2):
        assert "1 of them ran now" in again(finished, "--cell", key).err or plans
    assert len(plans) == 3
    assert again(finished).code == 0


def test_what_somebody_else_wrote_meanwhile_is_no_end(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store, Store(tmp_path / "s.sqlite") as other:
        changes = store.changes()
        other.begin("t", "", harness.provenance.provenance(1, computes=False))
        store.keep_finished("asked", b"", "", "", changes)
        assert store.connection.execute("SELECT count(*) FROM finished").fetchone() == (0,)
        store.keep_finished("asked", b"", "", "", store.changes())
        assert store.connection.execute("SELECT count(*) FROM finished").fetchone() == (1,)


def test_code_of_the_package_counts(tmp_path: Path) -> None:
    since = time.time_ns()
    found = origins((), (), None, Path("s.sqlite"), since)
    assert found is not None
    for module in ("problems.laws", "solvers.solver", "harness.plan", "harness.measure.measure", "torch"):
        assert sys.modules[module].__file__ in found.files
    assert Origins.unpacked(found.packed()) == found
    assert found.digest() == found.digest()


def test_a_file_that_may_have_been_another_when_it_was_read_proves_nothing(tmp_path: Path) -> None:
    since = time.time_ns()
    path = tmp_path / "young.txt"
    with hearing() as heard:
        time.sleep(0.05)
        path.write_text("written meanwhile")
        path.read_text()
        assert not (tmp_path / "absent").exists()
        with pytest.raises(FileNotFoundError):
            (tmp_path / "absent").read_text()
    assert {str(path), str(tmp_path / "absent")} <= heard
    assert origins(heard, (), None, tmp_path / "s", since) is None
    assert origins(heard, (), None, tmp_path / "s", time.time_ns()) is not None


def test_a_finished_run_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "free.py").write_text(PLUGIN)
    (tmp_path / "t.toml").write_text(SUITE)
    script = (
        f"import sys; sys.argv = ['wgfbench', *{ARGUMENTS!r}]\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    for last in (False, True):
        time.sleep(0.05)
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert (done.stdout.strip() == "[]") == last, done.stderr
    assert "0 of them ran now" in done.stderr
