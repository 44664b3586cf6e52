"""Whether a stored cell has every measure that it is asked for, in its present version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from harness.catalogue import Catalogue, import_target
from harness.plan import Cell

Taken = Mapping[str, int | None]
"""Versions of the measures that a stored cell was asked for; ``None`` where the store cannot say whether it was."""


def older(taken: int | None, now: int) -> bool:
    """Return whether a version is known to be older than today's."""
    return taken is not None and taken < now


def completed_by(components: Catalogue) -> Callable[[Cell, Taken], bool]:
    """Return a function that tells of a cell, and the measures taken of it, whether it lacks one or has an older one.

    Asked for are the measures of the suite, else those that the problem's family declares, else those that were asked
    for before. A measure that was not suited counts as taken; so does one of which it is not known.
    """
    targets = components.targets["measure"]

    @cache
    def version(name: str) -> int:
        return int(import_target(targets[name]).version) if name in targets else 0

    @cache
    def named(target: str) -> tuple[str, ...]:
        return tuple(import_target(target).measures)

    def lacks(cell: Cell, taken: Taken) -> bool:
        asked = cell.evaluation.measures
        if asked is None:
            asked = named(cell.problem.target) or tuple(taken)
        return any(name not in taken or older(taken[name], version(name)) for name in asked)

    return lacks
