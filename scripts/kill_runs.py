"""Kill sweeps at random moments, the command or one of its processes, and see that nothing is lost and nothing doubled.

    python scripts/kill_runs.py --kills 1000 --seed 0

A sweep has cells of 5 ms, 50 ms, 0.5 s and 5 s. It is started, and killed by SIGKILL after a random time: the command
itself, the server that cells are forked from, or a cell. Where the command lives on it ends by itself; else it is given
again. Once as many have been killed as the sweep is to bear, it is let to end. Then

- every planned cell has one row, and it is ok (with ``--retry`` for those that were killed themselves);
- its measurements are those of a sweep that nobody disturbed, each once;
- SQLite says of the store that it is intact;
- of each command that was killed no process is left a second later.

The last line has the counts, and the exit code is 1 if any of this did not hold.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PLUGIN = '''\
"""Cells that take a given time."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from solvers.estimates import Exact
from solvers.solver import Solution, Solver


@dataclass(frozen=True, kw_only=True)
class Standing(ProblemFamily):
    """A flow that stands still."""

    name: ClassVar[str] = "standing"

    def build(self, dim, seed, generator):
        law = Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
        energy = FreeEnergy(Quadratic(torch.eye(dim, dtype=torch.float64), law.mean), Entropy(1.0))
        return Problem(GradientFlow(law, energy, self.times), ("symkl-gaussian",), truth=lambda t: law)


@dataclass(frozen=True, kw_only=True)
class Taking(Solver):
    """An answer with a random mean, after ``seconds``."""

    name: ClassVar[str] = "taking"
    seconds: float = 0.005

    def solve(self, problem, generator, device):
        mean = torch.randn(problem.flow.dim, generator=generator, dtype=torch.float64)
        time.sleep(self.seconds)
        law = Gaussian(mean, torch.eye(problem.flow.dim, dtype=torch.float64))
        return Solution(problem.flow.times, tuple(Exact(law) for _ in problem.flow.times))
