"""Checks that a solver, a problem family or a measure keeps its contract, for ``wgfbench check`` and the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.catalogue import BUILTIN, Catalogue, Kind, catalogue, import_target
from harness.conformance import measures as measure_contract
from harness.conformance import problems as problem_contract
from harness.conformance import solvers as solver_contract
from harness.conformance.contract import Verdict, verdict
from harness.conformance.gallery import Exhibit, gallery
from harness.conformance.instances import ProblemTrial
from harness.conformance.runs import SolverTrial
from harness.errors import unknown

__all__ = ["CHECKS", "Verdict", "examine", "exhibits", "print_verdict", "trial", "verdicts"]

CHECKS: Mapping[Kind, Mapping[str, Any]] = {
    "solver": solver_contract.CHECKS,
    "problem": problem_contract.CHECKS,
    "measure": measure_contract.CHECKS,
}
"""Checks by kind and name."""


def verdicts(name: str, plugins: Sequence[Path] = ()) -> list[Verdict]:
    """Return the verdict of every check of the solver, problem family or measure ``name``, with its default settings.

    Raises ``UsageError`` for an unknown name, with the nearest right one.
    """
    components = catalogue(plugins)
    kinds: list[Kind] = [kind for kind in CHECKS if name in components.targets[kind]]
    if not kinds:
        raise unknown(
            "solver, problem or measure", name, {name for kind in CHECKS for name in components.targets[kind]}
        )
    return [found for kind in kinds for found in examine(kind, name, components)]


def examine(kind: Kind, name: str, components: Catalogue) -> list[Verdict]:
    """Return the verdicts of one component; one that cannot be imported has that as its only verdict.

    Raises ``UsageError`` for an unknown name, with the nearest right one.
    """
    try:
        subject = trial(kind, name, components)
    except Exception as error:
        return [Verdict("imports", False, f"{type(error).__name__}: {error}")]
    if kind == "problem" and name not in BUILTIN["problem"]:
        undeclared = undeclared_dimensions(subject)
        if undeclared is not None:
            return [Verdict("dimensions", False, undeclared)]
    return [verdict(check, run, subject) for check, run in CHECKS[kind].items()]


def undeclared_dimensions(subject: ProblemTrial) -> str | None:
    """Return what a family must declare of its dimensions before anything else can be checked, or ``None``."""
    try:
        return subject.undeclared
    except Exception:
        return None  # what its checks will say


def trial(kind: Kind, name: str, components: Catalogue, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the trial that all checks of one component share: its instances, and for a solver its runs."""
    component = import_target(components.target(kind, name))
    if kind == "problem":
        return ProblemTrial(component, frozenset(components.targets["measure"]))
    shown = exhibits(tuple(sorted(components.targets["problem"].items())))
    if kind == "measure":
        return measure_contract.MeasureTrial(component, shown)
    return SolverTrial(component, settings or {}, shown)


@cache
def exhibits(problems: tuple[tuple[str, str], ...]) -> tuple[Exhibit, ...]:
    """Return the gallery of these problems, built once: some truths are costly."""
    return tuple(gallery(dict(problems)))


def print_verdict(name: str, plugins: Sequence[Path] = ()) -> bool:
    """Print the verdict of every check of a component, and return whether it passed them all."""
    found = verdicts(name, plugins)
    width = max(len(each.check) for each in found)
    for each in found:
        print(f"{'ok  ' if each.passed else 'FAIL'}  {each.check:<{width}}  {each.detail}")
    failed = sum(not each.passed for each in found)
    outcome = "keeps its contract" if not failed else f"breaks its contract: {failed} of {len(found)} checks failed"
    print(f"{name} {outcome}")
    return not failed
