"""Errors of use: one line that names the value, what is allowed and the nearest right name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """A value that the user gave cannot be used; the command line prints one line and exits with code 2."""


class ClusterLost(Exception):
    """A cluster was lost while cells ran on it; the command line prints one line and exits with code 1."""


def unknown(what: str, given: str, allowed: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    names = sorted(allowed)
    near = get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"unknown {what} {given!r}{hint} (there are: {', '.join(names)})")


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the nearest allowed name, or nothing when none is near."""
    near = get_close_matches(given, sorted(allowed), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
