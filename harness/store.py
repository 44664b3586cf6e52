"""The store: one SQLite file with every cell once, its figures, and the runs that made them.

Each finished cell is one transaction, so a sweep killed at any instant loses nothing that was finished, and several
sweeps may write to one file. A cell that is ok is never replaced; one that is not is replaced when it is run again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.provenance import Provenance, now
from harness.usage import UsageError

if TYPE_CHECKING:
    from harness.cell import Outcome
    from harness.plan import Cell

APPLICATION_ID = 0x77676662
SCHEMA_VERSION = 5
SCHEMA = """
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, suite TEXT, preset TEXT, started TEXT, argv TEXT, "commit" TEXT, dirty INTEGER,
    machine TEXT, threads INTEGER, versions TEXT
);
CREATE TABLE plans (
    suite TEXT, preset TEXT, key TEXT, problem TEXT, problem_settings TEXT, solver TEXT, solver_settings TEXT,
    label TEXT, size INTEGER, seed INTEGER, device TEXT, rerun TEXT,
    PRIMARY KEY (suite, preset, problem, problem_settings, solver, solver_settings, size, seed, device)
) WITHOUT ROWID;
CREATE TABLE cells (
    key TEXT PRIMARY KEY, run INTEGER REFERENCES runs, status TEXT NOT NULL, reason TEXT, traceback TEXT,
    finished TEXT, setup_seconds REAL, solve_seconds REAL, measure_seconds REAL, wall_seconds REAL, cpu_seconds REAL,
    peak_memory INTEGER, gradient_evaluations INTEGER, beside INTEGER, diagnostics TEXT
) WITHOUT ROWID;
CREATE TABLE measurements (
    key TEXT REFERENCES cells, t REAL, metric TEXT, value REAL NOT NULL, standard_error REAL, estimator TEXT,
    sample_size INTEGER,
    PRIMARY KEY (key, t, metric)
) WITHOUT ROWID;
"""
SINCE_2 = """
CREATE TABLE traces (key TEXT REFERENCES cells, name TEXT, series TEXT NOT NULL, PRIMARY KEY (key, name));
CREATE TABLE projections (
    key TEXT REFERENCES cells, t REAL, share REAL NOT NULL, points BLOB NOT NULL, PRIMARY KEY (key, t)
);
"""
SINCE_3 = "ALTER TABLE runs ADD COLUMN arithmetic TEXT"
SINCE_4 = ""
# Until then a series over the observations that a filter took in could be told by its name alone.
SINCE_5 = """
CREATE TABLE series (
    key TEXT REFERENCES cells, along TEXT NOT NULL, name TEXT, series TEXT NOT NULL, PRIMARY KEY (key, along, name)
);
INSERT INTO series
SELECT key, CASE WHEN key IN (SELECT key FROM traces WHERE name = 'observation_time') AND (
    name IN ('observation_time', 'log_evidence', 'effective_share', 'effective_sample_size')
    OR name GLOB 'predictive_?*' OR name GLOB 'posterior_?*'
) THEN 'observations' ELSE 'steps' END, name, series FROM traces;
DROP TABLE traces;
ALTER TABLE series RENAME TO traces
"""
UPGRADES = {2: SINCE_2, 3: SINCE_3, 4: SINCE_4, 5: SINCE_5}
"""What a store of the format before lacks, by format; a store of format 1 is ``SCHEMA`` alone."""


class Store:
    """An open store. Raises ``UsageError`` for a file that is something else, or when the disk is full."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the store, and make it first where ``create`` allows."""
        self.path = path
        if not path.exists() and not create:
            raise UsageError(f"there is no store at {str(path)!r}: `wgfbench run SUITE` makes one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as error:
            raise UsageError(f"the store {str(path)!r} cannot be opened: {error}") from error
        try:
            with self.guarded():
                self.prepare()
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what SQLite says about the file and the disk into one clear line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UsageError(f"the store {str(self.path)!r} failed: {error}; what it held is kept") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{str(self.path)!r} is not a wgfbench store: {error}") from error

    def prepare(self) -> None:
        """Check whose file this is, write the schema into a new one, and bring an older one up to it."""
        empty = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty:
            self.connection.execute("PRAGMA journal_mode = WAL")
            with self.transaction():
                if self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    for statement in SCHEMA.split(";"):
                        self.connection.execute(statement)
                    self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self.connection.execute("PRAGMA user_version = 1")
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID:
            raise UsageError(f"{str(self.path)!r} is not a wgfbench store: it is a database of something else")
        if 1 <= self.format() < SCHEMA_VERSION:
            with self.transaction():
                for version in range(self.format() + 1, SCHEMA_VERSION + 1):
                    for statement in UPGRADES[version].split(";"):
                        self.connection.execute(statement)
                    self.connection.execute(f"PRAGMA user_version = {version}")
        if self.format() != SCHEMA_VERSION:
            raise UsageError(
                f"{str(self.path)!r} is a store of format {self.format()}, this version reads 1 to {SCHEMA_VERSION}: "
                f"choose another"
            )
        self.connection.execute("PRAGMA synchronous = NORMAL")

    def format(self) -> int:
        """Return the format of the store, a number that its file holds."""
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; waits for other writers."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def begin(self, suite: str, preset: str, run: Provenance) -> int:
        """Record a run of a suite and return its number."""
        with self.guarded(), self.transaction():
            return insert(self.connection, "runs", [{"suite": suite, "preset": preset} | asdict(run)])

    def last_suite(self) -> str:
        """Return the suite of the latest run; raises ``UsageError`` when there was none."""
        with self.guarded():
            row = self.connection.execute("SELECT suite FROM runs ORDER BY run DESC LIMIT 1").fetchone()
        if row is None:
            raise UsageError(f"the store {str(self.path)!r} holds no run yet: `wgfbench run SUITE` fills it")
        return str(row[0])

    def suites(self) -> list[str]:
        """Return the suites that the store knows."""
        with self.guarded():
            return [row[0] for row in self.connection.execute("SELECT DISTINCT suite FROM plans ORDER BY suite")]

    def record_plan(self, suite: str, preset: str, cells: Iterable[Cell], rerun: str) -> None:
        """Record which cells belong to a suite; ``rerun`` is the command before the key of the cell.

        A cell takes the place of the one that it was with another version of its solver or other evaluation draws.
        """
        with self.guarded():
            query = "SELECT key, label, rerun FROM plans WHERE suite = ? AND preset = ?"
            known = set(self.connection.execute(query, (suite, preset)))
        rows = (
            {
                "suite": suite,
                "preset": preset,
                "key": cell.key,
                "problem": cell.problem.name,
                "problem_settings": cell.problem.settings,
                "solver": cell.solver.name,
                "solver_settings": cell.solver.settings,
                "label": cell.solver.label,
                "size": cell.size,
                "seed": cell.seed,
                "device": cell.device,
                "rerun": command,
            }
            for cell in cells
            if (cell.key, cell.solver.label, command := f"{rerun} --cell {cell.key[:12]}") not in known
        )
        with self.guarded(), self.transaction():
            insert(self.connection, "plans", rows, on_conflict="OR REPLACE")

    def statuses(self) -> dict[str, str]:
        """Return the status of every cell by its key."""
        with self.guarded():
            return dict(self.connection.execute("SELECT key, status FROM cells"))

    def status(self, key: str) -> str | None:
        """Return the status of one cell, or ``None`` when it has no row."""
        with self.guarded():
            row = self.connection.execute("SELECT status FROM cells WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def record(self, cell: Cell, outcome: Outcome, run: int, beside: int | None) -> None:
        """Keep how a cell ended, in one transaction, unless it is already there as ok."""
        row = asdict(outcome)
        measurements, projections = row.pop("measurements"), row.pop("projections")
        series = {"steps": row.pop("traces"), "observations": row.pop("assimilated")}
        row |= {
            "key": cell.key,
            "run": run,
            "finished": now(),
            "beside": beside,
            "diagnostics": json.dumps(outcome.diagnostics),
        }
        with self.guarded(), self.transaction():
            known = self.connection.execute("SELECT status FROM cells WHERE key = ?", (cell.key,)).fetchone()
            if known is not None and known[0] == "ok":
                return
            for table in ("measurements", "traces", "projections"):
                self.connection.execute(f"DELETE FROM {table} WHERE key = ?", (cell.key,))
            insert(self.connection, "cells", [row], on_conflict="OR REPLACE")
            insert(self.connection, "measurements", ({"key": cell.key, **each} for each in measurements))
            insert(self.connection, "projections", ({"key": cell.key, **each} for each in projections))
            insert(
                self.connection,
                "traces",
                (
                    {"key": cell.key, "along": along, "name": name, "series": json.dumps(values)}
                    for along, named in series.items()
                    for name, values in named.items()
                ),
            )


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, object]], on_conflict: str = "") -> int:
    """Insert rows given as dictionaries with the same keys, and return the id of the last one."""
    with closing(connection.cursor()) as cursor:
        statement = None
        for row in rows:
            if statement is None:
                columns = ", ".join(f'"{column}"' for column in row)
                places = ", ".join(f":{column}" for column in row)
                statement = f"INSERT {on_conflict} INTO {table} ({columns}) VALUES ({places})"
            cursor.execute(statement, row)
        return cursor.lastrowid or 0
