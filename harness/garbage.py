"""Garbage in the server that cells are forked from: none is looked for while it imports, nor in what it imported.

To import a large library makes hundreds of thousands of objects, all of which stay: to go through them again and again
takes a tenth of the time. A cell that did so would get a copy of every page of memory that it shares with the server.
"""

from __future__ import annotations

import gc


def pause() -> None:
    """Look for no garbage from now on."""
    gc.disable()


def resume() -> None:
    """Look for garbage again, in this process and in those that it forks, but not among the objects of now."""
    gc.freeze()
    gc.enable()
