"""Suites, TOML files that say which problems, dimensions and seeds meet which solvers.

A preset replaces any of the suite's own keys.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import UsageError, unknown
from harness.measure import CATALOGUE
from harness.parsing import no_setting, parse_bytes, parse_numbers, parse_seconds, parse_seeds
from harness.suite_identity import shipped as shipped
from harness.suite_identity import suite_path

MEANT = {
    "dims": 'a number or a text such as "2,6" or "1:12" is meant',
    "seeds": 'a count or a text such as "0,3" or "5:9" is meant',
}
"""What is asked of the keys that may be numbers or texts."""


class Entry(BaseModel):
    """A problem or a solver of a suite; every combination of the values in ``grid`` is one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    use: str
    label: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)


class ProblemEntry(Entry):
    """A problem with its own dimensions and seeds where they differ from the suite's."""

    dims: str | int | None = None
    seeds: str | int | None = None


class SolverEntry(Entry):
    """A solver, on all the problems and dimensions of the suite or on those named.

    Entries for different dimensions may share a label: they then stand in the tables as one solver.
    """

    problems: list[str] | None = None
    dims: str | int | None = None


class Suite(BaseModel):
    """A planned sweep; ``dims`` and ``seeds`` read as on the command line, ``draws`` is evaluation draws a side.

    ``id`` names it in stores wherever its file lies; see :class:`Identity`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    id: str | None = None
    description: str = ""
    problems: list[ProblemEntry]
    solvers: list[SolverEntry]
    dims: str | int = "1"
    seeds: str | int = 1
    measures: list[str] | None = None
    draws: int = Field(default=8192, ge=2)
    timeout: str = "10m"
    memory: str = "4G"

    def check(self, measures: Collection[str] = CATALOGUE) -> None:
        """Raise ``UsageError`` for a quantity that cannot be read, and for a measure that is none of ``measures``."""
        if self.id is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.id) is None:
            raise UsageError(f"id of a suite must be letters, digits and . _ -, got {self.id!r}")
        if self.id in shipped():
            raise UsageError(f"id {self.id!r} is the name of a shipped suite: choose another")
        parse_seconds("timeout", self.timeout)
        parse_bytes("memory", self.memory)
        own = (*(problem.dims for problem in self.problems), *(solver.dims for solver in self.solvers))
        for dims in (self.dims, *own):
            if dims is not None:
                parse_numbers("dims", str(dims), smallest=1)
        for seeds in (self.seeds, *(problem.seeds for problem in self.problems)):
            if seeds is not None:
                parse_seeds(str(seeds))
        for measure in self.measures or ():
            if measure not in measures:
                raise unknown("measure", measure, measures)
        for entry in (*self.problems, *self.solvers):
            for name, value in (entry.settings | entry.grid).items():
                if (why := no_setting(value)) is not None:
                    raise UsageError(f"{entry.use!r}: setting {name} = {value!r}: {why}")
        names = {problem.use for problem in self.problems}
        for solver in self.solvers:
            for name in solver.problems or ():
                if name not in names:
                    raise unknown(f"problem of solver {solver.use!r}", name, names)


def read_suite(name: str) -> dict[str, Any]:
    """Return the table of a suite, by shipped name or path of a TOML file; a byte order mark before it is left out.

    Raises ``UsageError`` for a suite that does not exist, a file of another kind, and what cannot be read.
    """
    path = suite_path(name)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise UsageError(f"suite {name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"suite {name!r} is not text in UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"suite {name!r} is not TOML: {error}") from error


def contents(suites: Mapping[str, Suite]) -> dict[str, str]:
    """Return a hash of what each preset of a suite plans; titles, words and limits do not count."""
    words = {"title", "description", "id", "timeout", "memory"}
    texts = {key: json.dumps(suite.model_dump(exclude=words), sort_keys=True) for key, suite in suites.items()}
    return {key: hashlib.sha256(text.encode()).hexdigest()[:32] for key, text in texts.items()}


def load_suite(name: str, preset: str | None, measures: Collection[str] = CATALOGUE) -> tuple[Suite, str]:
    """Return a suite, by shipped name or path of a TOML file, with its preset applied, and the preset's name.

    Without a preset, ``quick`` is taken where the suite has one, else its first. It may ask for these ``measures``.

    Raises ``UsageError`` for a suite or a preset that does not exist, TOML that does not parse, and keys or values
    that are not allowed.
    """
    found = load_presets(name, preset, measures)
    return found.suites[found.preset], found.preset


class Presets(NamedTuple):
    """A suite under each of its presets, or under the empty name if it has none, and the ``preset`` that is meant.

    ``faults`` says of the other presets, by name, what is wrong with those that are not among ``suites`` for it.
    """

    suites: dict[str, Suite]
    preset: str
    faults: dict[str, str]


def load_presets(name: str, preset: str | None, measures: Collection[str] = CATALOGUE) -> Presets:
    """Return a suite under all of its presets; raises ``UsageError`` as :func:`load_suite` does."""
    table = read_suite(name)
    presets = table.pop("presets", {})
    if not (isinstance(presets, dict) and all(isinstance(replaced, dict) for replaced in presets.values())):
        raise UsageError(f"suite {name!r}: presets must be tables such as [presets.quick], got {presets!r}")
    if preset is None:
        preset = "quick" if "quick" in presets else next(iter(presets), "")
    if preset and preset not in presets:
        if not presets:
            raise UsageError(f"suite {name!r} has no presets, got {preset!r}")
        raise unknown(f"preset of suite {name!r}", preset, presets)
    # Every preset is checked, not only the one asked for, which alone has to be right for this run.
    suites, faults = {}, {}
    for key, replaced in (presets or {"": {}}).items():
        try:
            suites[key] = validated(name, table | replaced, measures)
        except UsageError as error:
            faults[key] = str(error)
    if preset in faults:
        raise UsageError(in_preset(name, preset, table, faults[preset], measures))
    return Presets(suites, preset, faults)


def in_preset(name: str, preset: str, table: dict[str, Any], fault: str, measures: Collection[str]) -> str:
    """Return what is wrong under a preset, which is named unless the same is wrong without it."""
    try:
        validated(name, table, measures)
    except UsageError as error:
        if str(error) == fault:
            return fault
    return f"preset {preset!r}: {fault}"


def with_measures(suite: Suite, measures: list[str] | None, known: Collection[str]) -> Suite:
    """Return a suite that asks for other measures; raises ``UsageError`` for one that is not ``known``."""
    if measures is None:
        return suite
    changed = suite.model_copy(update={"measures": measures})
    changed.check(known)
    return changed


def validated(name: str, table: dict[str, Any], measures: Collection[str]) -> Suite:
    """Return the suite that a table describes; raises ``UsageError`` for keys and values that are not allowed."""
    try:
        suite = Suite.model_validate(table)
    except ValidationError as error:
        errors = error.errors()
        # A key that does not exist explains the one that is missing.
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            models: dict[str, type[BaseModel]] = {"problems": ProblemEntry, "solvers": SolverEntry}
            key = str(first["loc"][-1])
            model = models.get(str(first["loc"][0]), Suite)
            raise unknown(f"key of suite {name!r} at {place}:", key, model.model_fields) from error
        if first["type"] == "missing":
            raise UsageError(f"suite {name!r}: {place} is missing") from error
        *whole, last = first["loc"]
        message = MEANT.get(str(whole[-1]), first["msg"]) if whole and last in ("str", "int") else first["msg"]
        if message != first["msg"]:
            place = ".".join(map(str, whole))
        raise UsageError(f"suite {name!r}: {place} = {first['input']!r}: {message}") from error
    suite.check(measures)
    return suite
