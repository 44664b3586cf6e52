"""The store: one SQLite file with every cell once, its figures, and the runs that made them.

Each finished cell is one transaction, so a sweep killed at any instant loses nothing that was finished, and several
sweeps may write to one file. A cell that is ok is replaced only by itself with other measures, or newer ones, or with
other code of a plug-in; one that is not is replaced when it is run again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.code_texts import changed
from harness.data_checksum import DATA_UNKNOWN
from harness.database import insert as insert
from harness.errors import UsageError
from harness.provenance import now
from harness.store_formats import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, bring_up, check_owner, format_of
from harness.store_plans import Plans
from harness.store_reading import may_write, read_only

if TYPE_CHECKING:
    from harness.components import Cell
    from harness.outcome import Outcome


class Store(Plans):
    """An open store; raises ``UsageError`` for a file that is something else, and when the disk is full."""

    def __init__(self, path: Path, *, create: bool = True, reading: bool = False) -> None:
        """Open the store, and make it first where ``create`` allows; for ``reading``, it need not be writable.

        Raises ``UsageError`` for a file that is not there, is something else or cannot be opened.
        """
        self.path = path
        if path.is_dir():
            raise UsageError(f"the store {str(path)!r} cannot be opened: it is a folder, not a file")
        if not path.exists() and not create:
            raise UsageError(f"there is no store at {str(path)!r}: `wgfbench run SUITE` makes one")
        if reading and path.exists() and not may_write(path):
            with self.guarded():
                self.connection = read_only(path)
            return
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
        check_owner(self.connection, self.path)
        if self.format() < SCHEMA_VERSION:
            with self.transaction():
                bring_up(self.connection)
        self.connection.execute("PRAGMA synchronous = NORMAL")

    def format(self) -> int:
        """Return the format of the store, a number that its file holds."""
        return format_of(self.connection)

    def statuses(self) -> dict[str, str]:
        """Return the status of every cell by its key."""
        with self.guarded():
            return dict(self.connection.execute("SELECT key, status FROM cells"))

    def reasons(self) -> dict[str, tuple[str, str | None]]:
        """Return the status of every cell and the reason for it, by its key."""
        with self.guarded():
            rows = self.connection.execute("SELECT key, status, reason FROM cells")
            return {key: (status, reason) for key, status, reason in rows}

    def changes(self) -> int:
        """Return a number that differs once another connection has changed the store."""
        with self.guarded():
            return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def keep_finished(self, asked: str, files: bytes, digest: str, told: str, changes: int) -> None:
        """Keep a run that has nothing to do, known by what was ``asked``, unless somebody else has changed the store.

        ``changes`` is what :meth:`changes` said before the run was found to have nothing to do.
        """
        row: dict[str, object] = {"asked": asked, "files": files, "digest": digest, "told": told}
        with self.guarded(), self.transaction():
            if self.changes() == changes:
                insert(self.connection, "finished", [row], on_conflict="OR REPLACE")

    def of_unknown_data(self) -> set[str]:
        """Return the keys of cells that are ok, and of which it is not known what their data files held."""
        with self.guarded():
            query = "SELECT key FROM cells WHERE data = ? AND status = 'ok'"
            return {row[0] for row in self.connection.execute(query, (DATA_UNKNOWN,))}

    def codes(self) -> dict[str, str]:
        """Return the checksums of the plug-ins of the runs that cells are of (JSON), by key, where they are known."""
        with self.guarded():
            return dict(self.connection.execute("SELECT key, code FROM cells JOIN runs USING (run) WHERE code <> ''"))

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

    def asked(self) -> list[str]:
        """Return which measures, with their versions, cells that are ok were asked for (JSON), each text once."""
        with self.guarded():
            return [
                row[0] for row in self.connection.execute("SELECT DISTINCT measures FROM cells WHERE status = 'ok'")
            ]

    def record(self, cell: Cell, outcome: Outcome, run: int, beside: int | None, *, anew: bool = False) -> None:
        """Keep how a cell ended, in one transaction.

        One that is ok gives way to an ok with other or newer measures, to any outcome of other code and, ``anew``, to
        any at all.
        """
        row = asdict(outcome)
        measurements, projections, code = row.pop("measurements"), row.pop("projections"), row.pop("code")
        series = {"steps": row.pop("traces"), "observations": row.pop("assimilated")}
        row |= {
            "key": cell.key,
            "run": run,
            "finished": now(),
            "beside": beside,
            "diagnostics": json.dumps(outcome.diagnostics),
            "measures": json.dumps(outcome.measures),
            "unsuited": json.dumps(outcome.unsuited),
            "data": cell.data or "",
        }
        with self.guarded(), self.transaction():
            known = self.connection.execute(
                "SELECT measures, cells.data, code FROM cells LEFT JOIN runs USING (run) "
                "WHERE status = 'ok' AND key = ?",
                (cell.key,),
            ).fetchone()
            if known is not None and not anew and not changed(known[2], code or cell.code):
                surer = known[1] == DATA_UNKNOWN != row["data"]
                if not (outcome.status == "ok" and (surer or renews(outcome, json.loads(known[0] or "{}")))):
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
