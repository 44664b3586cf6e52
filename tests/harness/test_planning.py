"""A command plans in a process of its server, and what it gets from there is what it would have planned itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness import server
from harness.bringing import server_of
from harness.catalogue import catalogue
from harness.errors import UsageError
from harness.plan import Cell, Selection, plan
from harness.planning import planned_by_server
from harness.request import Change, Request
from harness.running import PlannedRun
from harness.suite import Suite
from harness.supervise import Limits, supervise

LIMITS = Limits(seconds=60.0, memory=2**32, threads=1)
ASKING = '''
"""A solver that says which modules were there before it, and imports them."""
import importlib, sys
from dataclasses import dataclass
from solvers.bounds import Initial
from solvers.solver import Solution

ASKED = ("sklearn.semi_supervised", "sklearn.cross_decomposition", "wave", "colorsys", "sndhdr")
THERE = {name: name in sys.modules for name in ASKED}

@dataclass(frozen=True, kw_only=True)
class Asking(Initial):
    name = "asking"
    imports: str = ""

    def solve(self, problem, generator, device):
        if self.imports:
            importlib.import_module(self.imports)
        found = super().solve(problem, generator, device)
        return Solution(found.times, found.estimates, diagnostics={name: int(there) for name, there in THERE.items()})
'''


def both(request: Request) -> tuple[PlannedRun, PlannedRun]:
    return planned_by_server(request, "asked"), PlannedRun(request, "asked")


@pytest.mark.parametrize(
    "request_",
    [Request(suite="demo"), Request(suite="ou", seeds="1", changes=[Change("euler-maruyama", "dtype", "float64")])],
)
def test_it_is_the_plan_that_is_made_here(request_: Request) -> None:
    there, here = both(request_)
    assert there.cells == here.cells
    assert [cell.key for cell in there.cells] == [cell.key for cell in here.cells]
    assert [cell.place for cell in there.cells] == [cell.place for cell in here.cells]
    for name in ("request", "asked", "components", "suites", "preset", "identity", "folder", "device", "resources"):
        assert getattr(there, name) == getattr(here, name), name
    measures = {name for cell in here.cells for name in cell.problem.declared}
    assert measures
    assert {name: there.lacks.version(name) for name in measures} == {
        name: here.lacks.version(name) for name in measures
    }
    assert there.origins is not None


def test_errors_of_use_come_with_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    requests = [
        Request(suite="demo", solver=["eular-maruyama"]),
        Request(suite="demo", dims="0"),
        Request(suite="demo", plugin=[tmp_path / "broken.py"]),
        Request(suite="demo", changes=[Change("svgd", "particles", "many")]),
    ]
    for request in requests:
        words = []
        for make in (lambda each: planned_by_server(each, ""), PlannedRun):
            with pytest.raises(UsageError) as error:
                make(request)
            words.append(str(error.value))
        assert words[0] == words[1]


def test_where_the_other_process_is_lost_the_command_plans_itself(tmp_path: Path, plugin: Path) -> None:
    lost = tmp_path / "lost.py"
    lost.write_text(f"import os\nif os.getpid() != {os.getpid()}: os._exit(3)\n{ASKING}")
    request = Request(suite="demo", plugin=[lost], problem=["double-well"], solver=["asking"])
    assert {cell.solver.name for cell in planned_by_server(request, "").cells} == {"initial", "oracle", "asking"}


def test_a_sweep_imports_nothing_heavy_where_it_is_asked_for(tmp_path: Path, plugin: Path) -> None:
    (tmp_path / "t.toml").write_text('title = "t"\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "shifted"\n')
    script = (
        f"import sys; sys.argv = ['wgfbench', 'run', 't.toml', '--plugin', {str(plugin)!r}]\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'pandas', 'ot', 'sklearn', 'threadpoolctl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "3 of them ran now" in done.stderr
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def there(tmp_path: Path, plugin: Path) -> Callable[..., dict[str, object]]:
    """Return a function that says which modules a cell found, which imports another itself."""
    path = tmp_path / "asking.py"
    path.write_text(ASKING)

    def found(imports: str = "") -> dict[str, object]:
        table = {"title": "t", "problems": [{"use": "standing"}]}
        suite = Suite.model_validate(table | {"solvers": [{"use": "asking", "settings": {"imports": imports}}]})
        cells: list[Cell] = plan(suite, Selection(), catalogue([plugin, path]))
        (outcome,) = supervise([cell for cell in cells if cell.solver.name == "asking"], LIMITS)
        assert outcome.status == "ok", outcome.reason
        return dict(outcome.diagnostics)

    return found


def test_the_server_brings_what_it_is_told_and_what_cells_had_to_import(
    there: Callable[..., dict[str, object]],
) -> None:
    assert set(there().values()) == {0}
    server.bring(["sklearn.semi_supervised", "no.module.of.this.name"])
    assert there("sklearn.cross_decomposition")["sklearn.semi_supervised"] == 1
    assert there("wave")["sklearn.cross_decomposition"] == 1
    assert there()["wave"] == 0  # what may not be there before a fork, for all that is known, stays out


def test_it_brings_what_it_has_no_signal_for_before_it_forks(
    there: Callable[..., dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    there()
    monkeypatch.setattr(psutil.Process, "send_signal", lambda process, number: None)
    server.bring(["colorsys"])
    assert there()["colorsys"] == 1


def test_a_server_that_has_ended_is_followed_by_one_that_is_told_as_much(
    there: Callable[..., dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bring(["sndhdr"])
    there()
    ended = int(server_of(os.getpid(), server.folder()).read_text())
    os.kill(ended, signal.SIGKILL)
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(server, "start", lambda: None)  # as if it had ended a moment later
    assert there()["sndhdr"] == 1
    assert psutil.Process(int(server_of(os.getpid(), server.folder()).read_text())).ppid() == os.getpid()
