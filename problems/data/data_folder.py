"""Where data sets are looked for: in a folder that a call names, else in that of the environment.

What a call names holds for that call alone: other threads, and tasks of one event loop, don't see it, and the
environment is left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

FOLDER_VARIABLE = "WGFBENCH_DATA"

OFFLINE_VARIABLE = "WGFBENCH_OFFLINE"
"""Where it is set, nothing is fetched: what is not on this machine is not available."""

_named: ContextVar[Path | None] = ContextVar("named", default=None)
_offline: ContextVar[bool] = ContextVar("offline", default=False)


@contextmanager
def data_in(folder: str | Path | None, *, offline: bool = False) -> Iterator[None]:
    """Have data sets looked for in a folder inside, or where they are looked for anyhow; ``offline`` fetches none."""
    named = _named.set(_named.get() if folder is None else Path(folder))
    fetching = _offline.set(offline or _offline.get())
    try:
        yield
    finally:
        _offline.reset(fetching)
        _named.reset(named)


def data_folder() -> Path | None:
    """Return the folder that :func:`data_in` names, else that of ``WGFBENCH_DATA``, or ``None``."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return _named.get() or (Path(folder) if folder else None)


def is_offline() -> bool:
    """Return whether nothing is to be fetched, by :func:`data_in` or by ``WGFBENCH_OFFLINE``."""
    return _offline.get() or bool(os.environ.get(OFFLINE_VARIABLE))
