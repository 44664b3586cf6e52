"""What a sweep costs beside its cells, and how soon the command line answers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import free
from benchmarks.bounds import at_most
from benchmarks.profiles import WGFBENCH, Profiled
from harness.frame import load


class SweepOverhead(Profiled):
    """A sweep of free cells by the command line itself, one at a time and as many as there are cores.

    The first cell to end is left out of the overhead: until then the server that cells are forked from is starting.
    """

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 1, "regular": 50, "large": 500}

    def setup_cache(self) -> dict[str, tuple[float, float]]:
        """Return milliseconds a cell and seconds before the first, for one job and for one a core."""
        Path("suite.toml").write_text(free.SUITE.format(seeds=self.size))
        return {"one": self.measured(1), "cores": self.measured(os.cpu_count() or 1)}

    setup_cache.timeout = 300.0

    def measured(self, jobs: int) -> tuple[float, float]:
        store = Path(f"jobs-{jobs}.sqlite")
        command = [WGFBENCH, "run", "suite.toml", "--plugin", free.__file__, "--store", store, "-j", str(jobs)]
        started = time.time()
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise RuntimeError(f"the sweep ended with {finished.returncode}: {finished.stderr}")
        cells = load(store).drop_duplicates("key")
        ends = sorted(datetime.fromisoformat(text).timestamp() for text in cells["finished"])
        own = float((cells["solve_seconds"] + cells["measure_seconds"]).sum()) / jobs
        return 1000 * (ends[-1] - ends[0] - own) / (len(ends) - 1), ends[0] - started

    @at_most(30)
    def track_overhead_of_one_job(self, measured: dict[str, tuple[float, float]]) -> float:
        return measured["one"][0]

    track_overhead_of_one_job.unit = "ms a cell"

    @at_most(14)
    def track_overhead_of_a_job_a_core(self, measured: dict[str, tuple[float, float]]) -> float:
        return measured["cores"][0]

    track_overhead_of_a_job_a_core.unit = "ms a cell"

    def track_before_the_first_cell(self, measured: dict[str, tuple[float, float]]) -> float:
        return min(seconds for _, seconds in measured.values())

    track_before_the_first_cell.unit = "s"


class OneCell(Profiled):
    """A sweep of one free cell and its two bounds, from the command to its end; the median of several."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 1, "regular": 5, "large": 15}

    @at_most(1.55)
    def track_seconds(self) -> float:
        Path("suite.toml").write_text(free.SUITE.format(seeds=1))
        store, taken = Path("one.sqlite"), []
        for _ in range(self.size):
            store.unlink(missing_ok=True)
            started = time.perf_counter()
            command = [WGFBENCH, "run", "suite.toml", "--plugin", free.__file__, "--store", store]
            subprocess.run(command, capture_output=True, check=True)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    track_seconds.unit = "s"


class CommandLine(Profiled):
    """Start of the command line, a new process each time; the median of several."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 1, "regular": 15, "large": 50}

    def seconds(self, *arguments: str) -> float:
        taken = []
        for _ in range(self.size):
            started = time.perf_counter()
            subprocess.run([WGFBENCH, *arguments], capture_output=True, check=True)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    @at_most(0.3)
    def track_help(self) -> float:
        return self.seconds("--help")

    track_help.unit = "s"

    def track_bare_interpreter(self) -> float:
        """Python and nothing else, to compare ``--help`` with."""
        taken = []
        for _ in range(self.size):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], capture_output=True, check=True)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    track_bare_interpreter.unit = "s"
