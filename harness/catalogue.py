"""The catalogue of problems, solvers and measures: built-ins, entry points of installed packages, plug-in files.

A component is known by its name and a target, ``package.module:Class`` or ``/path/to/file.py:Class``, and is imported
when it is first used: a missing package disables the one solver that wants it.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_type_hints

import problems
import solvers
import solvers.peers
from harness.errors import UsageError, nearest, unknown
from harness.former_names import parted, renamed
from harness.measure import CATALOGUE
from harness.parsing import no_setting

Kind = Literal["problem", "solver", "measure"]
BUILTIN: Mapping[Kind, Mapping[str, str]] = {
    "problem": problems.BUILTIN,
    "solver": ChainMap(solvers.BUILTIN, solvers.peers.BUILTIN),
    "measure": {name: entry.target for name, entry in CATALOGUE.items()},
}
BASES: Mapping[Kind, tuple[str, str]] = {
    "problem": ("problems.problem", "ProblemFamily"),
    "solver": ("solvers.solver", "Solver"),
    "measure": ("harness.measure.measure", "Measure"),
}


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The targets of all problems, solvers and measures, by kind and name."""

    targets: Mapping[Kind, Mapping[str, str]]

    def target(self, kind: Kind, name: str) -> str:
        """Return where a component lives; raises ``UsageError`` with the nearest name when there is none."""
        if name not in self.targets[kind]:
            raise unknown(kind, name, self.targets[kind])
        return self.targets[kind][name]


def catalogue(plugins: Sequence[Path] = ()) -> Catalogue:
    """Return the built-ins with what installed packages and the plugin files add.

    Raises ``UsageError`` for a plugin that does not import, holds no component, or takes a name already taken.
    """
    targets: dict[Kind, dict[str, str]] = {kind: dict(BUILTIN[kind]) for kind in BUILTIN}
    for kind in targets:
        for entry in entry_points(group=f"wgfbench.{kind}s"):
            add_target(targets, kind, entry.name, entry.value)
    for plugin in plugins:
        found = plugin_components(plugin)
        for kind, name, target in found:
            add_target(targets, kind, name, target)
    return Catalogue(targets)


def add_target(targets: dict[Kind, dict[str, str]], kind: Kind, name: str, target: str) -> None:
    """Add one component; raises ``UsageError`` when another one has its name."""
    if targets[kind].get(name, target) != target:
        raise UsageError(f"{target} and {targets[kind][name]} are both {kind}s named {name!r}: choose another name")
    targets[kind][name] = target


def plugin_components(path: Path) -> list[tuple[Kind, str, str]]:
    """Import a plugin file and return its components as (kind, name, target).

    Raises ``UsageError`` for a file that does not import or holds no component.
    """
    try:
        module = import_file(path)
    except Exception as error:
        raise UsageError(f"plugin {str(path)!r} does not import: {type(error).__name__}: {error}") from error
    found: list[tuple[Kind, str, str]] = []
    for kind, (base_module, base_name) in BASES.items():
        base = getattr(importlib.import_module(base_module), base_name)
        for attribute, value in vars(module).items():
            ours = isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
            if ours and "name" in vars(value):
                found.append((kind, value.name, f"{path.resolve()}:{attribute}"))
    if not found:
        raise UsageError(f"plugin {str(path)!r} holds no solver, no problem family and no measure with a name")
    return found


def import_file(path: Path) -> ModuleType:
    """Import a Python file once, under a module name made from its path and its text.

    Raises ``ImportError`` for what is no Python file, and whatever the import raises.
    """
    text = path.read_bytes()
    digest = hashlib.sha256(str(path.resolve()).encode() + text).hexdigest()[:12]
    module_name = f"wgfbench_plugin_{path.stem}_{digest}"
    if module_name not in sys.modules:
        reach_helpers(path.resolve(), ast.parse(text))
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return sys.modules[module_name]


def reach_helpers(path: Path, tree: ast.Module) -> None:
    """Let a plug-in file import the files and packages beside it, as a script may, now and when its functions run.

    Raises ``ImportError`` for one that cannot be reached since another module, or another plug-in's, has its name.
    """
    folder = path.parent
    helpers = helpers_beside(path, tree)
    if not helpers:
        return
    known = str(folder) in sys.path
    if not known:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    for name, file in helpers.items():
        spec = importlib.util.find_spec(name)
        found = None if spec is None else spec.origin
        if found is None or Path(found).resolve() != file.resolve():
            if not known:
                sys.path.remove(str(folder))
            raise ImportError(f"{file.name} beside it is hidden by another module {name!r} ({found}): rename it")


