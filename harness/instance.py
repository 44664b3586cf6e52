"""An instance of a problem in this process, and the components and cells that it has part in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.arguments import Files, paths, plain
from harness.catalogue import BASES, Kind, all_settings, catalogue, import_target, make
from harness.components import Cell, Component, Evaluation
from harness.errors import UsageError
from problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Instance:
    """Instance number ``seed`` of a problem in dimension ``dim``: the ``problem`` itself, and the name it goes by.

    ``folder`` is where its data were looked for, unless that is left to ``WGFBENCH_DATA``.
    """

    component: Component
    dim: int
    seed: int
    problem: Problem
    folder: str | None = None

    def __repr__(self) -> str:
        times = ", ".join(f"{t:g}" for t in self.problem.flow.times)
        return f"{self.component.label}, D = {self.dim}, seed {self.seed}, t = {times}"


def component_of(kind: Kind, what: Any, settings: Mapping[str, Any], plugin: Files) -> Component:
    """Return a problem or a solver, by name, class or object, with settings as they are written in Python.

    Raises ``UsageError`` for what is none, and for settings that it does not have.
    """
    values = {name: plain(value) for name, value in settings.items()}
    if isinstance(what, str):
        target = catalogue(paths(plugin)).target(kind, what)
        try:
            found = import_target(target)
        except ImportError as error:
            raise UsageError(f"{what} needs {error}") from error
    else:
        place, name = BASES[kind]
        base = import_target(f"{place}:{name}")
        found = what if isinstance(what, type) else type(what)
        if not issubclass(found, base):
            raise UsageError(f"a {kind} is meant, by its name, its class or an object of it; got {what!r}")
        target = target_of(found)
        if not isinstance(what, type):
            values = {name: plain(value) for name, value in dataclasses.asdict(what).items()} | values
    made = make(kind, found, values)
    text = json.dumps(all_settings(made), sort_keys=True)
    return Component(kind, found.name, found.name, target, found.version, text)


def target_of(component: type[Any]) -> str:
    """Return where a class lives, as a catalogue has it; raises ``UsageError`` for one that is local to a function."""
    if "." in component.__qualname__:
        raise UsageError(f"{component.__qualname__} must be defined at the top of its file, not inside something else")
    return f"{component.__module__}:{component.__qualname__}"


def cell_of(instance: Instance, solver: Component, evaluation: Evaluation, device: str) -> Cell:
    """Return the cell of a sweep that has this instance, solver and evaluation."""
    return Cell(instance.component, solver, instance.dim, instance.seed, evaluation, device)
