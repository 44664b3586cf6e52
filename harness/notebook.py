"""The progress of a sweep in a notebook: one output that is written over as cells end."""

from __future__ import annotations

import html
import time
from typing import Any

EVERY = 0.2
"""Seconds between two states that are shown: a notebook that is sent thousands shows none."""


class NotebookProgress:
    """How many of ``waiting`` cells are done, while it is entered, with a bar."""

    def __init__(self, waiting: int) -> None:
        """Show nothing yet."""
        self.waiting = waiting
        self.done = 0
        self._line = ""
        self._shown = -EVERY
        self._output: Any = None

    def __enter__(self) -> NotebookProgress:
        from IPython.display import display

        self._output = display(self._state(), raw=True, display_id=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._output.update(self._state(), raw=True)

    def advance(self, line: str) -> None:
        """Count a cell that has ended, and say how the sweep stands."""
        self.done += 1
        self._line = line
        now = time.monotonic()
        if now - self._shown >= EVERY:
            self._shown = now
            self._output.update(self._state(), raw=True)

    def _state(self) -> dict[str, str]:
        bar = f'<progress max="{self.waiting}" value="{self.done}"></progress> '
        return {"text/plain": self._line, "text/html": bar + html.escape(self._line)}
