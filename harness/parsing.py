"""Parsing of numbers, seeds, durations and sizes as people write them: ``1:12``, ``2,6``, ``10m``, ``4G``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from datetime import date, time
from typing import Any

from harness.errors import UsageError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_numbers(what: str, text: str, smallest: int) -> tuple[int, ...]:
    """Return the numbers of a list such as ``2,6`` or ``1:4`` (both ends included), in order, without repeats.

    Raises ``UsageError`` for anything else, and for numbers below ``smallest``.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(-?\d+)\s*(?::\s*(-?\d+)\s*)?", part)
        if match is None:
            raise UsageError(f"{what} must be numbers such as 2,6 or 1:12, got {text!r}")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if first < smallest or last < first:
            raise UsageError(f"{what} must be whole numbers >= {smallest}, ranges rising; got {part.strip()!r}")
        numbers.extend(range(first, last + 1))
    return tuple(dict.fromkeys(numbers))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return seeds: a single number is how many (``15`` → 0…14), a list or a range names them (``3,7``, ``5:9``).

    Raises ``UsageError`` for anything else.
    """
    if re.fullmatch(r"\s*-?\d+\s*", text):
        count = int(text)
        if count < 1:
            raise UsageError(f"seeds must be a count >= 1 or a list such as 0,3 or 5:9; got {text!r}")
        return tuple(range(count))
    return parse_numbers("seeds", text, smallest=0)


def parse_seconds(what: str, text: str) -> float:
    """Return a duration in seconds from ``30s``, ``10m`` or ``1.5h``; raises ``UsageError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh])\s*", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"{what} must be a duration > 0 such as 30s, 10m or 1.5h; got {text!r}")
    return float(match[1]) * SECONDS[match[2]]


def parse_bytes(what: str, text: str) -> int:
    """Return a size in bytes from ``500M`` or ``4G`` (powers of 1024); raises ``UsageError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT])i?B?\s*", text)
    size = 0 if match is None else int(float(match[1]) * BYTES[match[2]])
    if size < 1:
        raise UsageError(f"{what} must be a size > 0 such as 500M or 4G; got {text!r}")
    return size


def no_setting(value: Any) -> str | None:
    """Return in words why a value can be none of a setting, or of what is in it; ``None`` where it can."""
    if isinstance(value, list | tuple):
        return next((why for why in map(no_setting, value) if why is not None), None)
    if isinstance(value, Mapping):
        return no_setting([*value, *value.values()])
    if value is None or isinstance(value, bool | int | float | str):
        return None
    kind = type(value).__name__
    quoted = ", and a text in quotes" if isinstance(value, date | time) else ""
    return f"a number, a text, true, false or a list of such is meant{quoted}; not a {kind}"


def parse_change(text: str) -> tuple[str, str, Any]:
    """Return component, setting and value of ``NAME.SETTING=VALUE``; a value that is not TOML is a text.

    Raises ``UsageError`` for anything else.
    """
    place, equals, given = text.partition("=")
    component, dot, setting = place.strip().rpartition(".")
    if not (equals and dot and component and setting):
        raise UsageError(f"--set must be NAME.SETTING=VALUE such as euler-maruyama.step_size=0.01, got {text!r}")
    try:
        value = tomllib.loads(f"value = {given.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = given.strip()
    return component, setting, value


def parse_names(texts: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the names in texts that have commas between; a ``known`` one may hold commas itself, as labels do."""
    names = []
    for text in texts:
        parts = text.split(",")
        while parts:
            counts = (count for count in range(len(parts), 1, -1) if ",".join(parts[:count]).strip() in known)
            count = next(counts, 1)
            names.append(",".join(parts[:count]).strip())
            parts = parts[count:]
    return names
