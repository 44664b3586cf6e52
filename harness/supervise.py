"""One cell, one child process: started from a server that has torch loaded, watched, and killed at its limits."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from harness import server
from harness.catalogue import BUILTIN
from harness.components import Cell
from harness.errors import UsageError
from harness.outcome import Outcome
from harness.printed import Printed, flush, print_into
from harness.server import LATE
from problems.data.data_folder import FOLDER_VARIABLE, data_folder

POLL_SECONDS = 0.05
BROUGHT = ("harness.", "problems.", "solvers.", "numpy.", "ot.", "pandas", "pydantic", "scipy.", "sklearn")
"""How modules begin that the server brings once a cell has imported them: they may be there before a fork."""


@dataclass(frozen=True)
class Limits:
    """The limits of one cell: wall-clock seconds, resident bytes, and threads of torch and the BLAS.

    ``checkpoints`` is the folder where solvers that can go on after they were killed keep their steps, ``data`` the
    one where problems find data sets.
    """

    seconds: float
    memory: int
    threads: int
    checkpoints: str | None = None
    data: str | None = None


def check_data(folder: Path | None) -> str | None:
    """Return where cells look for data sets: ``folder``, else that of ``WGFBENCH_DATA``, else ``None``.

    Raises ``UsageError`` for a ``folder`` that is not there.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--data {str(folder)!r} is not a folder")
    found = data_folder() if folder is None else folder
    return None if found is None else str(found.absolute())


def check_device(name: str) -> str:
    """Return the device to run on, ``auto`` resolved; raises ``UsageError`` for one that is not there."""
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise UsageError(f"device must be cpu, cuda, cuda:N or auto; got {name!r}")
    if int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA device(s)"
        )
    return name


class Cancelled(Exception):
    """A sweep was stopped while the cell was running, which leaves no row."""


def supervise(cells: Sequence[Cell], limits: Limits, stop: threading.Event | None = None) -> list[Outcome]:
    """Run cells that differ in their seeds alone in one child process and return their outcomes, whatever it does.

    The child is killed, by its id, when it passes the time or the memory of all its cells. Raises ``Cancelled`` after
    killing it when ``stop`` is set.
    """
    server.start()
    server.bring(needed(cells))
    forkserver = server.context()
    receiver, sender = forkserver.Pipe(duplex=False)
    source, output = forkserver.Pipe(duplex=False)
    printed = Printed(source)
    child = forkserver.Process(target=child_main, args=(sender, output, cells, limits))
    pid = server.launch(child)
    sender.close()
    output.close()
    outcomes: list[Outcome] = []
    try:
        process = psutil.Process(pid)
        reason = watch(process, child.sentinel, receiver, printed, limits, stop, len(cells), outcomes)
        if len(outcomes) < len(cells) and reason is None:
            child.join()
            reason = Outcome("crashed", crash_reason(child.exitcode))
    finally:
        kill(pid)
        child.join()
        said = printed.take()
        receiver.close()
        source.close()
    if reason is not None:
        outcomes += [replace(reason, printed=said)] * (len(cells) - len(outcomes))
    return outcomes


def needed(cells: Sequence[Cell]) -> list[str]:
    """Return the modules that cells are known to import: those of components that are no plug-ins, and their own."""
    targets = [target for cell in cells for target in (cell.problem.target, cell.solver.target)]
    measures = {**BUILTIN["measure"], **dict(cells[0].evaluation.added)}
    targets += [measures[name] for name in measured_by(cells[0]) if name in measures]
    modules = [place for target in targets if not (place := target.rpartition(":")[0]).endswith(".py")]
    return modules + [LATE[target] for target in targets if target in LATE]


def measured_by(cell: Cell) -> Sequence[str]:
    """Return the measures that a cell is known to be asked for: the suite's, else those that the problem declares."""
    if cell.evaluation.measures is not None:
        return cell.evaluation.measures
    try:
        return cell.problem.declared
    except Exception:  # as on a machine of a cluster that has less than the planner's: the cell says so
        return ()


