"""Arguments as they are written in Python, turned into what the command line would have got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.request import Change

Files = str | Path | Iterable[str | Path]


def plain(value: Any) -> Any:
    """Return a setting as TOML could have it: arrays, tensors and their numbers as plain lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def paths(files: Files) -> list[Path]:
    """Return one file or several as paths."""
    return [Path(files)] if isinstance(files, str | Path) else [Path(each) for each in files]


def listed(names: str | Sequence[str] | None) -> list[str] | None:
    """Return names, a list or a text with commas between, as a list."""
    if names is None:
        return None
    return [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)


def numbers(given: str | int | Sequence[int] | None) -> str | None:
    """Return numbers as the command line takes them; a single one of a list is itself, not a count."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Sequence | range):
        return ",".join(map(str, given)) if len(given) > 1 else f"{given[0]}:{given[0]}" if given else ""
    return str(given)


def count(what: str, given: int | None) -> int | None:
    """Return a count of cells or threads; raises ``UsageError`` for one below 1."""
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        raise UsageError(f"{what} must be a whole number >= 1, got {given!r}")
    return given


def changes(settings: Mapping[str, Any]) -> list[Change]:
    """Return the settings to be replaced; raises ``UsageError`` for a name that is not ``NAME.SETTING``."""
    found = []
    for place, value in settings.items():
        name, _, setting = place.rpartition(".")
        if not name:
            raise UsageError(f"settings must be named NAME.SETTING such as euler-maruyama.step_size, got {place!r}")
        found.append(Change(name, setting, plain(value)))
    return found
