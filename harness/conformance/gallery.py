"""The small real problems that every solver is checked on: each family there is, over a short time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.catalogue import import_target, make
from harness.conformance.contract import generator
from problems.problem import Problem, ProblemFamily

TIMES = (0.1, 0.2)
"""Short, and multiples of every step size in use."""

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "ornstein-uhlenbeck": (
        {"instance": "mokrov2021"},
        {"instance": "random"},
        {"instance": "random", "initial_components": 2},
    ),
}
"""Settings that make a family a different kind of problem; other families are taken as they are by default."""

DIMS = (1, 2)
"""Dimensions of families that exist in any."""


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """One instance of the gallery."""

    title: str
    problem: Problem


def variants(name: str, family: type[ProblemFamily]) -> list[ProblemFamily]:
    """Return the kinds of problems that a family has."""
    return [make("problem", family, settings) for settings in VARIANTS.get(name, ({},))]


def shortened(family: ProblemFamily) -> ProblemFamily:
    """Return the family over the short times, or as it is where it has times of its own."""
    try:
        return dataclasses.replace(family, times=TIMES)
    except ValueError:
        return family


def title(family: ProblemFamily, dim: int) -> str:
    """Return what an instance is called in verdicts."""
    told = VARIANTS.get(family.name, ({},))
    names = dict.fromkeys(key for settings in told for key in settings)
    settings = "".join(f" {key}={getattr(family, key)}" for key in names)
    return f"{family.name}{settings} D={dim}"


def gallery(targets: Mapping[str, str]) -> list[Exhibit]:
    """Return an instance of each kind of problem in its smallest dimensions; what cannot be imported is left out."""
    exhibits = []
    for name, target in targets.items():
        try:
            component = import_target(target)
        except ImportError:
            continue
        for family in map(shortened, variants(name, component)):
            for dim in (family.dims() or DIMS)[: len(DIMS)]:
                exhibits.append(Exhibit(title(family, dim), family.build(dim, 0, generator(0))))
    return exhibits