def watch(
    process: psutil.Process,
    sentinel: int,
    receiver: Connection,
    printed: Printed,
    limits: Limits,
    stop: threading.Event | None,
    count: int,
    outcomes: list[Outcome],
) -> Outcome | None:
    """Collect the child's outcomes; return the outcome that it is killed for, ``None`` if it ended by itself.

    The child's first message says that it has begun: the clock runs from there, not from the start of the server. What
    it had to import itself comes before its last outcome; the server brings it for the cells to come.

    Raises ``Cancelled`` when ``stop`` is set.
    """
    began: float | None = None
    peak, share = 0, 0.0
    while len(outcomes) < count:
        ready = wait([receiver, sentinel, *([printed.source] if printed.open else [])], timeout=POLL_SECONDS)
        printed.read()
        now = time.perf_counter()
        seconds = 0.0 if began is None else now - began
        if receiver in ready or receiver.poll():
            try:
                message: Outcome | list[str] | None = receiver.recv()
            except EOFError:
                return None
            if message is None:
                began = now
            elif isinstance(message, list):
                server.bring(message)
            else:
                outcomes.append(replace(message, wall_seconds=seconds - share, printed=printed.take()))
                share = seconds
            continue
        if sentinel in ready:
            return None
        if stop is not None and stop.is_set():
            raise Cancelled
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, process.memory_info().rss)
        if peak > limits.memory * count:
            reason = f"killed at {peak / 2**20:.0f} MiB, over its limit of {limits.memory * count / 2**20:.0f} MiB"
            return Outcome("memory", reason, peak_memory=peak, wall_seconds=seconds)
        if seconds > limits.seconds * count:
            reason = f"killed after its limit of {limits.seconds * count:g} s"
            return Outcome("timeout", reason, peak_memory=peak, wall_seconds=seconds)
    return None


def kill(pid: int) -> None:
    """Kill the child and whatever it started; what has ended already is left alone."""
    for kill_one in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill_one(pid, signal.SIGKILL)


def crash_reason(exit_code: int | None) -> str:
    """Return in words how a child without an outcome ended."""
    if exit_code is not None and exit_code < 0:
        return f"the process was killed by {signal.Signals(-exit_code).name}"
    return f"the process ended without an answer, exit code {exit_code}"


def child_main(sender: Connection, output: Connection, cells: Sequence[Cell], limits: Limits) -> None:
    """Run the cells with their threads fixed, send the outcomes as they come, and what is printed into ``output``."""
    from harness.cell import run_in_child
    from harness.threads import fix_threads

    os.setpgid(0, 0)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    print_into(output)
    sender.send(None)
    threading.Thread(target=die_with_parent, daemon=True).start()
    fix_threads(limits.threads)
    if limits.data is not None:  # said, not inherited: the server, or a worker of a cluster, may be older than it
        os.environ[FOLDER_VARIABLE] = limits.data
    there, code = set(sys.modules), cells[0].code_here()
    for place, outcome in enumerate(run_in_child(cells, checkpoint_of(cells, limits.checkpoints)), start=1):
        flush()
        if place == len(cells) and (late := [name for name in sys.modules.keys() - there if name.startswith(BROUGHT)]):
            sender.send(sorted(late))
        sender.send(replace(outcome, code=code))


def checkpoint_of(cells: Sequence[Cell], folder: str | None) -> Path | None:
    """Return the folder in which exactly these cells keep what they need to go on after they were killed."""
    if folder is None:
        return None
    keys = " ".join(cell.key for cell in cells)
    return Path(folder) / (cells[0].key if len(cells) == 1 else hashlib.sha256(keys.encode()).hexdigest()[:32])


def die_with_parent() -> None:
    """End this process as soon as the one that watches it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
