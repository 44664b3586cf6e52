"""What a cell prints: taken from it as it comes, and of it the last 64 KiB kept, whatever it writes to 1 and 2.

The child's two outputs are a pipe that the one who watches it empties: a cell that prints without end stops for no
reader, and fills neither the terminal nor the disk.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, wait

KEPT = 2**16
CHUNK = 2**16
MOST_CHUNKS = 64


class Printed:
    """The end of what comes out of a pipe."""

    def __init__(self, source: Connection) -> None:
        """Read from ``source``, of which nothing has been read yet."""
        self.source = source
        self.open = True
        self._bytes = bytearray()
        self._lost = 0

    def read(self) -> None:
        """Take in what there is now, without waiting for more."""
        for _ in range(MOST_CHUNKS):  # a cell that prints without end has its limits looked at in between
            if not (self.open and wait([self.source], timeout=0)):
                break
            try:
                chunk = os.read(self.source.fileno(), CHUNK)
            except OSError:
                chunk = b""
            self.open = bool(chunk)
            self._bytes += chunk
            surplus = len(self._bytes) - KEPT
            if surplus > 0:
                del self._bytes[:surplus]
                self._lost += surplus

    def take(self) -> str | None:
        """Return what has been printed since it was last taken, ``None`` for nothing; what was cut off is counted."""
        self.read()
        if not self._bytes:
            return None
        text = bytes(self._bytes).decode("utf-8", errors="replace")
        cut = f"[{self._lost} bytes before this are not kept]\n" if self._lost else ""
        self._bytes.clear()
        self._lost = 0
        return cut + text


def print_into(sender: Connection) -> None:
    """Have all that this process and its children print go into a pipe, line by line."""
    for number in (1, 2):
        os.dup2(sender.fileno(), number)
    sender.close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush() -> None:
    """Send off what this process has printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
