"""Suites and their plans in a store: which cells belong to a suite today, and which did before it was edited."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.database import Database, insert
from harness.errors import UsageError, unknown
from harness.provenance import Provenance, now
from harness.suite_identity import Identity, heading, shipped

if TYPE_CHECKING:
    from harness.components import Cell

TOLD = ("key", "problem", "problem_settings", "solver", "solver_settings", "label", "rerun", "evaluation")
"""What a plan says of a cell: a row that says the same is not written again."""


def told(cell: Cell, rerun: str) -> tuple[str, ...]:
    """Return what a plan says of a cell, as ``TOLD``; ``rerun`` is the command before its key."""
    problem, solver, key = cell.problem, cell.solver, cell.key
    again = f"{rerun} --cell {key[:12]}"
    evaluation = cell.evaluation.identity
    return key, problem.name, problem.settings, solver.name, solver.settings, solver.label, again, evaluation


def planned_row(cell: Cell, rerun: str) -> dict[str, object]:
    """Return the row of a cell in a plan, without the suite and the preset."""
    other = {"size": cell.dim, "seed": cell.seed, "device": cell.device, "place": "\n".join(cell.place)}
    return dict(zip(TOLD, told(cell, rerun), strict=True)) | other


SLOT = ("size", "seed", "device", "place", "problem", "problem_settings", "label")
"""What of a planned cell decides which other one it stands in the way of: see :func:`slots`."""


def slots(row: Sequence[object]) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Return what a planned cell is by the names of its key, and what it is in the tables; ``row`` is as ``SLOT``."""
    size, seed, device, place, problem, settings, label = row
    return (size, seed, device, place), (size, seed, device, problem, settings, label)


