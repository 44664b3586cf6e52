"""The server that cells are forked from: one process that has imported what cells need, and does nothing else.

Cheap to import, so that the command line can start the server before it imports torch itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from types import ModuleType

from harness.catalogue import BUILTIN
from harness.environment import with_variables
from harness.parent import VARIABLE
from solvers.reproducibility import hold

# Packages that components import late, the components, and last what counts the thread pools that all of them bring.
# A component that cannot be imported here is left to its cell, which says so.
PRELOAD = (
    "harness.parent",
    "harness.cli",
    "harness.cell",
    "harness.supervise",
    "multiprocessing.popen_forkserver",
    "pydantic.type_adapter",
    "ot.lp",
    "sklearn.datasets",
    *(target.partition(":")[0] for kind in BUILTIN.values() for target in kind.values()),
    "harness.threads",
)


def context() -> ForkServerContext:
    """Return the process context whose children start from the server in milliseconds."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(list(PRELOAD))
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
    with with_variables({"OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", VARIABLE: str(os.getpid())}):
        ensure_running()


STARTING = threading.Lock()


@contextmanager
def without_main() -> Iterator[None]:
    """Let a process that is started inside not run again the script that runs here: a cell needs nothing of it.

    Processes that are not forked from this one import its main module, by the file that it says it is of, and a script
    that calls for a sweep would call for it again.
    """
    with STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
