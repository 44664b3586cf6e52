"""What a damaged store still holds, copied into a new one: every cell that is there in whole.

A file that was cut off, or written over in part, has lost some of its pages; SQLite reads the others where it is
asked for rows that lie there. Keys are hashes, so that rows are asked for in many small ranges of them, from both ends
of each. A cell that has lost a figure is left out: the command that made the store runs it again. One whose row in the
plan is lost is kept: the same command plans it again, and finds it there.
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
from typing import Any, NamedTuple

from harness.errors import UsageError
from harness.store import Store
from harness.store_formats import check_owner, format_of

OLDEST = 9
"""The oldest format whose tables can be copied as they are into those of today, which have more columns."""
RANGES = 1024
TABLES = ("suites", "contents", "runs", "plans", "cells", "measurements", "traces", "projections")

Row = dict[str, object]


def print_recovery(path: Path, output: Path) -> None:
    """Copy what can be read of a store into a new one, and print how many of its planned cells that is.

    Raises ``UsageError`` as :func:`recover` does.
    """
    found = recover(path, output)
    few = "plans" in found.lost
    planned = f"at least {found.known} that were planned" if few else f"{found.known} planned ones"
    then = "plans anew and runs what is missing" if few else "runs the others"
    print(f"{output}: {found.whole} cells of {planned} could be read in whole; `wgfbench run` {then}")
    if found.lost:
        print(f"rows that could not be read, how many is not known: of {', '.join(found.lost)}")


class Recovered(NamedTuple):
    """How many cells were ``whole``, how many are ``known`` that were planned, and the tables that have ``lost`` rows.

    Where ``plans`` is one of these, more may have been planned.
    """

    whole: int
    known: int
    lost: tuple[str, ...]


def recover(path: Path, output: Path) -> Recovered:
    """Copy what can be read of a store into a new one, and return how much that is.

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
            if version < OLDEST:
                raise UsageError(f"{str(path)!r} is of format {version}, and only those from {OLDEST} can be recovered")
            lost: set[str] = set()
            with Store(output) as store, store.guarded(), store.transaction():
                for table in TABLES:
                    copy(store.connection, table, rows(source, table, store.connection, lost))
                known = store.connection.execute(
                    "SELECT count(*) FROM (SELECT key FROM plans UNION SELECT key FROM cells "
                    "UNION SELECT key FROM measurements)"
                ).fetchone()[0]
                leave_out(store.connection)
                whole = store.connection.execute("SELECT count(*) FROM cells").fetchone()[0]
    return Recovered(int(whole), int(known), tuple(table for table in TABLES if table in lost))


def rows(source: sqlite3.Connection, table: str, found: sqlite3.Connection, lost: set[str]) -> Iterator[Row]:
    """Yield the rows of a table that can be read, and add it to those that have ``lost`` some.

    ``found`` has what was read of the tables before.
    """
    if table in ("suites", "contents", "runs", "plans"):
        yield from both_ends(source, table, "1", (), lost)
        if table != "plans" or table not in lost:
            return
    places: list[tuple[object, ...]] = [()]
    where = ""
    if table == "plans":  # which are in order of suite and preset before that of keys
        places = found.execute("SELECT suite, preset FROM contents UNION SELECT suite, preset FROM runs").fetchall()
        where = "suite = ? AND preset = ? AND "
    edges = [f"{place:03x}" if place < 16**3 else "g" for place in range(0, 16**3 + 1, 16**3 // RANGES)]
    for place in places:
        for low, high in pairwise(edges):
            yield from both_ends(source, table, f"{where}key >= ? AND key < ?", (*place, low, high), lost)


def both_ends(
    source: sqlite3.Connection, table: str, where: str, values: tuple[object, ...], lost: set[str]
) -> Iterator[Row]:
    """Yield rows from the first to one that cannot be read, and if there is such a one, from the last back to it.

    Then the ``table`` is added to those that have ``lost`` rows.
    """
    columns = source.execute(f"PRAGMA table_info({table})").fetchall()
    names = [column[1] for column in columns]
    key = ", ".join(f'"{column[1]}" DESC' for column in sorted(columns, key=lambda each: each[5]) if column[5])
    for order in ("", f"ORDER BY {key}"):
        try:
            for row in source.execute(f"SELECT * FROM {table} WHERE {where} {order}", values):
                yield dict(zip(names, row, strict=True))
        except sqlite3.DatabaseError:
            lost.add(table)
            continue
        return


def copy(connection: sqlite3.Connection, table: str, found: Iterable[Row]) -> None:
    """Insert rows, each once."""
    for row in found:
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))


def leave_out(connection: sqlite3.Connection) -> None:
    """Leave out cells that have not all figures that they had.

    Of one whose row in the plan is lost it is not known at how many times it has some: at as many as any other.
    """
    settings = connection.execute("SELECT key, problem_settings FROM plans").fetchall()
    times = {key: len(known.get("times", ())) for key, text in settings if (known := table_of(text)) is not None}
    query = "SELECT key, count(*), count(DISTINCT t) FROM measurements GROUP BY key"
    counts = {key: (number, at) for key, number, at in connection.execute(query)}
    most = max([*times.values(), *(at for _, at in counts.values())], default=0)
    query = "SELECT key, status, coalesce(measures, '{}'), coalesce(unsuited, '{}') FROM cells"
    for key, status, measures, unsuited in connection.execute(query).fetchall():
        asked, without = table_of(measures), table_of(unsuited)
        readable = asked is not None and without is not None
        expected = len((asked or {}).keys() - (without or {}).keys()) * times.get(key, most)
        if not readable or (status == "ok" and counts.get(key, (0, 0))[0] < expected):
            for table in ("cells", "measurements", "traces", "projections"):
                connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
    for table in ("measurements", "traces", "projections"):
        connection.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM cells)")


def table_of(text: str) -> dict[str, Any] | None:
    """Return a stored table, ``None`` for a text of which a part has been lost."""
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