class Plans(Database):
    """The runs, the suites and the plans of a store."""

    def begin(self, suite: str, preset: str, run: Provenance, data: str | None = None) -> int:
        """Record a run of a suite, and the folder that it has its data from, and return its number."""
        with self.guarded(), self.transaction():
            return insert(self.connection, "runs", [{"suite": suite, "preset": preset, "data": data} | asdict(run)])

    def last_suite(self) -> str:
        """Return the suite of the latest run; raises ``UsageError`` when there was none."""
        with self.guarded():
            row = self.connection.execute("SELECT suite FROM runs ORDER BY started DESC, run DESC LIMIT 1").fetchone()
        if row is None:
            raise UsageError(f"the store {str(self.path)!r} holds no run yet: `wgfbench run SUITE` fills it")
        return str(row[0])

    def last_preset(self, suite: str) -> str | None:
        """Return the preset of a suite that was last run, or ``None`` where no run is known."""
        with self.guarded():
            query = "SELECT preset FROM runs WHERE suite = ? ORDER BY started DESC, run DESC LIMIT 1"
            row = self.connection.execute(query, (suite,)).fetchone()
        return None if row is None else str(row[0])

    def last_data(self, suite: str) -> str | None:
        """Return the folder that the last run of a suite with one had its data from, or ``None``."""
        with self.guarded():
            query = "SELECT data FROM runs WHERE suite = ? AND data IS NOT NULL ORDER BY started DESC, run DESC LIMIT 1"
            row = self.connection.execute(query, (suite,)).fetchone()
        return None if row is None else str(row[0])

    def presets(self, suite: str) -> list[str]:
        """Return the presets of a suite that the store knows."""
        with self.guarded():
            query = "SELECT DISTINCT preset FROM plans WHERE suite = ? ORDER BY preset"
            return [row[0] for row in self.connection.execute(query, (suite,))]

    def suites(self) -> list[str]:
        """Return the suites that the store knows."""
        with self.guarded():
            return [row[0] for row in self.connection.execute("SELECT DISTINCT suite FROM plans ORDER BY suite")]

    def register(self, suite: Identity) -> None:
        """Record what a suite is called; one that older stores knew by its file's name alone becomes this one."""
        with self.guarded(), self.transaction():
            row: dict[str, object] = {"suite": suite.key, "name": suite.name, "title": suite.title}
            row |= {"description": suite.description, "path": suite.path}
            insert(self.connection, "suites", [row], on_conflict="OR REPLACE")
            former = Path(suite.path).stem
            if suite.path and former not in shipped():
                for table in ("plans", "runs"):
                    self.connection.execute(
                        f"UPDATE OR IGNORE {table} SET suite = ? WHERE suite = ? "
                        "AND suite NOT IN (SELECT suite FROM suites)",
                        (suite.key, former),
                    )

    def named(self, name: str) -> str:
        """Return the suite that a name means: its key, what it is called, its title or its file.

        Raises ``UsageError`` where it means none, or several.
        """
        with self.guarded():
            rows = self.connection.execute("SELECT suite, name, title, path FROM suites").fetchall()
        known = self.suites()
        if name in known:
            return name
        path = str(Path(name).resolve()) if name.endswith(".toml") else None
        found = [row for row in rows if row[0] in known and (name in row[1:3] or path == row[3])]
        if len(found) > 1:
            which = ", ".join(f"{key} ({title!r}, {place})" for key, _, title, place in found)
            raise UsageError(f"{len(found)} suites of the store are called {name!r}: name one of {which}")
        if not found:
            raise unknown(f"suite in the store {str(self.path)!r}:", name, {*known, *(row[1] for row in rows)})
        return str(found[0][0])

    def called(self, suite: str) -> tuple[str, str | None, str]:
        """Return what a suite is called for short, its title if it is known, and its description.

        Of two suites that are called the same each is called by its key.
        """
        with self.guarded():
            query = "SELECT name, title, description FROM suites WHERE suite = ?"
            row = self.connection.execute(query, (suite,)).fetchone()
            query = "SELECT count(*) FROM suites WHERE name = (SELECT name FROM suites WHERE suite = ?)"
            alike = self.connection.execute(query, (suite,)).fetchone()[0]
        if row is None:
            return suite, *heading(suite)
        return str(row[0]) if alike == 1 else suite, str(row[1]), str(row[2])

    def contents(self, suite: str) -> dict[str, str]:
        """Return a hash of what each preset of a suite was when it was last planned."""
        with self.guarded():
            return dict(self.connection.execute("SELECT preset, content FROM contents WHERE suite = ?", (suite,)))

    def planned_devices(self, suite: str, preset: str) -> list[str]:
        """Return the devices that rows of a plan are for."""
        with self.guarded():
            query = "SELECT DISTINCT device FROM plans WHERE suite = ? AND preset = ? AND replaced IS NULL"
            return [row[0] for row in self.connection.execute(query, (suite, preset))]

    def retire(self, suite: str, preset: str, content: str | None, keys: Collection[str]) -> int:
        """Mark as replaced all rows of a plan but those of ``keys``, and keep the hash of its content.

        Return how many there were; with ``content`` ``None`` the preset is gone.
        """
        with self.guarded(), self.transaction():
            query = "SELECT key FROM plans WHERE suite = ? AND preset = ? AND replaced IS NULL"
            gone = [key for (key,) in self.connection.execute(query, (suite, preset)) if key not in keys]
            self._replace(suite, preset, gone)
            self.connection.execute("DELETE FROM contents WHERE suite = ? AND preset = ?", (suite, preset))
            if content is not None:
                insert(self.connection, "contents", [{"suite": suite, "preset": preset, "content": content}])
        return len(gone)

    def forget(self, suite: str, preset: str, keys: Iterable[str]) -> None:
        """Take cells out of a plan which nothing asks for any more, and that were never run."""
        query = "DELETE FROM plans WHERE suite = ? AND preset = ? AND key = ? AND key NOT IN (SELECT key FROM cells)"
        with self.guarded(), self.transaction():
            self.connection.executemany(query, ((suite, preset, key) for key in keys))

    def _replace(self, suite: str, preset: str, keys: Iterable[str]) -> None:
        query = "UPDATE plans SET replaced = ? WHERE suite = ? AND preset = ? AND key = ?"
        time = now()
        self.connection.executemany(query, ((time, suite, preset, key) for key in keys))

    def record_plan(self, suite: str, preset: str, cells: Iterable[Cell], rerun: str) -> None:
        """Record which cells belong to a suite; ``rerun`` is the command before the key of the cell.

        A cell replaces the one that it was with another version of its solver, other data, or other names of its
        problem, its solver and their settings; and the one of the same label, problem and evaluation.
        """
        cells = list(cells)
        with self.guarded():
            query = f"SELECT {', '.join(TOLD)} FROM plans WHERE suite = ? AND preset = ? AND replaced IS NULL"
            known = set(self.connection.execute(query, (suite, preset)))
        new = [cell for cell in cells if told(cell, rerun) not in known]
        if not new:
            return
        where = {"suite": suite, "preset": preset}
        with self.guarded(), self.transaction():
            rows = (where | planned_row(cell, rerun) for cell in new)
            insert(self.connection, "plans", rows, on_conflict="OR REPLACE")
            if known:
                planned = [planned_row(cell, rerun) for cell in cells]
                self._replace(suite, preset, self._in_the_way(suite, preset, planned))

    def _in_the_way(self, suite: str, preset: str, rows: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the keys of planned cells that stand where one of ``rows`` stands now."""
        planned = {row["key"] for row in rows}
        query = (
            f"SELECT key, evaluation, {', '.join(SLOT)} FROM plans WHERE suite = ? AND preset = ? AND replaced IS NULL"
        )
        others = [row for row in self.connection.execute(query, (suite, preset)) if row[0] not in planned]
        if not others:
            return []
        taken = {(row["evaluation"], *slot) for row in rows for slot in slots([row[name] for name in SLOT])}
        evaluations = {row["evaluation"] for row in rows}
        return [
            key
            for key, evaluation, *slot in others
            for each in ([evaluation] if evaluation is not None else evaluations)
            if any((each, *one) in taken for one in slots(slot))
        ]
