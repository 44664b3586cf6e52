"""Arguments as they are written in Python, turned into what the command line would have got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UsageError
from harness.request import Change

Files = str | Path | Iterable[str | Path]
NARROW = {"float32": np.float32, "float16": np.float16, "bfloat16": np.float32}
"""What writes numbers of each dtype that has less than double precision in their shortest form."""


def plain(value: Any) -> Any:
    """Return a setting as TOML could have it: arrays, tensors, ranges and iterators as plain lists, dtypes by name.

    A number of less than double precision is the one that it is written as: ``numpy.float32(0.1)`` is 0.1.
    """
    if dtype := dtype_name(value):
        return dtype
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tolist") and not isinstance(value, type):
        dtype = dtype_name(value.dtype)
        return as_written(value.tolist(), dtype) if dtype in NARROW else plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set):
        return [plain(each) for each in value]
    return value


def dtype_name(value: Any) -> str | None:
    """Return what NumPy and torch call a dtype, such as float64, or ``None`` for what is none."""
    if isinstance(value, np.dtype) or (type(value).__module__ == "torch" and type(value).__name__ == "dtype"):
        return str(value).removeprefix("torch.")
    return value.__name__ if isinstance(value, type) and issubclass(value, np.generic) else None


def as_written(value: Any, dtype: str) -> Any:
    """Return numbers of a narrow dtype, in lists or not, as the shortest decimals that are these numbers in it."""
    return [as_written(each, dtype) for each in value] if isinstance(value, list) else float(str(NARROW[dtype](value)))


def paths(files: Files) -> list[Path]:
    """Return one file or several as paths."""
    return [Path(files)] if isinstance(files, str | Path) else [Path(each) for each in files]


def listed(what: str, names: str | Sequence[str] | None) -> list[str] | None:
    """Return one text with names or several as a list; raises ``UsageError`` for what is no name."""
    if names is None:
        return None
    found: list[str] = []
    for each in names if isinstance(names, list | tuple) else [names]:
        if not isinstance(each, str):
            raise UsageError(f"{what} must be a name or a list of names, got {each!r}")
        found.append(each)
    return found


def numbers(given: str | int | Sequence[int] | None) -> str | None:
    """Return numbers as the command line takes them; a single one of a list is itself, not a count."""
    if given is None or isinstance(given, str):
        return given
    given = plain(given)
    if isinstance(given, list):
        return ",".join(map(str, given)) if len(given) > 1 else f"{given[0]}:{given[0]}" if given else ""
    return str(given)


def whole(what: str, given: int, at_least: int) -> int:
    """Return a whole number, Python's or NumPy's; raises ``UsageError`` for one below ``at_least``."""
    number = plain(given)
    if isinstance(number, bool) or not isinstance(number, int) or number < at_least:
        raise UsageError(f"{what} must be a whole number >= {at_least}, got {given!r}")
    return number


def count(what: str, given: int | None) -> int | None:
    """Return a count, such as one of cells or threads; raises ``UsageError`` for one below 1."""
    return None if given is None else whole(what, given, 1)


def text(given: object) -> str | None:
    """Return what the command line takes as a text, such as a duration or a device, as one."""
    return None if given is None else str(given)


def changes(settings: Mapping[str, Any]) -> list[Change]:
    """Return the settings to be replaced; raises ``UsageError`` for a name that is not ``NAME.SETTING``."""
    found = []
    for place, value in settings.items():
        name, _, setting = place.rpartition(".")
        if not name:
            raise UsageError(f"settings must be named NAME.SETTING such as euler-maruyama.step_size, got {place!r}")
        found.append(Change(name, setting, plain(value)))
    return found
