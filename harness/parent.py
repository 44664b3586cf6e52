"""The server that cells are forked from ends with the process that started it, while it is importing as well.

Once it serves it sees by itself that nobody is left to be served. Until then a thread looks, which has ended before the
first fork: a process that forks has no other threads. It cannot look while a large library is loaded into the process,
which takes seconds on a busy machine, so on Linux the kernel is asked for a SIGKILL as well.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading

from harness import garbage

VARIABLE = "WGFBENCH_SERVER_OF"
"""Holds, in the environment of a server, the id of the process that started it."""
EVERY = 0.1
SET_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of prctl(2): the signal that a process gets when the thread that started it ends; 0 for none."""


class Watch:
    """A thread that ends this process when its parent is gone, until it is stopped."""

    def __init__(self, parent: int) -> None:
        """Begin to look whether the process of id ``parent`` is this one's parent still."""
        self._parent = parent
        ask_for_signal(signal.SIGKILL)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()
        ask_for_signal(0)

    def _look(self) -> None:
        while os.getppid() == self._parent:
            if self._stopped.wait(EVERY):
                return
        os._exit(1)


def ask_for_signal(number: int) -> None:
    """Have the kernel send this process a signal when the thread that started it ends; does nothing but on Linux.

    A server that is gone because only that thread has ended is started again where it is needed next.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(SET_DEATH_SIGNAL, int(number), 0, 0, 0)


def watch() -> Watch | None:
    """Begin to look, if this process is a server of ours: what cells start have the variable as well."""
    serves = any("multiprocessing.forkserver import main" in word for word in sys.orig_argv)
    return Watch(int(os.environ[VARIABLE])) if serves and VARIABLE in os.environ else None


def leave(process: int) -> None:
    """End this process at once if it has the id ``process``: what large libraries hold is not taken down one by one."""
    if os.getpid() == process:
        os._exit(0)


WATCH = watch()
"""The watch of this process, if it is a server: it begins with the first import, and ends with the last."""
if WATCH is not None:
    garbage.pause()
    atexit.register(leave, os.getpid())
