"""Stores as earlier formats had them, made from today's."""

from __future__ import annotations

import re
import sqlite3

from harness.store_formats import SCHEMA_VERSION, UPGRADES


def take_back(connection: sqlite3.Connection, version: int) -> None:
    """Take a store back to the format ``version``: without the tables and columns that later ones brought."""
    for later in range(SCHEMA_VERSION, version, -1):
        for trigger in re.findall(r"CREATE TRIGGER (\w+)", UPGRADES[later]):
            connection.execute(f"DROP TRIGGER {trigger}")
        for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", UPGRADES[later]):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        renamed = set(re.findall(r"ALTER TABLE (\w+) RENAME", UPGRADES[later]))
        for table in set(re.findall(r"CREATE TABLE (\w+)", UPGRADES[later])) - renamed:
            connection.execute(f"DROP TABLE {table}")
    connection.execute(f"PRAGMA user_version = {version}")
