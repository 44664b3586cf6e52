"""The server that cells are forked from ends with the process that started it, while it is importing as well.

Once it serves it sees by itself that nobody is left to be served. Until then a thread looks, which has ended before the
first fork: a process that forks has no other threads.
"""

from __future__ import annotations

import os
import sys
import threading

VARIABLE = "WGFBENCH_SERVER_OF"
"""Holds, in the environment of a server, the id of the process that started it."""
EVERY = 0.1


class Watch:
    """A thread that ends this process when its parent is gone, until it is stopped."""

    def __init__(self, parent: int) -> None:
        """Begin to look whether the process of id ``parent`` is this one's parent still."""
        self._parent = parent
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopped.wait(EVERY):
            if os.getppid() != self._parent:
                os._exit(1)


def watch() -> Watch | None:
    """Begin to look, if this process is a server of ours: what cells start have the variable as well."""
    serves = any("multiprocessing.forkserver import main" in word for word in sys.orig_argv)
    return Watch(int(os.environ[VARIABLE])) if serves and VARIABLE in os.environ else None


WATCH = watch()
"""The watch of this process, if it is a server: it begins with the first import, and ends with the last."""
