"""A command plans in a process of its server, and what it gets from there is what it would have planned itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.planning import planned_by_server
from harness.request import Change, Request
from harness.running import PlannedRun
from harness.supervise import Limits

LIMITS = Limits(seconds=60.0, memory=2**32, threads=1)


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
    lost.write_text(f"{plugin.read_text()}\nimport os\nif os.getpid() != {os.getpid()}: os._exit(3)\n")
    request = Request(suite="demo", plugin=[lost], problem=["double-well"], solver=["shifted"])
    assert {cell.solver.name for cell in planned_by_server(request, "").cells} == {"initial", "oracle", "shifted"}


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
