"""Reading of stores that may not be written: a colleague's, those of an archive, those on a read-only file system.

SQLite reads a file in its write-ahead mode only where it may write a file beside it, or is promised that nobody writes
(``immutable``). The promise holds where there is no write-ahead log; one with a log is copied with it, and read there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote

from harness.store_formats import SCHEMA_VERSION, bring_up, check_owner, format_of


def may_write(path: Path) -> bool:
    """Return whether a store may be written, and files beside it: SQLite keeps its log there."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that reads a store, in today's format whatever it has on the disk, and writes nothing there.

    Raises ``UsageError`` for another program's database and a store of a later format, ``sqlite3.Error`` for a file
    that cannot be read.
    """
    connection = as_it_is(path)
    try:
        check_owner(connection, path)
        if format_of(connection) == SCHEMA_VERSION:
            return connection
        copy = in_memory(connection)
    except BaseException:
        connection.close()
        raise
    connection.close()
    bring_up(copy)
    return copy


def as_it_is(path: Path) -> sqlite3.Connection:
    """Return a connection to a store as it lies on the disk, or to a copy in memory of one with a log."""
    log = path.with_name(f"{path.name}-wal")
    if not (log.exists() and log.stat().st_size):
        return sqlite3.connect(address(path, "immutable=1"), uri=True, isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / path.name
        for file in (path, log):
            shutil.copyfile(file, there.with_name(file.name))
        connection = sqlite3.connect(there, isolation_level=None, check_same_thread=False)
        try:
            return in_memory(connection)
        finally:
            connection.close()


def in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a connection to a copy of a database in memory."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.backup(copy)
    return copy


def address(path: Path, options: str) -> str:
    """Return the URI of a file for SQLite."""
    return f"file:{quote(str(path.absolute()))}?{options}"
