"""The schedule of a sweep: joblib dispatches cells to threads that supervise children here, or a cluster takes them."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from harness.catalogue import import_target
from harness.components import Cell
from harness.course import Course
from harness.errors import UsageError, unknown
from harness.outcome import Outcome
from harness.supervise import POLL_SECONDS, Cancelled, Limits, supervise

Backend = Literal["local", "dask"]


def check_backend(
    name: str, scheduler: str | None = None, jobs: int | None = None, timing: bool = False, in_order: bool = False
) -> Backend:
    """Return the backend of this name.

    Raises ``UsageError`` where there is none, and for what it cannot do: elsewhere cells have no order and no number
    that run at once, and here there is no scheduler.
    """
    if name not in get_args(Backend):
        raise unknown("backend", name, get_args(Backend))
    if name == "local" and scheduler is not None:
        raise UsageError(f"--scheduler needs --backend dask, got {scheduler!r} without: cells would run here")
    for asked, option, why in (
        (in_order, "--stop-hopeless", "a cluster has no order of seeds"),
        (timing, "--timing", "on a cluster cells run beside each other"),
        (jobs is not None, f"-j {jobs}", "a worker runs as many cells at once as it has threads, `--nthreads`"),
    ):
        if asked and name != "local":
            raise UsageError(f"{option} needs --backend local, got {name!r}: {why}")
    return cast(Backend, name)


@dataclass(frozen=True)
class Resources:
    """What a sweep may use: where it runs, how many cells at once, and the limits of each.

    ``seeds_together`` lets solvers that can do so solve all seeds of a size in one process.
    """

    limits: Limits
    jobs: int = 1
    seeds_together: bool = False
    backend: Backend = "local"
    scheduler: str | None = None


def shares(cores: int, jobs: int | None, threads: int | None, on_gpu: bool) -> tuple[int, int]:
    """Return how many cells run at once and on how many threads each, where ``None`` leaves it open.

    One cell has the GPU for itself; what it gives is measured on the CPU, on all cores.
    """
    if jobs is None:
        jobs = 1 if on_gpu else max(1, cores // (threads or 1))
    if threads is None:
        threads = max(1, cores // jobs) if on_gpu else 1
    return jobs, threads


class Occupancy:
    """How many cells run at once on this machine, and the most that each of them had beside it."""

    def __init__(self) -> None:
        """Start with nothing running."""
        self.lock = threading.Lock()
        self.running: dict[str, int] = {}

    def enter(self, key: str) -> None:
        """Count a cell that starts."""
        with self.lock:
            self.running[key] = 0
            beside = len(self.running) - 1
            for other in self.running:
                self.running[other] = max(self.running[other], beside)

    def runs(self, keys: Sequence[str]) -> bool:
        """Return whether one of the cells of these keys is running."""
        with self.lock:
            return any(key in self.running for key in keys)

    def leave(self, key: str) -> int:
        """Stop counting a cell, and return the most that ran beside it."""
        with self.lock:
            return self.running.pop(key)


def dispatch(
    cells: Sequence[Cell], resources: Resources, finished: Callable[[Cell], bool], course: Course | None = None
) -> Generator[tuple[Cell, Outcome, int | None], None, None]:
    """Yield each cell with its outcome and the number of cells that ran beside it, as they finish.

    A cell that is ``finished`` when its turn comes, in another sweep on the same store, is left out. One whose
    component is missing ends without a process. The ``course`` of the sweep may leave out floors that nothing stands
    on, and end hopeless cells untried, where cells run on this machine. Closing the iterator kills what still runs.

    Raises ``UsageError`` for a dask scheduler that is not given or cannot be reached or has no workers that run cells,
    and ``ClusterLost`` for one that is lost while cells run there.
    """
    for cell in cells:
        missing = cell.problem.missing or cell.solver.missing
        if missing is not None:
            if course is not None:
                course.note(cell, "unavailable")
            yield cell, Outcome("unavailable", missing), None
    ready = [cell for cell in cells if not (cell.problem.missing or cell.solver.missing)]
    groups = grouped(ready, resources.seeds_together)
    stop = threading.Event()
    occupancy = Occupancy()

    def here(group: Sequence[Cell]) -> list[tuple[Cell, Outcome, int | None]]:
        """Run the cells of a group that are not finished, all in one process or each in its own.

        A floor's turn comes when it is known whether anything stands on it, however long that takes.
        """
        while (
            course is not None and not stop.is_set() and any(occupancy.runs(course.waits_for(each)) for each in group)
        ):
            time.sleep(POLL_SECONDS)
        left = [cell for cell in group if not (finished(cell) or (course is not None and course.needless(cell)))]
        if stop.is_set() or not left:
            return []
        if course is not None and len(left) == 1 and (why := course.hopeless(left[0])) is not None:
            course.note(left[0], "hopeless")
            return [(left[0], Outcome("hopeless", why), None)]
        for cell in left:
            occupancy.enter(cell.key)
        try:
            outcomes = supervise(left, resources.limits, stop)
            if course is not None:
                for cell, outcome in zip(left, outcomes, strict=False):
                    course.note(cell, outcome.status)
        except Cancelled:
            outcomes = []
        finally:
            beside = [occupancy.leave(cell.key) - len(left) + 1 for cell in left]
        return list(zip(left, outcomes, beside, strict=False))

    if resources.backend == "dask":
        from harness.cluster import on_cluster

        yield from on_cluster(groups, resources.limits, resources.scheduler)
        return
    if len(groups) < 2:
        for group in groups:
            yield from here(group)
        return
    from joblib import Parallel, delayed  # with NumPy, of which many a command that is not here yet has no need

    parallel = Parallel(n_jobs=resources.jobs, backend="threading", return_as="generator_unordered")
    results = parallel(delayed(here)(group) for group in groups)
    try:
        for ended in results:
            yield from ended
    finally:
        stop.set()
        with warnings.catch_warnings():
            # joblib warns of the tasks that are cancelled here on purpose.
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def grouped(cells: Sequence[Cell], seeds_together: bool) -> list[list[Cell]]:
    """Return the cells that run in one process each, in order: all seeds of a size where the solver batches them."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        batched = seeds_together and import_target(cell.solver.target).batches_seeds
        shared = (cell.problem.identity, cell.solver.identity, str(cell.dim), cell.evaluation.identity, cell.device)
        groups.setdefault(shared if batched else (cell.key,), []).append(cell)
    return list(groups.values())
