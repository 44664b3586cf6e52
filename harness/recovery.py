"""What a damaged store still holds, copied into a new one: every cell that is there in whole.

A file that was cut off, or written over in part, has lost some of its pages; SQLite reads the others where it is
asked for rows that lie there. Keys are hashes, so that rows are asked for in many small ranges of them, from both ends
of each. A cell that has lost a figure is left out: the command that made the store runs it again.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from harness.errors import UsageError
from harness.store import Store
from harness.store_formats import SCHEMA_VERSION, check_owner, format_of

RANGES = 1024
TABLES = ("suites", "contents", "runs", "plans", "cells", "measurements", "traces", "projections")

Row = dict[str, object]


def print_recovery(path: Path, output: Path) -> None:
    """Copy what can be read of a store into a new one, and print how many of its planned cells that is.

    Raises ``UsageError`` as :func:`recover` does.
    """
    whole, planned = recover(path, output)
    print(f"{output}: {whole} cells of {planned} planned ones could be read in whole; `wgfbench run` runs the others")


def recover(path: Path, output: Path) -> tuple[int, int]:
    """Copy what can be read of a store into a new one; return how many cells that is, and how many were planned.

    Raises ``UsageError`` for a store that is not there or not ours, one of another format, an output that is there
    already, and a file that has lost its beginning.
    """
    if not path.is_file():
        raise UsageError(f"there is no store at {str(path)!r}")
    if output.exists():
        raise UsageError(f"{str(output)!r} is there already: recover writes a new store")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / path.name
        for ending in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{ending}", f"{there}{ending}")
        with closing(sqlite3.connect(there)) as source:
            try:
                source.execute("PRAGMA writable_schema = ON")  # and a file may be shorter than it says
                check_owner(source, path)
                version = format_of(source)
            except sqlite3.DatabaseError as error:
                raise UsageError(f"nothing can be read of {str(path)!r}: {error}") from error
            if version != SCHEMA_VERSION:
                raise UsageError(f"{str(path)!r} is of format {version}, and only {SCHEMA_VERSION} can be recovered")
            with Store(output) as store, store.guarded(), store.transaction():
                for table in TABLES:
                    copy(store.connection, table, rows(source, table, store.connection))
                leave_out(store.connection)
                planned = store.connection.execute("SELECT count(DISTINCT key) FROM plans").fetchone()[0]
                whole = store.connection.execute("SELECT count(*) FROM cells").fetchone()[0]
    return int(whole), int(planned)


def rows(source: sqlite3.Connection, table: str, found: sqlite3.Connection) -> Iterator[Row]:
    """Yield the rows of a table that can be read; ``found`` has what was read of the tables before."""
    if table in ("suites", "contents", "runs"):
        yield from both_ends(source, table, "1", ())
        return
    places: list[tuple[object, ...]] = [()]
    where = ""
    if table == "plans":  # which are in order of suite and preset before that of keys
        places = found.execute("SELECT suite, preset FROM contents UNION SELECT suite, preset FROM runs").fetchall()
        where = "suite = ? AND preset = ? AND "
    edges = [f"{place:03x}" if place < 16**3 else "g" for place in range(0, 16**3 + 1, 16**3 // RANGES)]
    for place in places:
        for low, high in pairwise(edges):
            yield from both_ends(source, table, f"{where}key >= ? AND key < ?", (*place, low, high))


def both_ends(source: sqlite3.Connection, table: str, where: str, values: tuple[object, ...]) -> Iterator[Row]:
    """Yield rows from the first to one that cannot be read, and if there is such a one, from the last back to it."""
    columns = source.execute(f"PRAGMA table_info({table})").fetchall()
    names = [column[1] for column in columns]
    key = ", ".join(f'"{column[1]}" DESC' for column in sorted(columns, key=lambda each: each[5]) if column[5])
    for order in ("", f"ORDER BY {key}"):
        try:
            for row in source.execute(f"SELECT * FROM {table} WHERE {where} {order}", values):
                yield dict(zip(names, row, strict=True))
        except sqlite3.DatabaseError:
            continue
        return


def copy(connection: sqlite3.Connection, table: str, found: Iterable[Row]) -> None:
    """Insert rows, each once."""
    for row in found:
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))


def leave_out(connection: sqlite3.Connection) -> None:
    """Leave out cells that are not planned, or have not all figures that they had."""
    times = {
        key: len(json.loads(settings).get("times", ()))
        for key, settings in connection.execute("SELECT key, problem_settings FROM plans")
    }
    counts = dict(connection.execute("SELECT key, count(*) FROM measurements GROUP BY key"))
    query = "SELECT key, status, coalesce(measures, '{}'), coalesce(unsuited, '{}') FROM cells"
    for key, status, measures, unsuited in connection.execute(query).fetchall():
        expected = len(json.loads(measures).keys() - json.loads(unsuited).keys()) * times.get(key, 0)
        if key not in times or (status == "ok" and counts.get(key, 0) < expected):
            for table in ("cells", "measurements", "traces", "projections"):
                connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
    for table in ("measurements", "traces", "projections"):
        connection.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM cells)")