'''
SUITE = """\
title = "Killed"
seeds = {seeds}
[[problems]]
use = "standing"
[[solvers]]
use = "taking"
grid = {{ seconds = [0.005, 0.05, 0.5] }}
[[solvers]]
use = "taking"
label = "taking 5 s"
settings = {{ seconds = 5.0 }}
dims = "1"
"""
KILLS_A_SWEEP = 10
LONGEST_WAIT = 12.0
"""Seconds within which a sweep is killed: it starts, plans, and runs cells in them."""
LEFT_SECONDS = 1.0


Figures = dict[tuple[str, float, str], float]
"""Measurements by cell, time and measure."""


@dataclass
class Tally:
    """What has been killed, and what did not hold."""

    killed: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    cells: int = 0
    faults: list[str] = field(default_factory=list)


def described(process: psutil.Process) -> str:
    """Say which process it is, what it does, and what it has had of a processor: on a busy machine one can be late."""
    try:
        used = process.cpu_times()
        what = " ".join(process.cmdline())[:60]
        return f"{what} ({process.status()}, {used.user + used.system:.2f} s of a processor)"
    except psutil.NoSuchProcess:
        return "one that has ended since"


class Sweep:
    """A sweep in a folder of its own."""

    def __init__(self, folder: Path, seeds: int) -> None:
        """Write its suite and its plug-in."""
        self.folder = folder
        (folder / "taking.py").write_text(PLUGIN)
        (folder / "killed.toml").write_text(SUITE.format(seeds=seeds))
        binary = str(Path(sys.executable).with_name("wgfbench"))
        self.command = [binary, "run", "killed.toml", "--plugin", "taking.py", "--store", "s.sqlite", "-j", "2"]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start the command in this sweep's folder."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen([*self.command, *more], cwd=self.folder, stdout=quiet, stderr=quiet)

    def figures(self) -> Figures:
        """Return all measurements by cell, time and measure; raises ``ValueError`` for one that is there twice."""
        with sqlite3.connect(self.folder / "s.sqlite") as store:
            rows = store.execute("SELECT key, t, metric, value FROM measurements").fetchall()
        store.close()
        found = {row[:3]: row[3] for row in rows}
        if len(found) != len(rows):
            raise ValueError(f"{len(rows) - len(found)} measurements are there twice")
        return found

    def disturb(self, random_numbers: random.Random, tally: Tally) -> bool:
        """Run the command and kill it or one of its processes; return whether it had ended before."""
        process = self.start()
        command = psutil.Process(process.pid)
        time.sleep(random_numbers.uniform(0, LONGEST_WAIT))
        try:
            family = [command, *command.children(recursive=True)]
            victim = random_numbers.choice(family)
            what = "command" if victim.pid == command.pid else "process"
            victim.kill()
        except psutil.NoSuchProcess:
            process.wait()
            return process.returncode is not None
        if process.poll() is not None and what == "process":
            return True
        tally.killed[what] += 1
        if what == "command":
            process.wait()
            _, left = psutil.wait_procs(family[1:], timeout=LEFT_SECONDS)
            left = [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            if left:
                names = sorted({described(each) for each in left})
                tally.faults.append(f"{len(left)} processes are left after {LEFT_SECONDS:g} s: {names}")
                for each in left:
                    each.kill()
        else:
            process.wait(timeout=300)
        return False

    def end(self) -> int:
        """Let the sweep end, what was killed tried again; return its exit code."""
        for _ in range(3):
            code = self.start("--retry").wait(timeout=600)
            if code == 0:
                return 0
        return code

    def check(self, tally: Tally, undisturbed: Figures) -> None:
        """Note what does not hold of the store now that the sweep has ended."""
        with sqlite3.connect(self.folder / "s.sqlite") as store:
            intact = store.execute("PRAGMA integrity_check").fetchone()[0]
            planned = store.execute("SELECT count(DISTINCT key) FROM plans").fetchone()[0]
            rows = store.execute("SELECT count(*), count(DISTINCT key), sum(status = 'ok') FROM cells").fetchone()
        store.close()
        tally.cells += planned
        if intact != "ok":
            tally.faults.append(f"SQLite says: {intact}")
        if rows != (planned, planned, planned):
            tally.faults.append(
                f"{planned} cells are planned, there are {rows[0]} rows of {rows[1]} cells, {rows[2]} ok"
            )
        try:
            if self.figures() != undisturbed:
                tally.faults.append("figures differ from those of a sweep that nobody disturbed")
        except ValueError as error:
            tally.faults.append(str(error))


def kill_sweeps(
    random_numbers: random.Random,
    kills: int,
    seeds: int,
    undisturbed: Figures,
    tally: Tally,
) -> None:
    """Kill one sweep after the other, each several times, until all that share the tally have killed enough."""
    while sum(tally.killed.values()) < kills:
        with tempfile.TemporaryDirectory() as place:
            sweep, told = Sweep(Path(place), seeds), len(tally.faults)
            tally.sweeps += 1
            for _ in range(KILLS_A_SWEEP):
                if sum(tally.killed.values()) >= kills or sweep.disturb(random_numbers, tally):
                    break
            if sweep.end() != 0:
                tally.faults.append("a sweep does not end well once it is left alone")
            sweep.check(tally, undisturbed)
        said = "; ".join(tally.faults[told:])
        print(f"{sum(tally.killed.values())} killed, {len(tally.faults)} faults {said}".rstrip(), flush=True)


def kill_runs(kills: int, seed: int, seeds: int, at_once: int) -> Tally:
    """Kill sweeps, ``at_once`` side by side, until so many times one was hit, and return what came of it."""
    streams, tally = [random.Random(f"{seed} {place}") for place in range(at_once)], Tally()
    with tempfile.TemporaryDirectory() as place:
        calm = Sweep(Path(place), seeds)
        if calm.end() != 0:
            raise RuntimeError("a sweep that nobody disturbs does not end well")
        undisturbed = calm.figures()
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(lambda stream: kill_sweeps(stream, kills, seeds, undisturbed, tally), streams):
            pass
    return tally


def main() -> None:
    """Read the command line, kill, and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims (default: %(default)s)")
    parser.add_argument(
        "--seeds", type=int, default=8, help="of a sweep, five cells or more each (default: %(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=1, help="sweeps side by side (default: %(default)s)")
    given = parser.parse_args()
    tally = kill_runs(given.kills, given.seed, given.seeds, given.at_once)
    killed = ", ".join(f"{count} times the {what}" for what, count in sorted(tally.killed.items()))
    print(f"killed {killed}, in {tally.sweeps} sweeps of {tally.cells} cells: {len(tally.faults)} faults")
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
