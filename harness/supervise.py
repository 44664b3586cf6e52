"""One cell, one child process: started from a server that has torch loaded, watched, and killed at its limits."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

import psutil

from harness import server
from harness.cell import Outcome, run_cell
from harness.plan import Cell
from harness.usage import UsageError

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Limits:
    """What one cell may take: wall-clock seconds, resident bytes, and threads of torch and the BLAS."""

    seconds: float
    memory: int
    threads: int


def check_device(name: str) -> str:
    """Return the device to run on, ``auto`` resolved; raises ``UsageError`` for one that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise UsageError(f"device must be cpu, cuda, cuda:N or auto; got {name!r}")
    if name != "cpu" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA device(s)"
        )
    return name


class Cancelled(Exception):
    """The sweep was stopped while the cell was running; it leaves no row."""


def supervise(cell: Cell, limits: Limits, stop: threading.Event | None = None) -> Outcome:
    """Run a cell in a child process and return its outcome, whatever the child does.

    The child is killed, by its id, when it passes its time or its memory. Raises ``Cancelled`` after killing it when
    ``stop`` is set.
    """
    server.start()
    forkserver = server.context()
    receiver, sender = forkserver.Pipe(duplex=False)
    child = forkserver.Process(target=child_main, args=(sender, cell, limits.threads))
    child.start()
    assert child.pid is not None
    sender.close()
    try:
        outcome = watch(psutil.Process(child.pid), child.sentinel, receiver, limits, stop)
        if outcome is None:
            child.join()
            outcome = Outcome("crashed", crash_reason(child.exitcode))
    finally:
        kill(child.pid)
        child.join()
        receiver.close()
    return outcome


def watch(
    process: psutil.Process, sentinel: int, receiver: Connection, limits: Limits, stop: threading.Event | None
) -> Outcome | None:
    """Wait for the child's outcome; return ``None`` if it ended without one.

    The child's first message says that it has begun: the clock runs from there, not from the start of the server.
    """
    began: float | None = None
    peak = 0
    while True:
        ready = wait([receiver, sentinel], timeout=POLL_SECONDS)
        now = time.perf_counter()
        seconds = 0.0 if began is None else now - began
        if receiver in ready or receiver.poll():
            try:
                message: Outcome | None = receiver.recv()
            except EOFError:
                return None
            if message is not None:
                return replace(message, wall_seconds=seconds)
            began = now
            continue
        if ready:
            return None
        if stop is not None and stop.is_set():
            raise Cancelled
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, process.memory_info().rss)
        if peak > limits.memory:
            reason = f"killed at {peak / 2**20:.0f} MiB, over its limit of {limits.memory / 2**20:.0f} MiB"
            return Outcome("memory", reason, peak_memory=peak, wall_seconds=seconds)
        if seconds > limits.seconds:
            reason = f"killed after its limit of {limits.seconds:g} s"
            return Outcome("timeout", reason, peak_memory=peak, wall_seconds=seconds)


def kill(pid: int) -> None:
    """Kill the child and whatever it started; what has ended already is left alone."""
    for kill_one in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill_one(pid, signal.SIGKILL)


def crash_reason(exit_code: int | None) -> str:
    """Return in words how a child ended that sent no outcome."""
    if exit_code is not None and exit_code < 0:
        return f"the process was killed by {signal.Signals(-exit_code).name}"
    return f"the process ended without an answer, exit code {exit_code}"


def child_main(sender: Connection, cell: Cell, threads: int) -> None:
    """Run the cell with its threads fixed, and send the outcome."""
    from harness.threads import fix_threads

    os.setpgid(0, 0)
    sender.send(None)
    threading.Thread(target=die_with_parent, daemon=True).start()
    fix_threads(threads)
    sender.send(run_cell(cell))


def die_with_parent() -> None:
    """End this process as soon as the one that watches it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
