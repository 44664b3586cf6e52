"""The formats of the store: its tables, and what a store of each format lacks of the next.

``replaced`` is when a row of a plan gave way to another, or to an edited suite; rows of today have none. ``data`` of a
cell is the checksum of its data files, the empty text where it has none, "unknown" where the store did not say so.
``code`` of a run holds the checksums of the files of its plug-ins (``harness.plugin_code``), the empty text for none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from harness.errors import UsageError
from harness.former_names import MEASURES

APPLICATION_ID = 0x77676662
SCHEMA_VERSION = 10
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
# Until then a suite was the name of its file, and a row of a plan gave way to the next in its place. Data sets may have
# come from a folder of the user's, but for the one that scikit-learn brings: which files they were is not known.
SINCE_6 = """
CREATE TABLE plans_6 (
    suite TEXT, preset TEXT, key TEXT, problem TEXT, problem_settings TEXT, solver TEXT, solver_settings TEXT,
    label TEXT, size INTEGER, seed INTEGER, device TEXT, rerun TEXT, place TEXT, evaluation TEXT, replaced TEXT,
    PRIMARY KEY (suite, preset, key)
) WITHOUT ROWID;
INSERT OR IGNORE INTO plans_6 (suite, preset, key, problem, problem_settings, solver, solver_settings, label, size,
    seed, device, rerun, place)
SELECT suite, preset, key, problem, problem_settings, solver, solver_settings, label, size, seed, device, rerun, place
FROM plans;
DROP TABLE plans;
ALTER TABLE plans_6 RENAME TO plans;
CREATE TABLE suites (suite TEXT PRIMARY KEY, name TEXT, title TEXT, description TEXT, path TEXT) WITHOUT ROWID;
CREATE TABLE contents (suite TEXT, preset TEXT, content TEXT, PRIMARY KEY (suite, preset)) WITHOUT ROWID;
ALTER TABLE runs ADD COLUMN data TEXT;
ALTER TABLE cells ADD COLUMN printed TEXT;
ALTER TABLE cells ADD COLUMN data TEXT;
UPDATE cells SET data = 'unknown' WHERE key IN (
    SELECT key FROM plans WHERE problem = 'logistic-regression'
    AND coalesce(json_extract(problem_settings, '$.data'), 'breast-cancer') != 'breast-cancer'
)
"""
# Until then nothing was kept of densities in the plane.
SINCE_7 = """
ALTER TABLE projections ADD COLUMN box BLOB;
ALTER TABLE projections ADD COLUMN density BLOB
"""
# Until then it was not kept which figures decide: ``harness.verdict.deciding`` tells it of them by their estimators.
SINCE_8 = "ALTER TABLE measurements ADD COLUMN decides INTEGER"
# Until then nothing was kept of runs that have nothing to do (``harness.finished``); a change may give them something.
SINCE_9 = "CREATE TABLE finished (asked TEXT PRIMARY KEY, files BLOB, digest TEXT, told TEXT) WITHOUT ROWID" + "".join(
    f";\nCREATE TRIGGER {table}_{change} AFTER {change} ON {table} BEGIN DELETE FROM finished; END"
    for table in ("plans", "cells")
    for change in ("INSERT", "UPDATE", "DELETE")
)
# Until then nothing was kept of the code of plug-ins: that of runs of before is not known.
SINCE_10 = "ALTER TABLE runs ADD COLUMN code TEXT"
UPGRADES = dict(enumerate((SINCE_2, SINCE_3, SINCE_4, SINCE_5, SINCE_6, SINCE_7, SINCE_8, SINCE_9, SINCE_10), start=2))
"""What a store of the format before lacks, by format; a store of format 1 is ``SCHEMA`` alone."""


def check_owner(connection: sqlite3.Connection, path: object) -> None:
    """Raise ``UsageError`` for another program's database, and for a store of a later format."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise UsageError(f"{str(path)!r} is not a wgfbench store: it is a database of something else")
    version = format_of(connection)
    if not 1 <= version <= SCHEMA_VERSION:
        raise UsageError(
            f"{str(path)!r} is a store of format {version}, this version of wgfbench reads 1 to {SCHEMA_VERSION}: "
            f"upgrade wgfbench to read it"
        )


def format_of(connection: sqlite3.Connection) -> int:
    """Return the format of a store, a number that its file holds."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def bring_up(connection: sqlite3.Connection) -> None:
    """Bring the store up to today's format; to be called in a transaction."""
    for version in range(format_of(connection) + 1, SCHEMA_VERSION + 1):
        for statement in statements(UPGRADES[version]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one: a semicolon inside of one, as a trigger has, does not end it."""
    found = ""
    for part in script.split(";"):
        found += f"{part};"
        if sqlite3.complete_statement(found):
            yield found
            found = ""
