"""An open SQLite file: its errors in one clear line, its transactions, and rows given as dictionaries."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harness.errors import UsageError


class Database:
    """An open database file at ``path``, by its ``connection``."""

    path: Path
    connection: sqlite3.Connection

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise what SQLite says about the file and the disk as a ``UsageError`` of one clear line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UsageError(f"the store {str(self.path)!r} failed: {error}; what it held is kept") from error
        except sqlite3.DatabaseError as error:
            if "malformed" in str(error):
                raise UsageError(
                    f"the store {str(self.path)!r} is damaged: a part of the file is missing or was written over "
                    f"({error}); `wgfbench recover {self.path} -o NEW` copies what can be read"
                ) from error
            raise UsageError(f"{str(self.path)!r} is not a wgfbench store: {error}") from error

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
