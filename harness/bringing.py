"""What the server of cells is told to import while it serves already: names in a file, at a signal.

It imports between two forks, in its one thread: cells that are asked for meanwhile wait, and find what they need.
"""

from __future__ import annotations

import importlib
import os
import signal
from contextlib import suppress
from pathlib import Path

from harness.parent import Watch

FOLDER = "WGFBENCH_SERVER_FOLDER"
"""Holds, in the environment of a server, the folder in which it and the process that started it leave word."""
WANTED, SERVER = "wanted", "server"
"""Files there: names of modules, one a line, and the id of the server, once it listens."""


class Listener:
    """Imports what is wanted, whenever it is called; a call meanwhile makes it look once more."""

    def __init__(self, folder: Path, parent: int) -> None:
        """Look for words of the process of id ``parent`` in a folder; :meth:`begin` does so for the first time."""
        self._folder, self._parent = folder, parent
        self._busy = self._again = False
        self._brought: set[str] = set()

    def begin(self) -> None:
        """Import what is wanted by now, and from now on what is wanted at each SIGUSR1."""
        signal.signal(signal.SIGUSR1, self)
        (self._folder / SERVER).write_text(str(os.getpid()))
        self()

    def __call__(self, *_: object) -> None:
        self._again = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._again:
                self._again = False
                self._bring()
        finally:
            self._busy = False

    def _bring(self) -> None:
        from solvers.threads import pools

        wanted = self._folder / WANTED
        names = [name for name in wanted.read_text().split() if name not in self._brought] if wanted.exists() else []
        if not names:
            return
        watch = Watch(self._parent)  # so that the server ends with its parent while it imports, too
        try:
            for name in names:
                with suppress(Exception):  # left to its cell, which says so
                    importlib.import_module(name)
            pools.cache_clear()
            pools()
        finally:
            self._brought.update(names)
            watch.stop()
