"""Checksums of the code of plug-ins, by which cells tell that it is another now than when they ran.

A version says that a method has changed, and its author raises it. These say that its files have: the plug-in's and
those beside it that it imports, or all Python files of an installed package. Built-in components have none: their
versions are under this project's care.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from harness.catalogue import helpers_beside
from harness.data_checksum import data_checksum


def code_checksum(target: str) -> str | None:
    """Return the checksum of the files that the component of a target is made of, ``None`` where none can be read."""
    place, _, _ = target.rpartition(":")
    try:
        return data_checksum(plugin_files(Path(place)) if place.endswith(".py") else package_files(place))
    except OSError:
        return None


def plugin_files(path: Path) -> list[Path]:
    """Return a plug-in file, and the files and packages beside it that it imports, itself or by one of these."""
    found = [path]
    for each in found:
        try:
            tree = ast.parse(each.read_bytes())
        except (SyntaxError, ValueError):  # a helper that is imported late, if ever
            continue
        for helper in helpers_beside(path, tree).values():
            added = helper.parent.rglob("*.py") if helper.name == "__init__.py" else [helper]
            found += [file for file in sorted(added) if file not in found]
    return found


def package_files(module: str) -> list[Path]:
    """Return the Python files of the package that a module is in, or the file of one that is in none."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):  # as of a session's own `__main__`
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py"))
    return [Path(spec.origin)] if spec.has_location and spec.origin else []
