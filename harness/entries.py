"""The entries of a suite that the command line keeps: by name, by data set or instance, with settings replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, TypeVar, cast

from harness.catalogue import Catalogue, Kind, import_target
from harness.errors import UsageError, unknown
from harness.expansion import labelled
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

    Names may be several in a text, with commas between. A label that a plan prints for one combination of a grid keeps
    that one alone. Of a problem, ``NAME:VALUE`` keeps the data set or the instance of that name alone. Raises
    ``UsageError`` for a name that neither the suite nor the catalogue has.
    """
    if names is None:
        return list(entries)
    labels: dict[str, list[str]] = {}
    for entry in entries:
        labels.setdefault(entry.label or entry.use, []).append(entry.use)
    known = {*components.targets[kind], *(entry.use for entry in entries), *labels}
    parts: dict[str, list[tuple[int, E]]] = {}
    if any(split(kind, name, known)[0] not in known for name in parse_names(names, known)):
        parts = labelled(kind, entries, components)
    kept: dict[int, list[E]] = {}
    new: list[E] = []
    model = ProblemEntry if kind == "problem" else SolverEntry
    for name in parse_names(names, {*known, *parts}):
        use, value = split(kind, name, {*known, *parts})
        if use in known:
            meant = [(place, entry) for place, entry in enumerate(entries) if use in (entry.use, entry.label)]
        elif use in parts:
            meant = parts[use]
        else:
            raise unknown(kind, use, {*known, *parts})
        if value:
            told = [(place, with_value(entry, value, components)) for place, entry in meant]
            meant = [(place, entry) for place, entry in told if entry is not None]
        for place, entry in meant:
            beside, whole = kept.get(place, []), entries[place]
            if entry is whole:
                kept[place] = [whole]
            elif all(each is not whole and each != entry for each in beside):
                kept[place] = [*beside, entry]
        if not meant:
            for each in [use] if use in components.targets[kind] else dict.fromkeys(labels.get(use, [use])):
                settings = {telling(kind, each, components): value} if value else {}
                new.append(cast(E, model(use=each, settings=settings)))
    return [entry for place in sorted(kept) for entry in kept[place]] + new


def split(kind: Kind, name: str, known: Collection[str]) -> tuple[str, str]:
    """Return the name of a component and, of a problem, the value behind a colon; a ``known`` name may hold one."""
    use, _, value = name.partition(":")
    return (name, "") if name in known or kind == "solver" else (use, value)


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
