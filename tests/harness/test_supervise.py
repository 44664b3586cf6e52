"""Cells that fail in every way end in the right status, and take nothing else with them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.catalogue import catalogue
from harness.plan import Cell, Selection, plan
from harness.schedule import Resources, run_cells
from harness.suite import Suite
from harness.supervise import Cancelled, Limits, check_device, supervise
from harness.usage import UsageError

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
    outcome = supervise(cell, limits)
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
    outcome = supervise(cell, LIMITS)
    killer.join()
    assert (outcome.status, outcome.reason) == ("crashed", "the process was killed by SIGKILL")


def test_stopping_kills_the_child(plugin: Path) -> None:
    (cell,) = cells(plugin, "looping")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Cancelled):
        supervise(cell, LIMITS, stop)


def test_the_others_finish_beside_failures(plugin: Path) -> None:
    names = ["raising", "exiting", "nan", "shifted"]
    outcomes = {
        cell.solver.name: outcome.status
        for cell, outcome, _ in run_cells(cells(plugin, *names), Resources(LIMITS, jobs=2), lambda cell: False)
    }
    assert outcomes == {"raising": "error", "exiting": "crashed", "nan": "diverged", "shifted": "ok"}


def test_closing_the_iterator_leaves_no_process(plugin: Path) -> None:
    results = run_cells(cells(plugin, "shifted", "looping"), Resources(LIMITS, jobs=2), lambda cell: False)
    cell, outcome, beside = next(results)
    assert (cell.solver.name, outcome.status) == ("shifted", "ok")
    assert beside in (0, 1)
    results.close()
    assert [child for child in psutil.Process().children(recursive=True) if works(child)] == []


def works(process: psutil.Process) -> bool:
    """Return whether a process is there and busy; the server that cells start from is there, but idle."""
    try:
        return process.cpu_percent(0.1) > 50
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cuda:99"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=r"device"):
        check_device(name)
