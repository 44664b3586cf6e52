"""The store: one SQLite file with every cell once, its figures, and the runs that made them.

Each finished cell is one transaction, so a sweep killed at any instant loses nothing that was finished, and several
sweeps may write to one file. A cell that is ok is replaced only by itself with other measures, or newer ones; one that
is not is replaced when it is run again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.former_names import MEASURES
from harness.provenance import Provenance, now

if TYPE_CHECKING:
    from harness.outcome import Outcome
    from harness.plan import Cell

APPLICATION_ID = 0x77676662
SCHEMA_VERSION = 6
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
SINCE_4 = f"""
ALTER TABLE cells ADD COLUMN measures TEXT;
ALTER TABLE cells ADD COLUMN unsuited TEXT;
UPDATE cells SET measures = (
    SELECT json_group_object(name, (
        SELECT 1 FROM measurements WHERE measurements.key = cells.key AND metric = name LIMIT 1
    )) FROM (SELECT column1 AS name FROM (VALUES {", ".join(f"('{name}')" for name in sorted(MEASURES))}))
) WHERE status = 'ok';
ALTER TABLE plans ADD COLUMN place TEXT;
UPDATE plans SET place = problem || char(10) || problem_settings || char(10) || solver || char(10) || solver_settings;
CREATE UNIQUE INDEX places ON plans (suite, preset, place, size, seed, device)
"""
"""Stores did not say which measures a cell was asked for: one without a figure counts as asked and not suited.

``place`` is what a cell's problem and solver are by the names that its key knows them by: a plan under new names takes
the place of what it was under the old ones.
"""
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
# Until then nothing was kept of densities in the plane.
PLANE_DENSITIES = """
ALTER TABLE projections ADD COLUMN box BLOB;
ALTER TABLE projections ADD COLUMN density BLOB
"""
UPGRADES = {2: SINCE_2, 3: SINCE_3, 4: SINCE_4, 5: SINCE_5, 6: PLANE_DENSITIES}
"""What a store of the format before lacks, by format; a store of format 1 is ``SCHEMA`` alone."""


TOLD = ("key", "problem", "problem_settings", "solver", "solver_settings", "label", "rerun")
"""What a plan says of a cell: a row that says the same is not written again."""


class Store:
    """An open store; raises ``UsageError`` for a file that is something else, and when the disk is full."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the store, and make it first where ``create`` allows.

        Raises ``UsageError`` for a file that is not there, is something else or cannot be opened.
        """
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
        """Raise what SQLite says about the file and the disk as a ``UsageError`` of one clear line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UsageError(f"the store {str(self.path)!r} failed: {error}; what it held is kept") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{str(self.path)!r} is not a wgfbench store: {error}") from error

    def prepare(self) -> None:
        """Check whose file this is, write the schema into a new one, and bring an older one up to it.

        Raises ``UsageError`` for another program's database, and a store of a later format.
        """
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
        """Keep all that is written inside, or nothing when that raises; wait for other writers first."""
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

        A cell takes the place of the one that it was with another version of its solver, other evaluation draws, or
        other names of its problem, its solver and their settings.
        """
        with self.guarded():
            query = f"SELECT {', '.join(TOLD)} FROM plans WHERE suite = ? AND preset = ?"
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
                "size": cell.dim,
                "seed": cell.seed,
                "device": cell.device,
                "rerun": f"{rerun} --cell {cell.key[:12]}",
                "place": "\n".join(cell.place),
            }
            for cell in cells
        )
        new = (row for row in rows if tuple(row[column] for column in TOLD) not in known)
        with self.guarded(), self.transaction():
            insert(self.connection, "plans", new, on_conflict="OR REPLACE")

    def statuses(self) -> dict[str, str]:
        """Return the status of every cell by its key."""
        with self.guarded():
            return dict(self.connection.execute("SELECT key, status FROM cells"))

    def taken(self, key: str | None = None) -> dict[str, dict[str, int | None]]:
        """Return the versions of the measures that cells which are ok were asked for, by key; of one cell if named.

        A version is ``None`` where it is not known whether the cell was asked: in stores that did not say so.
        """
        with self.guarded():
            where, values = ("", ()) if key is None else (" AND key = ?", (key,))
            query = f"SELECT key, measures FROM cells WHERE status = 'ok'{where}"
            rows = self.connection.execute(query, values).fetchall()
        read = {text: json.loads(text or "{}") for text in {text for _, text in rows}}
        return {each: read[text] for each, text in rows}

    def record(self, cell: Cell, outcome: Outcome, run: int, beside: int | None) -> None:
        """Keep how a cell ended, in one transaction; one that is ok gives way to an ok with other or newer measures."""
        row = asdict(outcome)
        measurements, projections = row.pop("measurements"), row.pop("projections")
        series = {"steps": row.pop("traces"), "observations": row.pop("assimilated")}
        row |= {
            "key": cell.key,
            "run": run,
            "finished": now(),
            "beside": beside,
            "diagnostics": json.dumps(outcome.diagnostics),
            "measures": json.dumps(outcome.measures),
            "unsuited": json.dumps(outcome.unsuited),
        }
        with self.guarded(), self.transaction():
            query = "SELECT measures FROM cells WHERE status = 'ok' AND key = ?"
            known = self.connection.execute(query, (cell.key,)).fetchone()
            if known is not None and not (outcome.status == "ok" and renews(outcome, json.loads(known[0] or "{}"))):
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


def renews(outcome: Outcome, known: Mapping[str, int | None]) -> bool:
    """Return whether an outcome has other measures than the known ones, or newer versions of them."""
    versions = outcome.measures
    return versions.keys() != known.keys() or any(versions[name] > (known[name] or 0) for name in versions)


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
