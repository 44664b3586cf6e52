"""Several stores in one: every cell once, the one that finished; what does not agree is named.

Of a cell that several stores hold, the one that is ok counts, of two that are the one that was measured last. A suite
that several hold is the one that was run last; where its content differs between them, that has to be asked for.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.outcome import FINE
from harness.provenance import now
from harness.store import Store
from harness.store_formats import SCHEMA_VERSION
from harness.store_plans import SLOT, slots
from harness.store_reading import address, may_write

ROUNDING = 1e-9
"""Relative difference of two figures of one cell that is put down to the processors they were computed on."""
SHOWN = 20
"""So many cells whose figures differ are named."""
OWN = ("measurements", "traces", "projections")
RUN = ("suite", "preset", "started", "argv", '"commit"', "machine")


@dataclass(frozen=True)
class Merged:
    """What a merge did: cells and runs in the new store, cells that several held, and those whose figures differ."""

    cells: int
    runs: int
    shared: int
    conflicts: tuple[str, ...]


def merge(sources: Sequence[Path], target: Path, newest: bool = False) -> Merged:
    """Write the cells, runs and plans of ``sources`` into a new store.

    Raises ``UsageError`` for fewer than two sources, a target that is there, a file that is not a store, and, unless
    the ``newest`` is to count, a suite that has two contents.
    """
    if len(sources) < 2:
        raise UsageError(f"merge takes two stores or more, got {len(sources)}")
    if target.exists():
        raise UsageError(f"{str(target)!r} is there already: name a new file with --output")
    with tempfile.TemporaryDirectory() as folder, readable(sources, Path(folder)) as addresses:
        # A merge that fails leaves nothing behind.
        partial = target.with_name(f".{target.name}.merging")
        partial.unlink(missing_ok=True)
        try:
            with Store(partial) as store, store.guarded():
                found = write(store, addresses, [str(path) for path in sources], newest)
                store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            partial.replace(target)
        finally:
            for name in (partial.name, f"{partial.name}-wal", f"{partial.name}-shm"):
                partial.with_name(name).unlink(missing_ok=True)
    return found


@contextmanager
def readable(sources: Sequence[Path], folder: Path) -> Iterator[list[str]]:
    """Give the addresses by which SQLite attaches stores of today's format, old or unwritable ones as copies."""
    addresses = []
    with ExitStack() as stores:  # the last to close them cleans up beside them, and that must be one that may
        for place, path in enumerate(sources):
            store = stores.enter_context(Store(path, create=False, reading=True))
            with store.guarded():
                if may_write(path) and store.format() == SCHEMA_VERSION:
                    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # of a format that was just brought up
                    addresses.append(address(path, "mode=ro"))
                    continue
                copy = folder / f"{place}.sqlite"
                there = sqlite3.connect(copy)
                store.connection.backup(there)
                there.close()
                addresses.append(address(copy, "mode=ro"))
        yield addresses


def write(store: Store, addresses: Sequence[str], names: Sequence[str], newest: bool) -> Merged:
    """Fill an empty store from others; see :func:`merge`."""
    connection = store.connection
    connection.close()
    connection = store.connection = sqlite3.connect(address(store.path, "mode=rw"), uri=True, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # the file is put in its place when it is whole
    connection.execute("CREATE TEMP TABLE chosen (key TEXT PRIMARY KEY) WITHOUT ROWID")
    schemas = [f"source_{place}" for place in range(len(addresses))]
    for schema, where in zip(schemas, addresses, strict=True):
        connection.execute(f"ATTACH ? AS {schema}", (where,))
    last = [connection.execute(f"SELECT max(started) FROM {schema}.runs").fetchone()[0] or "" for schema in schemas]
    order = sorted(range(len(schemas)), key=lambda place: last[place])
    shared: set[str] = set()
    conflicts: list[str] = []
    with store.transaction():
        for place in order:
            took, differ = cells_from(connection, schemas[place], names[place])
            shared |= took
            conflicts += differ
        for place in order:
            plans_from(connection, schemas[place], names[place], newest)
    count = int(connection.execute("SELECT count(*) FROM cells").fetchone()[0])
    runs = int(connection.execute("SELECT count(*) FROM main.runs").fetchone()[0])
    return Merged(count, runs, len(shared), tuple(conflicts))


def cells_from(connection: sqlite3.Connection, schema: str, name: str) -> tuple[set[str], list[str]]:
    """Take the runs of a store, and the cells that the target lacks or has worse ones of.

    Return the keys that both had, and a line for each whose figures differ.
    """
    moved = runs_from(connection, schema)
    columns = [row[1] for row in connection.execute("PRAGMA main.table_info(cells)")]
    both = connection.execute(
        f"SELECT key, ours.status, theirs.status, ours.finished, theirs.finished "
        f"FROM main.cells AS ours JOIN {schema}.cells AS theirs USING (key)"
    ).fetchall()
    better = {row[0] for row in both if rank(row[2], row[4]) > rank(row[1], row[3])}
    twice = {row[0] for row in both if row[1] == row[2] == "ok"}
    differ = [
        f"{key}: {metric} at t = {t:g} is {ours:.6g}, in {name} {theirs:.6g}; the one measured last counts"
        for key, metric, t, ours, theirs in differences(connection, schema, twice)
    ]
    kept = {row[0] for row in both} - better
    connection.execute("DELETE FROM chosen")
    connection.execute(f"INSERT INTO chosen SELECT key FROM {schema}.cells")
    connection.executemany("DELETE FROM chosen WHERE key = ?", ((key,) for key in kept))
    for table in OWN:
        connection.executemany(f"DELETE FROM main.{table} WHERE key = ?", ((key,) for key in better))
    listed = ", ".join(f'"{column}"' for column in columns)
    connection.execute(
        f"INSERT OR REPLACE INTO main.cells ({listed}) SELECT {listed} FROM {schema}.cells JOIN chosen USING (key)"
    )
    for table in OWN:
        query = f"INSERT INTO main.{table} SELECT * FROM {schema}.{table} WHERE key IN (SELECT key FROM chosen)"
        connection.execute(query)
    connection.execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER)")
    connection.executemany("INSERT INTO moved VALUES (?, ?)", moved.items())
    connection.execute(
        "UPDATE main.cells SET run = (SELECT new FROM moved WHERE old = run) WHERE key IN (SELECT key FROM chosen)"
    )
    connection.execute("DROP TABLE moved")
    return {row[0] for row in both}, differ


