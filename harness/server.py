"""The server that cells are forked from: one process that has imported what cells need, and does nothing else.

Cheap to import, so that the command line can start the server before it imports torch itself. The server begins with
what every cell imports and serves at once; what only some cells need it is told to bring, by a file and a signal.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from types import ModuleType

import psutil

from harness.bringing import FOLDER, server_of, wanted_by
from harness.environment import with_variables
from harness.parent import VARIABLE
from solvers.reproducibility import hold

# What all cells import; last what counts the thread pools that all of it brings, and then serves.
BASE = (
    "harness.parent",
    "harness.cell",
    "harness.supervise",
    "multiprocessing.popen_forkserver",
    "harness.threads",
)
LATE = {"problems.logistic_regression:LogisticRegression": "sklearn.datasets"}
"""Packages that components import when they are used, and that take long: by target."""


STARTING = threading.Lock()


def context() -> ForkServerContext:
    """Return the process context whose children start from the server in milliseconds."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(list(BASE))
    return forkserver


def start() -> None:
    """Start the server now, so that it imports while this process does; does nothing when it runs already.

    Its environment, and so every cell's, holds matrix products to one code path, whatever started it.
    OpenBLAS restarts the threads that it had before a fork in every child, idle or not. The server has none; a cell
    still gets as many as it asks for. Nor does the server import from the folder that it is started in, where a file
    may have the name of a module. It ends with this process, even while it is still importing.
    """
    context()
    hold()
    with STARTING, with_variables(variables()):  # of two threads one would restore what the other had set
        ensure_running()


def launch(child: ForkServerProcess) -> int:
    """Start a process from the server and return its id.

    A server that has ended since it was started is started again, as :func:`start` does. The child does not run again
    the script that runs here, of which it needs nothing: processes that are not forked from this one import its main
    module, by the file that it says it is of, and a script that calls for a sweep would call for it again.
    """
    with STARTING, with_variables(variables()):
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            child.start()
        finally:
            sys.modules["__main__"] = main
    assert child.pid is not None
    return child.pid


def variables() -> dict[str, str]:
    """Return what a server that is started by this process has in its environment besides."""
    return {"OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", VARIABLE: str(os.getpid()), FOLDER: folder()}


def folder() -> str:
    """Return the folder in which this process and its server leave word for each other; it goes with this process."""
    return str(multiprocessing.util.get_temp_dir())


def bring(modules: Iterable[str]) -> None:
    """Have the server import these modules before the cells to come, which then find them; does so once for each.

    It looks there before it forks; a signal makes it look now.
    """
    wanted = wanted_by(os.getpid(), folder())
    known = wanted.read_text().split() if wanted.exists() else []
    missing = [name for name in dict.fromkeys(modules) if name not in known]
    if not missing:
        return
    with wanted.open("a") as file:
        file.write("".join(f"{name}\n" for name in missing))
    with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):  # it is still starting, or is gone
        there = psutil.Process(int(server_of(os.getpid(), folder()).read_text()))
        if there.ppid() == os.getpid():  # and no other process has its number by now
            there.send_signal(signal.SIGUSR1)
