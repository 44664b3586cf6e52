"""The server imports what it is told to, between forks: tried with servers that nothing else uses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ASKING = """
import importlib, sys
from dataclasses import dataclass
from solvers.bounds import Initial
from solvers.solver import Solution

BEFORE = frozenset(sys.modules)

@dataclass(frozen=True, kw_only=True)
class Asking(Initial):
    name = "asking"
    about: str = ""
    imports: str = ""

    def solve(self, problem, generator, device):
        if self.imports:
            importlib.import_module(self.imports)
        found = super().solve(problem, generator, device)
        return Solution(found.times, found.estimates, diagnostics={"there": int(self.about in BEFORE)})
"""

BEGINNING = """
import os, signal, sys
from pathlib import Path
import psutil
from harness import server
from harness.bringing import server_of
from harness.catalogue import catalogue
from harness.plan import Selection, plan
from harness.suite import Suite
from harness.supervise import Limits, supervise

PLUGINS = [Path(name) for name in sys.argv[1:]]

def there(about, imports=""):
    '''Return whether a cell found a module in its process; it imports another then.'''
    solver = {"use": "asking", "settings": {"about": about, "imports": imports}}
    table = {"title": "t", "problems": [{"use": "standing"}], "solvers": [solver]}
    cells = plan(Suite.model_validate(table), Selection(), catalogue(PLUGINS))
    limits = Limits(seconds=60.0, memory=2**32, threads=1)
    (outcome,) = supervise([cell for cell in cells if cell.solver.name == "asking"], limits)
    assert outcome.status == "ok", outcome.reason
    return bool(outcome.diagnostics["there"])

def serving():
    return int(server_of(os.getpid(), server.folder()).read_text())
"""


@pytest.fixture
def run(tmp_path: Path, plugin: Path) -> Callable[[str], None]:
    """Return a function that runs lines of Python, with ``there`` and ``serving``, in a process of their own."""
    asking = tmp_path / "asking.py"
    asking.write_text(ASKING)

    def in_a_process(lines: str) -> None:
        command = [sys.executable, "-c", BEGINNING + lines, str(plugin), str(asking)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr

    return in_a_process


def test_the_server_brings_what_it_is_told_and_what_cells_had_to_import(run: Callable[[str], None]) -> None:
    run("""
assert not there("sklearn.semi_supervised")
server.bring(["sklearn.semi_supervised", "no.module.of.this.name"])
assert there("sklearn.semi_supervised", imports="sklearn.cross_decomposition")
assert there("sklearn.cross_decomposition", imports="wave")
assert not there("wave")  # what may not be there before a fork, for all that is known, stays out
""")


def test_it_brings_what_it_has_no_signal_for_before_it_forks(run: Callable[[str], None]) -> None:
    run("""
assert not there("wave")
psutil.Process.send_signal = lambda process, number: None
server.bring(["wave"])
assert there("wave")
""")


def test_a_server_that_has_ended_is_followed_by_one_that_is_told_as_much(run: Callable[[str], None]) -> None:
    run("""
server.bring(["wave"])
assert there("wave")
ended = serving()
os.kill(ended, signal.SIGKILL)
os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
server.start = lambda: None  # as if it had ended a moment later
assert there("wave")
assert serving() != ended
assert psutil.Process(serving()).ppid() == os.getpid()
""")


def test_a_server_that_is_started_in_a_cell_does_not_take_the_place_of_the_cell_s_own(
    run: Callable[[str], None],
) -> None:
    run("""
assert not there("wave")
first = serving()
cell = server.context().Process(
    target=exec, args=("from harness import server; server.start(); server.bring(['wave'])",)
)
server.launch(cell)
cell.join()
assert cell.exitcode == 0
assert serving() == first
assert not there("wave")
""")


@pytest.mark.parametrize(("process", "printed"), [("os.getpid()", ""), ("os.getpid() + 1", "taken down\n")])
def test_a_server_leaves_at_once_and_what_it_forks_does_not(process, printed):
    said = (
        "import atexit, os; from harness.parent import leave; "
        f"atexit.register(print, 'taken down', flush=True); atexit.register(leave, {process})"
    )
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout == printed
