"""The entries of a suite that the command line keeps: by name, by data set or instance, with settings replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from harness.catalogue import Catalogue, Kind, import_target
from harness.errors import UsageError, unknown
from harness.parsing import parse_names
from harness.request import Change
from harness.suite import Entry, ProblemEntry, SolverEntry

E = TypeVar("E", bound=Entry)

TELLING = ("data", "instance")
"""Settings that say which data set or which instance a problem is made of."""


def changed(
    problems: Sequence[ProblemEntry], solvers: Sequence[SolverEntry], changes: Sequence[Change]
) -> tuple[list[ProblemEntry], list[SolverEntry]]:
    """Return a suite's entries with settings replaced, which their labels then say.

    Raises ``UsageError`` for a component that is not among them.
    """
    entries: list[Any] = [*problems, *solvers]
    known = {name for entry in entries for name in (entry.use, entry.label) if name}
    for change in changes:
        if change.component not in known:
            raise unknown("component to set", change.component, known)
        entries = [
            entry.model_copy(update={"grid": {**entry.grid, change.setting: [change.value]}})
            if change.component in (entry.use, entry.label)
            else entry
            for entry in entries
        ]
    return entries[: len(problems)], entries[len(problems) :]


def chosen(kind: Kind, entries: Sequence[E], names: Sequence[str] | None, components: Catalogue) -> list[E]:
    """Return the suite's entries with these names or labels; a name outside the suite joins with its default settings.

    Names may be several in a text, with commas between. Of a problem, ``NAME:VALUE`` keeps the data set or the instance
    of that name alone. Raises ``UsageError`` for a name that neither the suite nor the catalogue has.
    """
    if names is None:
        return list(entries)
    uses, labels = {entry.use for entry in entries}, {entry.label for entry in entries if entry.label}
    known = {*components.targets[kind], *uses, *labels}
    kept: dict[int, E] = {}
    new: list[E] = []
    model = ProblemEntry if kind == "problem" else SolverEntry
    for name in parse_names(names, known):
        use, colon, value = name.partition(":")
        if name in known or kind == "solver" or not colon:
            use, value = name, ""
        if use not in known:
            raise unknown(kind, use, known)
        meant = {place: entry for place, entry in enumerate(entries) if use in (entry.use, entry.label)}
        if value:
            told = {place: with_value(entry, value, components) for place, entry in meant.items()}
            meant = {place: entry for place, entry in told.items() if entry is not None}
            meant = {place: merged(kept[place], entry) if place in kept else entry for place, entry in meant.items()}
        kept |= meant
        if not meant:
            settings = {telling(kind, use, components): value} if value else {}
            new.append(cast(E, model(use=use, settings=settings)))
    return [kept[place] for place in sorted(kept)] + new


def telling(kind: Kind, use: str, components: Catalogue) -> str:
    """Return the setting by which instances of a problem are told apart; raises ``UsageError`` where there is none."""
    fields = {each.name for each in dataclasses.fields(import_target(components.target(kind, use)))}
    found = next((name for name in TELLING if name in fields), None)
    if found is None:
        raise UsageError(f"{kind} {use!r} has neither data sets nor instances to choose from")
    return found


def with_value(entry: E, value: str, components: Catalogue) -> E | None:
    """Return an entry with that data set or that instance alone, or ``None`` where it has another."""
    name = telling("problem", entry.use, components)
    if name in entry.grid:
        return entry.model_copy(update={"grid": {**entry.grid, name: [value]}}) if value in entry.grid[name] else None
    default = import_target(components.target("problem", entry.use)).__dataclass_fields__[name].default
    return entry if entry.settings.get(name, default) == value else None


def merged(first: E, second: E) -> E:
    """Return an entry with the values of both grids, which are of one entry."""
    grid = {name: list(dict.fromkeys([*values, *second.grid[name]])) for name, values in first.grid.items()}
    return first.model_copy(update={"grid": grid})
