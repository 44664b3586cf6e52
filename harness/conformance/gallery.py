"""The small real problems that every solver is checked on: each family there is, over a short time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from harness.catalogue import import_target, make
from harness.conformance.contract import generator
from harness.measure import CATALOGUE
from harness.measure.measure import Figure, Subject
from problems.problem import Problem, ProblemFamily
from solvers.estimates import Estimate, Exact

TIMES = (0.1, 0.2)
"""Short, and multiples of every step size in use."""

DIMS = (1, 2)
"""Dimensions of families that exist in any."""


JUDGE = CATALOGUE["energy-distance"]
DRAWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Exhibit:
    """One instance of the gallery."""

    title: str
    problem: Problem

    @cached_property
    def initial_distance(self) -> Figure:
        """The energy distance between the initial law and the truth at the horizon, which doing nothing gives."""
        return distance_to_truth(Exact(self.problem.flow.initial), self.problem)


def distance_to_truth(estimate: Estimate, problem: Problem) -> Figure:
    """Return the energy distance of an estimate to the truth at the horizon."""
    assert problem.truth is not None
    subject = Subject(estimate, problem.truth(problem.flow.horizon), problem)
    figure: Figure = import_target(JUDGE.target)()(subject, DRAWS, generator(4))
    return figure


def variants(family: type[ProblemFamily]) -> list[ProblemFamily]:
    """Return the kinds of problems that a family has."""
    return [make("problem", family, settings) for settings in family.variants]


def shortened(family: ProblemFamily) -> ProblemFamily:
    """Return the family over the short times, or as it is where it has times of its own."""
    try:
        return dataclasses.replace(family, times=TIMES)
    except ValueError:
        return family


def title(family: ProblemFamily, dim: int) -> str:
    """Return the name of an instance in verdicts."""
    names = dict.fromkeys(key for settings in family.variants for key in settings)
    settings = "".join(f" {key}={getattr(family, key)}" for key in names)
    return f"{family.name}{settings} D={dim}"


def gallery(targets: Mapping[str, str]) -> list[Exhibit]:
    """Return an instance of each kind of problem in its smallest dimensions; what cannot be imported is left out."""
    exhibits = []
    for target in targets.values():
        try:
            component = import_target(target)
        except ImportError:
            continue
        for family in map(shortened, variants(component)):
            for dim in (family.dims() or DIMS)[: len(DIMS)]:
                exhibits.append(Exhibit(title(family, dim), family.build(dim, 0, generator(0))))
    return exhibits
