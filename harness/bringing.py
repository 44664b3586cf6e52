"""What the server of cells is told to import while it serves already: names in a file, which it reads at a signal.

It imports between two forks, in its one thread: cells that are asked for meanwhile wait, and find what they need. It
looks before each fork as well, so that no cell hangs on when a signal arrives.
"""

from __future__ import annotations

import importlib
import os
import signal
from contextlib import suppress
from pathlib import Path

from harness import garbage
from harness.parent import Watch

FOLDER = "WGFBENCH_SERVER_FOLDER"
"""Holds, in the environment of a server, the folder in which it and the process that started it leave word."""


def wanted_by(process: int, folder: str | Path) -> Path:
    """Return the file of the names of modules, one a line, that a process wants its server to import.

    A process that is forked from a server has the folder of the one that started it, so the id is in the name.
    """
    return Path(folder) / f"wanted-{process}"


def server_of(process: int, folder: str | Path) -> Path:
    """Return the file of the id of the server that a process has started, written when the server listens."""
    return Path(folder) / f"server-{process}"


class Listener:
    """Imports what is wanted, whenever it is called; a call meanwhile makes it look once more."""

    def __init__(self, folder: Path, parent: int) -> None:
        """Look for words of the process of id ``parent`` in a folder; :meth:`begin` does so for the first time."""
        self._folder, self._parent, self._server = folder, parent, os.getpid()
        self._busy = self._again = False
        self._brought: set[str] = set()

    def begin(self) -> None:
        """Import what is wanted by now, and from now on what is wanted at each SIGUSR1 and before each fork."""
        signal.signal(signal.SIGUSR1, self)
        os.register_at_fork(before=self._before_fork)
        server_of(self._parent, self._folder).write_text(str(self._server))
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

    def _before_fork(self) -> None:
        if os.getpid() == self._server:  # and not a cell that forks
            self()

    def _bring(self) -> None:
        from solvers.threads import pools

        wanted = wanted_by(self._parent, self._folder)
        names = [name for name in wanted.read_text().split() if name not in self._brought] if wanted.exists() else []
        if not names:
            return
        watch = Watch(self._parent)  # so that the server ends with its parent while it imports, too
        garbage.pause()
        try:
            for name in names:
                with suppress(Exception):  # left to its cell, which says so
                    importlib.import_module(name)
            pools.cache_clear()
            pools()
        finally:
            self._brought.update(names)
            garbage.resume()
            watch.stop()
