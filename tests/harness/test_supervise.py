"""Cells that fail in every way end in the right status, and take nothing else with them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.catalogue import catalogue
from harness.components import Cell
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.schedule import Resources, dispatch, grouped, shares
from harness.suite import Suite
from harness.supervise import Cancelled, Limits, check_device, supervise

LIMITS = Limits(seconds=60, memory=2**30, threads=1)


def cells(plugin: Path, *solvers: str) -> list[Cell]:
    suite = Suite.model_validate(
        {"title": "test", "problems": [{"use": "standing"}], "solvers": [{"use": name} for name in solvers]}
    )
    return [cell for cell in plan(suite, Selection(), catalogue([plugin])) if cell.solver.name in solvers]


@pytest.mark.parametrize(
    ("solver", "status", "reason"),
    [
        ("raising", "error", "KeyError: 'no such thing'"),
        ("exiting", "crashed", "exit code 3"),
        ("nan", "diverged", "10 of 10 particles are not finite"),
        ("allocating", "memory", "over its limit of 1024 MiB"),
        ("looping", "timeout", "killed after its limit of 1 s"),
        ("shifted", "ok", None),
    ],
)
def test_status(plugin: Path, solver: str, status: str, reason: str | None) -> None:
    limits = Limits(1.0 if solver == "looping" else 60.0, LIMITS.memory, LIMITS.threads)
    (cell,) = cells(plugin, solver)
    (outcome,) = supervise([cell], limits)
    assert outcome.status == status
    assert outcome.reason is None if reason is None else reason in str(outcome.reason)
    assert (outcome.traceback is not None) == (status in ("error", "diverged"))


def test_killed_by_the_system_is_crashed(plugin: Path) -> None:
    (cell,) = cells(plugin, "looping")
    victims = set(psutil.Process().children(recursive=True))

    def kill_the_new_child() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.3)
            for child in set(psutil.Process().children(recursive=True)) - victims:
                if child.ppid() != psutil.Process().pid:
                    child.kill()
                    return

    killer = threading.Thread(target=kill_the_new_child)
    killer.start()
    (outcome,) = supervise([cell], LIMITS)
    killer.join()
    assert (outcome.status, outcome.reason) == ("crashed", "the process was killed by SIGKILL")


def test_stopping_kills_the_child(plugin: Path) -> None:
    (cell,) = cells(plugin, "looping")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Cancelled):
        supervise([cell], LIMITS, stop)


def test_the_others_finish_beside_failures(plugin: Path) -> None:
    names = ["raising", "exiting", "nan", "shifted"]
    outcomes = {
        cell.solver.name: outcome.status
        for cell, outcome, _ in dispatch(cells(plugin, *names), Resources(LIMITS, jobs=2), lambda cell: False)
    }
    assert outcomes == {"raising": "error", "exiting": "crashed", "nan": "diverged", "shifted": "ok"}


def test_closing_the_iterator_leaves_no_process(plugin: Path) -> None:
    results = dispatch(cells(plugin, "shifted", "looping"), Resources(LIMITS, jobs=2), lambda cell: False)
    cell, outcome, beside = next(results)
    assert (cell.solver.name, outcome.status) == ("shifted", "ok")
    assert beside in (0, 1)
    results.close()
    assert [child for child in psutil.Process().children(recursive=True) if works(child)] == []


def test_a_killed_cell_goes_on_from_its_checkpoint(plugin: Path, tmp_path: Path) -> None:
    (cell,) = cells(plugin, "resuming")
    folder = tmp_path / "checkpoints"
    (killed,) = supervise([cell], Limits(1.0, LIMITS.memory, 1, str(folder)))
    assert killed.status == "timeout"
    assert (folder / cell.key / "attempts").exists()
    (outcome,) = supervise([cell], Limits(60.0, LIMITS.memory, 1, str(folder)))
    assert (outcome.status, outcome.diagnostics) == ("ok", {"found": 1})
    assert list(folder.iterdir()) == []


def test_seeds_together_give_what_each_gives_alone(plugin: Path) -> None:
    suite = Suite.model_validate(
        {"title": "test", "seeds": 4, "problems": [{"use": "standing"}], "solvers": [{"use": "together"}]}
    )
    own = [cell for cell in plan(suite, Selection(), catalogue([plugin])) if cell.solver.name == "together"]
    assert [len(group) for group in grouped(own, seeds_together=True)] == [4]
    assert [len(group) for group in grouped(own, seeds_together=False)] == [1] * 4
    ended = {}
    for together in (True, False):
        resources = Resources(LIMITS, jobs=2, seeds_together=together)
        ended[together] = {cell.seed: outcome for cell, outcome, _ in dispatch(own, resources, lambda cell: False)}
    assert all(outcome.status == "ok" for outcome in ended[False].values())
    assert sorted(outcome.status for outcome in ended[True].values()) == ["diverged", "ok", "ok", "ok"]
    for seed, outcome in ended[True].items():
        if outcome.status == "ok":
            assert outcome.measurements == ended[False][seed].measurements
            assert outcome.diagnostics == {"solved_together": 4}
        else:
            assert outcome.reason == "too far"


def test_seeds_together_that_are_killed_share_the_reason(plugin: Path) -> None:
    pair = [*cells(plugin, "looping-together"), *cells(plugin, "looping-together")]
    outcomes = supervise(pair, Limits(0.5, LIMITS.memory, 1))
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("timeout", "killed after its limit of 1 s")
    ] * 2


def works(process: psutil.Process) -> bool:
    """Return whether a process is there and busy; the server that cells start from is there, but idle."""
    try:
        return process.cpu_percent(0.1) > 50
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("jobs", "threads", "on_gpu", "expected"),
    [
        (None, None, False, (16, 1)),
        (None, 4, False, (4, 4)),
        (None, 32, False, (1, 32)),
        (3, None, False, (3, 1)),
        (None, None, True, (1, 16)),
        (3, None, True, (3, 5)),
        (32, None, True, (32, 1)),
        (None, 2, True, (1, 2)),
        (2, 2, True, (2, 2)),
    ],
)
def test_cores_are_shared_out(jobs, threads, on_gpu, expected) -> None:
    assert shares(16, jobs, threads, on_gpu) == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cuda:99"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=r"device"):
        check_device(name)


def test_a_server_that_is_still_importing_ends_with_its_parent() -> None:
    """Killed at once, the parent leaves nobody behind a second later, though the imports take longer."""
    script = "import time; from harness import server; server.start(); print('started', flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.wait()
    # A second is for the one that sees it; a busy machine has others to attend to first.
    assert psutil.wait_procs(children, timeout=5)[1] == []
