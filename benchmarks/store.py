"""The store: one more cell, going on where a sweep stopped, and the frame of everything."""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import free
from benchmarks.bounds import at_most
from benchmarks.profiles import WGFBENCH, Profiled
from harness.catalogue import catalogue
from harness.completion import Completion
from harness.components import Cell
from harness.frame import load
from harness.merge import merge
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import now, provenance
from harness.store import Store, insert
from harness.suite import Suite
from harness.sweeping import incomplete, pending

MEASUREMENTS = tuple(Measurement(t, f"measure {m}", 0.1, 0.01, "none", None) for t in (0.5, 0.9) for m in range(6))
RERUN = "wgfbench run free"
CELLS_A_SEED = 3
"""The free solver and the bounds of every instance: the initial law and the oracle."""


def planned(count: int) -> list[Cell]:
    """Return at least ``count`` free cells, planned as the command line plans them."""
    suite = Suite.model_validate(tomllib.loads(free.SUITE.format(seeds=-(-count // CELLS_A_SEED))))
    return plan(suite, Selection(), catalogue([Path(free.__file__)]))


def filled(path: Path, cells: Iterable[Cell], measurements: tuple[Measurement, ...]) -> None:
    """Make a store with all cells done, in one transaction for the lot."""
    cells = list(cells)
    path.unlink(missing_ok=True)
    with Store(path) as store:
        store.record_plan("free", "", cells, RERUN)
        run = store.begin("free", "", provenance(1))
        with store.transaction():
            done = {"run": run, "status": "ok", "finished": now(), "solve_seconds": 0.1, "diagnostics": "{}"}
            insert(store.connection, "cells", ({"key": cell.key} | done for cell in cells))
            insert(
                store.connection,
                "measurements",
                ({"key": cell.key} | vars(each) for cell in cells for each in measurements),
            )


class BigStore(Profiled):
    """A store of finished cells, one measurement each."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 30, "regular": 100_000, "large": 1_000_000}
    timeout = 300.0

    def setup_cache(self) -> str:
        path = Path("big.sqlite").resolve()
        filled(path, planned(self.size), MEASUREMENTS[:1])
        return str(path)

    setup_cache.timeout = 300.0

    def setup(self, path: str) -> None:
        self.store = Store(Path(path))
        self.outcome = Outcome("ok", measurements=MEASUREMENTS, solve_seconds=0.1)
        warm_up, self.cell = (replace(planned(1)[0], seed=time.time_ns() + place) for place in range(2))
        self.store.record(warm_up, self.outcome, 1, 0)

    def teardown(self, path: str) -> None:
        self.store.__exit__()

    def time_append(self, path: str) -> None:
        """One new cell with 12 measurements, in a transaction of its own; setting up again makes the next one."""
        self.store.record(self.cell, self.outcome, 1, 0)

    @at_most(2)
    def track_resume(self, path: str) -> float:
        """Plan the suite, record the plan, and find that nothing is left to run; the best of three."""
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            cells = planned(self.size)
            with Store(Path(path)) as store:
                waiting = pending(cells, store, False) + incomplete(cells, store, Completion(catalogue()))
                store.record_plan("free", "", cells, RERUN)
            taken.append(time.perf_counter() - started)
            if waiting:
                raise RuntimeError(f"{len(waiting)} of {len(cells)} cells were not found")
        return min(taken)

    track_resume.unit = "s"

    @at_most(1.5)
    def track_resume_by_command(self, path: str) -> float:
        """The same by ``wgfbench run``, with Python's start and all imports; the best of three."""
        return seconds_of_run(path, self.size)

    track_resume_by_command.unit = "s"


def seconds_of_run(path: str, cells: int) -> float:
    """Return the seconds of ``wgfbench run`` on a store that has all cells, the best of three; the first one plans."""
    suite = Path("suite.toml")
    suite.write_text(free.SUITE.format(seeds=-(-cells // CELLS_A_SEED)))
    command = [WGFBENCH, "run", suite, "--plugin", free.__file__, "--store", path]
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        taken.append(time.perf_counter() - started)
    return min(taken)


class FinishedSuite(Profiled):
    """A suite of a few thousand cells that has been run."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 30, "regular": 4000, "large": 4000}
    timeout = 300.0

    def setup_cache(self) -> str:
        path = Path("finished.sqlite").resolve()
        filled(path, planned(self.size), MEASUREMENTS[:1])
        return str(path)

    @at_most(0.57)
    def track_run_again(self, path: str) -> float:
        """The same command once more: nothing is left to do."""
        return seconds_of_run(path, self.size)

    track_run_again.unit = "s"


class Merge(Profiled):
    """Two stores of finished cells, one measurement each, of which half are the same, in a third."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 30, "regular": 100_000, "large": 1_000_000}
    timeout = 300.0

    def setup_cache(self) -> list[str]:
        cells = planned(self.size)
        later = [replace(cell, seed=cell.seed + self.size // (2 * CELLS_A_SEED)) for cell in cells]
        paths = [Path(f"{name}.sqlite").resolve() for name in ("one", "other")]
        for path, held in zip(paths, (cells, later), strict=True):
            filled(path, held, MEASUREMENTS[:1])
        return [str(path) for path in paths]

    setup_cache.timeout = 300.0

    @at_most(10)
    def track_merge(self, paths: list[str]) -> float:
        """Seconds to merge them."""
        target = Path("merged.sqlite")
        target.unlink(missing_ok=True)
        started = time.perf_counter()
        merge([Path(path) for path in paths], target)
        return time.perf_counter() - started

    track_merge.unit = "s"


class Frame(Profiled):
    """All of a store with 12 measurements a cell as one frame."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 30, "regular": 20_000, "large": 200_000}
    timeout = 300.0

    def setup_cache(self) -> str:
        path = Path("frame.sqlite").resolve()
        filled(path, planned(self.size), MEASUREMENTS)
        return str(path)

    setup_cache.timeout = 300.0

    def time_load(self, path: str) -> None:
        load(path)

    def peakmem_load(self, path: str) -> None:
        load(path)