def rank(status: str, finished: str | None) -> tuple[int, str]:
    """Return what decides between two rows of one cell: ok before skipped before failed, then the later one."""
    return (2 if status == "ok" else 1 if status in FINE else 0), finished or ""


def differences(
    connection: sqlite3.Connection, schema: str, keys: set[str]
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield the first figure of each cell in ``keys`` in which two stores differ by more than rounding."""
    rows = connection.execute(
        f"SELECT key, metric, t, ours.value, theirs.value FROM main.measurements AS ours "
        f"JOIN {schema}.measurements AS theirs USING (key, t, metric) WHERE ours.value != theirs.value"
    )
    seen = set()
    for key, metric, t, ours, theirs in rows:
        if key in keys and key not in seen and not math.isclose(ours, theirs, rel_tol=ROUNDING, abs_tol=ROUNDING):
            seen.add(key)
            yield key, metric, t, ours, theirs


def runs_from(connection: sqlite3.Connection, schema: str) -> dict[int, int]:
    """Take the runs of a store, each once, and return their numbers in the target by their old ones."""
    columns = [f'"{row[1]}"' for row in connection.execute("PRAGMA main.table_info(runs)") if row[1] != "run"]
    identity = ", ".join(RUN)
    known = {row[1:]: row[0] for row in connection.execute(f"SELECT run, {identity} FROM main.runs")}
    moved: dict[int, int] = {}
    for number, *what in connection.execute(f"SELECT run, {identity} FROM {schema}.runs ORDER BY run").fetchall():
        if tuple(what) not in known:
            listed = ", ".join(columns)
            query = f"INSERT INTO main.runs ({listed}) SELECT {listed} FROM {schema}.runs WHERE run = ?"
            known[tuple(what)] = connection.execute(query, (number,)).lastrowid
        moved[number] = known[tuple(what)]
    return moved


def plans_from(connection: sqlite3.Connection, schema: str, name: str, newest: bool) -> None:
    """Take the suites and the plans of a store that was run later than those before it.

    Raises ``UsageError`` for a suite of another content than the target has, unless the ``newest`` is to count.
    """
    time = now()
    query = (
        f"SELECT suite, preset, ours.content, theirs.content FROM main.contents AS ours "
        f"JOIN {schema}.contents AS theirs USING (suite, preset) WHERE ours.content != theirs.content"
    )
    for suite, preset, *_ in connection.execute(query).fetchall():
        if not newest:
            which = f"suite {suite!r}" + (f", preset {preset!r}," if preset else "")
            raise UsageError(
                f"{which} has another content in {name!r} than in a store before it: --newest lets the one count "
                f"that was run last, and keeps the rows of the others"
            )
        query = "UPDATE main.plans SET replaced = coalesce(replaced, ?) WHERE suite = ? AND preset = ?"
        connection.execute(query, (time, suite, preset))
    connection.execute(f"INSERT OR REPLACE INTO main.suites SELECT * FROM {schema}.suites")
    connection.execute(f"INSERT OR REPLACE INTO main.contents SELECT * FROM {schema}.contents")
    # What stands in the way of a row of the store that was run later gives way to it.
    columns = ("suite", "preset", "key", "evaluation", *SLOT)
    ours, theirs = (
        connection.execute(
            f"SELECT {', '.join(columns)} FROM {one}.plans AS own WHERE replaced IS NULL AND NOT EXISTS (SELECT 1 "
            f"FROM {other}.plans AS beside WHERE beside.suite = own.suite AND beside.preset = own.preset "
            "AND beside.key = own.key)"
        ).fetchall()
        for one, other in (("main", schema), (schema, "main"))
    )
    taken = {hash((*row[:2], row[3], *slot)) for row in theirs for slot in slots(row[4:])} if ours else set()
    gone = [row[:3] for row in ours if any(hash((*row[:2], row[3], *slot)) in taken for slot in slots(row[4:]))]
    query = "UPDATE main.plans SET replaced = ? WHERE suite = ? AND preset = ? AND key = ?"
    connection.executemany(query, ((time, *row) for row in gone))
    listed = ", ".join(row[1] for row in connection.execute("PRAGMA main.table_info(plans)"))
    connection.execute(f"INSERT OR REPLACE INTO main.plans ({listed}) SELECT {listed} FROM {schema}.plans")


def print_merge(sources: Sequence[Path], target: Path, newest: bool) -> None:
    """Merge stores and print what came of it; raises ``UsageError`` as :func:`merge` does."""
    found = merge(sources, target, newest)
    print(f"{found.cells} cells of {found.runs} runs in {target}; {found.shared} of them were in several stores")
    for line in found.conflicts[:SHOWN]:
        print(f"  {line}")
    if len(found.conflicts) > SHOWN:
        print(f"  … and {len(found.conflicts) - SHOWN} more cells whose figures differ")
