"""A problem family in small dimensions: its instances, built once for all checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from harness.conformance.contract import generator
from harness.conformance.gallery import title, variants
from harness.measure import CATALOGUE
from problems.laws import Law
from problems.problem import Problem, ProblemFamily

DIMS = (1, 2, 3)


@dataclass(frozen=True)
class Instance:
    """A built instance and its name in verdicts."""

    title: str
    family: ProblemFamily
    dim: int
    problem: Problem


@dataclass(frozen=True)
class ProblemTrial:
    """A family and its instances number 0 in small dimensions, built once for all checks."""

    component: type[ProblemFamily]
    measures: Collection[str] = frozenset(CATALOGUE)
    """The measures that there are."""

    @cached_property
    def families(self) -> list[ProblemFamily]:
        """The kinds of problems that the family has."""
        return variants(self.component)

    @cached_property
    def undeclared(self) -> str | None:
        """What to declare where ``dims()`` says that any dimension exists and ``build`` knows but some, or ``None``."""
        for family in self.families:
            if family.dims() is None:
                refused = {dim: error for dim in DIMS if (error := refusal(family, dim)) is not None}
                known = tuple(dim for dim in DIMS if dim not in refused)
                if refused and known:
                    dim, error = next(iter(refused.items()))
                    return (
                        f"dims() is None, any dimension, but build refuses {dim} ({error}): let dims() return "
                        f"{known!r}, or all dimensions that there are"
                    )
        return None

    @cached_property
    def instances(self) -> list[Instance]:
        """The instances that the checks use."""
        return [
            Instance(title(family, dim), family, dim, family.build(dim, 0, generator(0)))
            for family in self.families
            for dim in (family.dims() or DIMS)[: len(DIMS)]
        ]

    def truths(self) -> Iterator[tuple[str, Instance, float, Law]]:
        """Yield the true law of every instance at each of its times."""
        for instance in self.instances:
            if instance.problem.truth is not None:
                for t in instance.problem.flow.times:
                    yield f"{instance.title} at t = {t:g}", instance, t, instance.problem.truth(t)


def refusal(family: ProblemFamily, dim: int) -> str | None:
    """Return why ``build`` raises ``ValueError`` in this dimension, or ``None`` where it does not."""
    try:
        family.build(dim, 0, generator(0))
    except ValueError as error:
        return str(error)
    return None
