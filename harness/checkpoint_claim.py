"""Whose the folder of a checkpoint is: one process's at a time, for as long as it lives."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(folder: Path) -> Iterator[Path | None]:
    """Give this process the ``folder``, or ``None`` while another has it, and remove it once that led somewhere.

    Two commands on one store may run the same cells: who comes second runs them without a checkpoint. The claim is a
    lock on a file beside the folder; it ends with the process, however that ends, and what an interrupted one leaves is
    there for the next. Where the file system has no locks, nobody is told of another.
    """
    own = claim(folder)
    if own is None:
        yield None
        return
    try:
        yield folder
    except Exception:
        remove(folder)
        raise
    else:
        remove(folder)
    finally:
        os.close(own)


def remove(folder: Path) -> None:
    """Remove the folder, and what claims it."""
    shutil.rmtree(folder, ignore_errors=True)
    place(folder).unlink(missing_ok=True)


def place(folder: Path) -> Path:
    """Return the file that is locked by who has the ``folder``."""
    return folder.with_name(f"{folder.name}.claim")


def claim(folder: Path) -> int | None:
    """Return an open descriptor that claims the ``folder``, which need not be there, or ``None`` if it is another's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        own = os.open(place(folder), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(own), os.stat(place(folder))):
                return own
        except BlockingIOError:
            os.close(own)
            return None
        except FileNotFoundError:
            pass
        except OSError:
            return own
        os.close(own)  # who had it before has removed the file, and another may lock a new one