def helpers_beside(path: Path, tree: ast.Module) -> dict[str, Path]:
    """Return the files of the modules beside ``path`` that code imports, by name; of a package its ``__init__.py``."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    helpers = {}
    for name in sorted({name.partition(".")[0] for name in names} - {""}):
        beside = [each for each in (path.parent / f"{name}.py", path.parent / name / "__init__.py") if each.is_file()]
        if beside and beside[0] != path:
            helpers[name] = beside[0]
    return helpers


def import_target(target: str) -> type[Any]:
    """Return the class that a target names; raises whatever its import raises."""
    place, _, attribute = target.rpartition(":")
    module = import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    component: type[Any] = getattr(module, attribute)
    return component


def missing(component: type[Any]) -> str | None:
    """Return the package that a component needs and this machine has not, and how to get it; ``None``: it has all."""
    for module, command in getattr(component, "needs", {}).items():
        if importlib.util.find_spec(module) is None:
            return f"the package {module}: {command}"
    return None


def make(kind: Kind, component: type[Any], settings: Mapping[str, Any]) -> Any:
    """Return the component with these settings, each checked against the type of its field.

    Values are those of TOML and JSON: lists become tuples where the field is a tuple, nothing else is converted.
    Raises ``UsageError`` naming an unknown setting or a value of the wrong type or range.
    """
    from pydantic import TypeAdapter, ValidationError

    fields = {field.name: field.default for field in dataclasses.fields(component) if field.init}
    types = get_type_hints(component)
    values = {}
    for name, value in settings.items():
        if name not in fields:
            called = renamed(kind, component.name).get(name)
            if called in fields:
                raise UsageError(f"{kind} {component.name!r}: setting {name!r} is called {called!r} now")
            for other in parted(kind, component.name, name):
                raise UsageError(f"{kind} {component.name!r}: setting {name!r} is one of {kind} {other!r} now")
            allowed = ", ".join(sorted(fields)) or "none"
            raise UsageError(
                f"{kind} {component.name!r} has no setting {name!r}{nearest(name, fields)} (there are: {allowed})"
            )
        if (why := no_setting(value)) is not None:
            raise UsageError(f"{kind} {component.name!r}: setting {name} = {value!r}: {why}")
        if as_json(value) == as_json(fields[name]) is not None:
            continue  # a default needs no check, and checks are what a short cell would spend its time on
        try:
            values[name] = TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
        except (TypeError, ValidationError) as error:
            message = explained(error.errors(), value) if isinstance(error, ValidationError) else str(error)
            raise UsageError(f"{kind} {component.name!r}: setting {name} = {value!r}: {message}") from error
    try:
        return component(**values)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TypeError as error:  # a setting without a default, or an abstract method without a body
        raise UsageError(f"{kind} {component.name!r} cannot be made: {error}") from error


def explained(errors: Sequence[Any], value: object) -> str:
    """Return what is wrong with a ``value``, by pydantic's ``errors`` of it, in the words of a suite."""
    if isinstance(value, list | tuple):  # of what it might have been, a list is what it was meant to be
        errors = [each for each in errors if each["type"] != "string_type"] or errors
    first = errors[0]
    place = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
    missing = [each["loc"][-1] for each in errors if each["type"] == "missing"]
    if missing and isinstance(value, list | tuple):
        return f"a list of {max(missing) + 1} is meant, this one has {len(value)}"
    if first["type"] == "too_long":
        message = f"a list of {first['ctx']['max_length']} is meant, this one has {first['ctx']['actual_length']}"
    elif first["type"] == "tuple_type":
        message = "a list is meant, such as [0.5, 2.0]"
    else:
        message = str(first["msg"])
    return f"{place}: {message}" if place else message


def as_json(value: Any) -> str | None:
    """Return a value as JSON, or ``None`` when it has no such form."""
    try:
        return json.dumps(value)
    except TypeError:
        return None


def all_settings(component: Any) -> dict[str, Any]:
    """Return every field of a component as JSON values."""
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(component)))
    return settings
