"""Garbage in the server that cells are forked from: none is looked for while it imports, nor in what it imported.

To import a large library makes hundreds of thousands of objects, all of which stay: to go through them again and again
takes a tenth of the time. A cell that did so would get a copy of every page of memory that it shares with the server.
A command is short: it looks seldom, and not once more for all that it has when it ends.
"""

from __future__ import annotations

import atexit
import gc

SELDOM = (100_000, 20, 100)
"""After how many new objects a command looks among the young ones, and how many of these looks make one among older."""


def pause() -> None:
    """Look for no garbage from now on."""
    gc.disable()


def resume() -> None:
    """Look for garbage again, in this process and in those that it forks, but not among the objects of now."""
    gc.freeze()
    gc.enable()


def rarely() -> None:
    """Look for garbage seldom from now on, and for none at the end of this process."""
    gc.set_threshold(*SELDOM)
    atexit.register(gc.freeze)
