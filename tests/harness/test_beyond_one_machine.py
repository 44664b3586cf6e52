"""docs/cluster.md: its scripts, with SLURM played by a script, and what is lost when parts of a cluster are."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from documents import files
from harness import load

FILES = files("docs/cluster.md")
BIN = Path(sys.executable).parent
NAPPING = """\
import time
from dataclasses import dataclass
from typing import ClassVar

from solvers.estimates import Exact
from solvers.solver import Solution, Solver


@dataclass(frozen=True, kw_only=True)
class Napping(Solver):
    \"\"\"Takes its time, and answers with the initial law.\"\"\"

    name: ClassVar[str] = "napping"

    def solve(self, problem, generator, device):
        time.sleep(0.1)
        return Solution(problem.flow.times, tuple(Exact(problem.flow.initial) for _ in problem.flow.times))
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a script of the document as a job: two tasks of one core each."""
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text('#!/bin/bash\nfor task in 0 1; do "$@" & done\ntrap "kill $(jobs -p | xargs)" TERM\nwait\n')
    srun.chmod(0o755)

    def submit(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / script
        path.write_text(FILES[script])
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}", **variables}
        command = ["setsid", "-w", "bash", str(path)]  # a job of its own
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)

    return submit


def test_an_array_of_jobs(slurm: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """Three jobs, one of them submitted twice, are one sweep: the figures of a run here."""
    for task in ("0", "1", "2", "1"):
        done = slurm("array.sh", SLURM_ARRAY_TASK_ID=task, SLURM_CPUS_PER_TASK="2")
        assert done.returncode == 0, done.stderr
    assert "0 of them ran now" in done.stderr
    merged = slurm("merge.sh")
    assert merged.returncode == 0, merged.stderr
    assert "euler-maruyama" in merged.stdout
    together = load(tmp_path / "all.sqlite")
    alone = [
        str(BIN / "wgfbench"),
        "run",
        "demo",
        "--problem",
        "ornstein-uhlenbeck",
        "--dims",
        "2",
        "--store",
        "alone.sqlite",
        "-j",
        "2",
    ]
    subprocess.run(alone, cwd=tmp_path, check=True, capture_output=True, timeout=400)
    here = load(tmp_path / "alone.sqlite")
    columns = ["key", "status", "t", "metric", "value", "standard_error", "floor"]
    order = ["key", "t", "metric"]
    left, right = (frame.sort_values(order)[columns].reset_index(drop=True) for frame in (together, here))
    assert len(left) > 0
    assert left.equals(right)


@pytest.mark.xdist_group("dask")
def test_a_dask_cluster_in_a_job(slurm: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    done = slurm("cluster.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(load(tmp_path / "dask.sqlite")["status"]) == {"ok"}


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """Yield the processes of a scheduler and of two workers' nanny, which end with it; its file is scheduler.json."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    scheduler = subprocess.Popen(
        [str(BIN / "dask"), "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", "scheduler.json"],
        **quiet,  # type: ignore[call-overload]
    )
    where = ["--no-dashboard", "--scheduler-file", "scheduler.json"]
    workers = subprocess.Popen(
        [str(BIN / "dask"), "worker", "--nworkers", "2", "--nthreads", "1", *where],
        **quiet,  # type: ignore[call-overload]
    )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "scheduler.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield psutil.Process(scheduler.pid), psutil.Process(workers.pid)
    finally:
        started = [each for process in (workers, scheduler) for each in [psutil.Process(process.pid)]]
        started += [child for process in started for child in process.children(recursive=True)]
        for each in started:
            if each.is_running():
                each.kill()
        psutil.wait_procs(started, timeout=20)


def begin(folder: Path, plugin: Path, seeds: int) -> subprocess.Popen[str]:
    """Start a sweep of so many seeds on the cluster, and return when a few cells have ended."""
    (folder / "napping.py").write_text(NAPPING)
    (folder / "nap.toml").write_text(
        f'title = "nap"\nseeds = {seeds}\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "napping"\n'
    )
    arguments = ["run", "nap.toml", "--plugin", "napping.py", "--plugin", str(plugin), "--store", "s.sqlite"]
    arguments += ["--backend", "dask", "--scheduler", "scheduler.json"]
    sweep = subprocess.Popen(
        [str(BIN / "wgfbench"), *arguments], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 240
    while ended(folder / "s.sqlite") < 5 and time.monotonic() < deadline:
        time.sleep(0.2)
    return sweep


def ended(store: Path) -> int:
    """Return how many cells a store has."""
    if not store.exists():
        return 0
    connection = sqlite3.connect(store)
    try:
        return int(connection.execute("SELECT count(*) FROM cells").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


@pytest.mark.xdist_group("dask")
def test_a_worker_that_dies_loses_nothing_and_doubles_nothing(tmp_path: Path, plugin: Path) -> None:
    pytest.importorskip("distributed")
    with cluster(tmp_path) as (_, nanny):
        sweep = begin(tmp_path, plugin, seeds=30)
        worker = next(each for each in nanny.children(recursive=True) if each.children())
        worker.send_signal(signal.SIGKILL)
        _, said = sweep.communicate(timeout=1200)
    assert sweep.returncode == 0, said
    frame = load(tmp_path / "s.sqlite")
    assert set(frame["status"]) == {"ok"}
    assert frame["key"].nunique() == ended(tmp_path / "s.sqlite") == 90


@pytest.mark.xdist_group("dask")
def test_a_scheduler_that_is_lost_is_one_line(tmp_path: Path, plugin: Path) -> None:
    pytest.importorskip("distributed")
    with cluster(tmp_path) as (scheduler, _):
        sweep = begin(tmp_path, plugin, seeds=200)
        scheduler.send_signal(signal.SIGKILL)
        _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    lines = [line for line in said.splitlines() if " cells, " not in line]  # the log of a sweep without a terminal
    assert lines == [
        "wgfbench: the dask scheduler at 'scheduler.json' was lost: what had finished is kept, and the same command "
        "goes on from there"
    ]
    statuses = load(tmp_path / "s.sqlite")["status"]
    assert set(statuses) == {"ok", "planned"}
