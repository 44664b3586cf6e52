"""Whether a stored cell has every measure that it is asked for, in its present version."""

from __future__ import annotations

from collections.abc import Mapping

from harness.catalogue import Catalogue, import_target
from harness.components import Cell

Taken = Mapping[str, int | None]
"""Versions of the measures that a stored cell was asked for; ``None`` where the store cannot say whether it was."""


def older(taken: int | None, now: int) -> bool:
    """Return whether a version is known to be older than today's."""
    return taken is not None and taken < now


class Completion:
    """Tells of a cell, and the measures taken of it, whether it lacks one or has an older one.

    Asked for are the measures of the suite, else those that the problem's family declares, else those that were asked
    for before. A measure that was not suited counts as taken; so does one of which it is not known.
    """

    def __init__(self, components: Catalogue) -> None:
        """Look measures up in these components; their versions are asked for once."""
        self._targets = components.targets["measure"]
        self._versions: dict[str, int] = {}

    def __call__(self, cell: Cell, taken: Taken) -> bool:
        asked = cell.evaluation.measures
        if asked is None:
            asked = cell.problem.declared or tuple(taken)
        return any(name not in taken or older(taken[name], self.version(name)) for name in asked)

    def version(self, name: str) -> int:
        """Return today's version of a measure, 0 for one that there is not."""
        if name not in self._versions:
            target = self._targets.get(name)
            self._versions[name] = 0 if target is None else int(import_target(target).version)
        return self._versions[name]

    def learn(self, versions: Mapping[str, int]) -> None:
        """Take in versions of today, as a cell says that has just been measured."""
        self._versions |= versions
