"""What a solution in this process is worth: the measures of a cell, with the floor beside each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from harness.answer_form import require_sound
from harness.arguments import Files, paths
from harness.catalogue import catalogue
from harness.cell import measure
from harness.components import Component, Evaluation
from harness.errors import UsageError, unknown
from harness.instance import Instance, cell_of, component_of, target_of
from harness.measure.measure import Measure
from harness.streams import stream
from problems.data.data_folder import data_in
from solvers.solver import Solution, Solver

DRAWS = 8192
"""Evaluation draws a side, as in a suite that does not say how many."""
COLUMNS = ("t", "measure", "value", "standard_error", "floor", "estimator")


def taken(
    instance: Instance,
    solver: Component,
    solution: Solution,
    sample_size: int | None,
    measures: Sequence[str | type[Measure] | Measure],
    draws: int,
    plugin: Files = (),
) -> pd.DataFrame:
    """Return a row for each time and measure, of those named or else of all that suit, with ``COLUMNS``.

    Raises ``UsageError`` for a measure that there is not, or that is named and does not suit, where none suits, and
    as :func:`harness.answer_form.require_sound` does.
    """
    names, targets = named(measures, plugin)
    evaluation = Evaluation(draws, tuple(names) if names else None, tuple(sorted(targets.items())))
    cell = cell_of(instance, solver, evaluation, "cpu")
    require_sound(solution, instance.problem, solver.name)
    with data_in(instance.folder):
        figures, taken_in, unsuited = measure(cell, instance.problem, solution, sample_size)
        found = floors(instance, evaluation, sample_size)
    for name in names:
        if name in unsuited:
            raise UsageError(f"{name} does not suit {solver.label}: {unsuited[name]}")
    if not figures:
        whys = "; ".join(f"{name}: {unsuited[name]}" for name in taken_in if name in unsuited)
        raise UsageError(f"no measure suits {solver.label} on {instance.component.label} ({whys or 'it names none'})")
    rows = [
        (each.t, each.metric, each.value, each.standard_error, found.get((each.t, each.metric)), each.estimator)
        for each in figures
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("t", "value", "standard_error", "floor"), float))


def named(measures: Sequence[str | type[Measure] | Measure], plugin: Files) -> tuple[list[str], dict[str, str]]:
    """Return the names of measures, and where all live; raises ``UsageError`` for what is none."""
    targets, names = dict(catalogue(paths(plugin)).targets["measure"]), []
    for each in measures:
        if isinstance(each, str):
            name = each
        else:
            found = each if isinstance(each, type) else type(each)
            if not issubclass(found, Measure):
                raise UsageError(f"a measure is meant, by its name, its class or an object of it; got {each!r}")
            name = found.name
            targets[name] = target_of(found)
        if name not in targets:
            raise unknown("measure", name, targets)
        names.append(name)
    return names, targets


def floors(instance: Instance, evaluation: Evaluation, sample_size: int | None) -> dict[tuple[float, str], float]:
    """Return what the measures say of exact draws, or of the exact law where ``sample_size`` is ``None``.

    There are none where the truth is not known.
    """
    problem = instance.problem
    if problem.truth is None:
        return {}
    exact = component_of("solver", "oracle", {"particles": sample_size}, ())
    oracle: Solver = exact.make()
    cell = cell_of(instance, exact, evaluation, "cpu")
    solution = oracle.solve(problem, stream("solver", cell.run_identity), torch.device("cpu"))
    return {(each.t, each.metric): each.value for each in measure(cell, problem, solution, sample_size)[0]}
