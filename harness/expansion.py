"""What the entries of a suite stand for: a component for every combination of a grid's values, and their labels."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from harness.catalogue import BUILTIN, Catalogue, Kind, all_settings, import_target, make, missing
from harness.components import Component
from harness.errors import UsageError
from harness.plugin_code import code_checksum
from harness.suite import Entry, ProblemEntry

E = TypeVar("E", bound=Entry)


def combinations(entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values of an entry's grid, by setting."""
    for values in itertools.product(*entry.grid.values()):
        yield dict(zip(entry.grid, values, strict=True))


def label_of(entry: Entry, varied: Mapping[str, Any]) -> str:
    """Return what an entry with these values of its grid is called."""
    return " ".join([entry.label or entry.use, *(f"{name}={value}" for name, value in varied.items())])


def expand(kind: Kind, entry: Entry, components: Catalogue) -> Iterator[tuple[Component, Any]]:
    """Yield every combination of an entry's grid as a component and the object it describes (``None`` if missing).

    Raises ``UsageError`` for an unknown name, an empty grid, and settings that are not allowed.
    """
    target = components.target(kind, entry.use)
    code = None if BUILTIN[kind].get(entry.use) == target else code_checksum(target)
    for name, choices in entry.grid.items():
        if not choices:
            raise UsageError(f"{kind} {entry.use!r}: the grid of {name} is empty")
    for varied in combinations(entry):
        label = label_of(entry, varied)
        settings = entry.settings | varied
        try:
            component = import_target(target)
        except ImportError as error:
            text = json.dumps(settings, sort_keys=True)
            yield Component(kind, entry.use, label, target, 0, text, missing=f"{entry.use} needs {error}"), None
            continue
        made = make(kind, component, settings)
        text = json.dumps(all_settings(made), sort_keys=True)
        absent = missing(component)
        why = None if absent is None else f"{entry.use} needs {absent}"
        yield Component(kind, entry.use, label, target, component.version, text, why, code), made


def labelled_apart(
    problems: Sequence[tuple[ProblemEntry, Component, Any]],
) -> list[tuple[ProblemEntry, Component, Any]]:
    """Return problems whose labels tell them apart: of those that share one, each says the settings that differ."""
    shared: dict[str, list[dict[str, Any]]] = {}
    for _, problem, _ in problems:
        shared.setdefault(problem.label, []).append(json.loads(problem.settings))
    found = []
    for entry, problem, family in problems:
        own, alike = json.loads(problem.settings), shared[problem.label]
        differing = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        label = " ".join([problem.label, *(f"{name}={own[name]}" for name in differing)])
        found.append((entry, dataclasses.replace(problem, label=label), family))
    return found


def labelled(kind: Kind, entries: Sequence[E], components: Catalogue) -> dict[str, list[tuple[int, E]]]:
    """Return the entries by the labels that plans and tables print, with their places and a grid of one combination.

    Problems that cannot be made are left out.
    """
    parts: list[tuple[int, E, str]] = []
    if kind == "solver":
        parts = [
            (place, narrowed(entry, varied), label_of(entry, varied))
            for place, entry in enumerate(entries)
            for varied in combinations(entry)
        ]
    else:
        places, posed = [], []
        for place, entry in enumerate(entries):
            with suppress(UsageError):
                for varied, made in zip(combinations(entry), list(expand(kind, entry, components)), strict=True):
                    places.append(place)
                    posed.append((cast(ProblemEntry, narrowed(entry, varied)), *made))
        for place, (part, problem, _) in zip(places, labelled_apart(posed), strict=True):
            parts.append((place, cast(E, part), problem.label))
    found: dict[str, list[tuple[int, E]]] = {}
    for place, entry, label in parts:
        found.setdefault(label, []).append((place, entry))
    return found


def narrowed(entry: E, varied: Mapping[str, Any]) -> E:
    """Return an entry with these values of its grid alone."""
    return entry.model_copy(update={"grid": {name: [value] for name, value in varied.items()}})
