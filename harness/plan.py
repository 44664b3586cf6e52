"""From a suite to its cells: one problem × dimension × seed × solver × settings each, planned before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalogue import BUILTIN, Catalogue
from harness.components import Cell, Component, Evaluation
from harness.data_checksum import data_checksum
from harness.entries import changed, chosen
from harness.errors import UsageError
from harness.expansion import expand, labelled_apart
from harness.parsing import parse_numbers, parse_seeds
from harness.plugin_code import code_checksum
from harness.request import Change
from harness.suite import ProblemEntry, SolverEntry, Suite
from problems.data.data_folder import data_in


@dataclass(frozen=True)
class Selection:
    """What the command line keeps or replaces of a suite; ``None`` leaves the suite's own.

    ``data`` is the folder where problems find their data, ``changes`` are settings that are replaced.
    """

    problems: Sequence[str] | None = None
    solvers: Sequence[str] | None = None
    dims: str | None = None
    seeds: str | None = None
    device: str = "cpu"
    data: str | None = None
    changes: Sequence[Change] = ()


def plan(suite: Suite, selection: Selection, components: Catalogue) -> list[Cell]:
    """Return the cells of a suite, each once, in a fixed order; data sets are looked for in the selection's folder.

    Every instance also gets its bounds, whatever is selected: the initial law, the exact law, and exact draws as many
    as each solver's particles; without them no figure has its floor.

    Raises ``UsageError`` for unknown names, settings that are not allowed, dimensions that a problem does not have,
    steps that do not reach the times of a problem, and what two labels would stand for.
    """
    with data_in(selection.data):
        return planned(suite, selection, components)


def planned(suite: Suite, selection: Selection, components: Catalogue) -> list[Cell]:
    """Return the cells of a suite with the data sets of this process's folder; raises ``UsageError`` as `plan` does."""
    problems = chosen("problem", suite.problems, selection.problems, components)
    solvers = chosen("solver", suite.solvers, selection.solvers, components)
    problems, solvers = changed(problems, solvers, selection.changes)
    checksums: dict[tuple[Path, ...], str | None] = {}
    added = tuple(sorted(components.targets["measure"].items() - BUILTIN["measure"].items()))
    codes = tuple((name, code_checksum(target)) for name, target in added)
    evaluation = Evaluation(suite.draws, tuple(suite.measures) if suite.measures is not None else None, added, codes)
    expanded = [(entry, list(expand("solver", entry, components))) for entry in solvers]
    for dim in {None, *(dim for entry in solvers for dim in own_dims(entry) or ())}:
        check_labels([component for entry, variants in expanded if runs_in(entry, dim) for component, _ in variants])
    cells: dict[str, Cell] = {}
    posed = [(entry, *each) for entry in problems for each in expand("problem", entry, components)]
    for problem_entry, problem, family in labelled_apart(posed):
        applicable = [
            (entry, variant)
            for entry, variants in expanded
            if entry.problems is None or problem.name in entry.problems
            for variant in variants
        ]
        data = checksum_of(family, selection.data, checksums)
        chosen_dims = dimensions(
            suite, problem_entry, problem, family, selected_for(problem_entry, problems, selection)
        )
        meeting = [each for each in applicable if any(runs_in(each[0], dim) for dim in chosen_dims)]
        check_steps(problem, family, [variant for _, variant in meeting])
        line_ups = {
            dim: with_bounds([variant for entry, variant in applicable if runs_in(entry, dim)], components)
            for dim in chosen_dims
        }
        for dim, seed in itertools.product(
            line_ups, parse_seeds(str(first_given(selection.seeds, problem_entry.seeds, suite.seeds)))
        ):
            for solver in line_ups[dim]:
                cell = Cell(problem, solver, dim, seed, evaluation, selection.device, data)
                first = cells.setdefault(cell.key, cell).problem.label
                if first != problem.label:
                    raise UsageError(
                        f"{first!r} and {problem.label!r} are one problem with the same settings, "
                        f"and would be one row: leave one out"
                    )
    if not cells:
        raise UsageError("the selection leaves nothing to run: no problem has one of these dimensions")
    return list(cells.values())


def checksum_of(family: Any, folder: str | None, known: dict[tuple[Path, ...], str | None]) -> str | None:
    """Return the checksum of a problem's data files in a folder, each read once; ``None`` where it has none.

    Raises ``UsageError`` for a file that cannot be read.
    """
    files = () if family is None else family.data_files(None if folder is None else Path(folder))
    if files not in known:
        try:
            known[files] = data_checksum(files)
        except OSError as error:
            raise UsageError(f"data file {str(error.filename)!r} cannot be read: {error.strerror}") from error
    return known[files]


def one_cell(cells: Sequence[Cell], start: str) -> Cell:
    """Return the cell whose key starts so; raises ``UsageError`` for none or several."""
    found = [cell for cell in cells if cell.key.startswith(start)]
    if len(found) != 1:
        raise UsageError(f"{len(found)} of the {len(cells)} planned cells have a key that starts with {start!r}")
    return found[0]


def first_given(*values: Any) -> Any:
    """Return the first value that is not ``None``."""
    return next(value for value in values if value is not None)


def own_dims(entry: SolverEntry | ProblemEntry) -> tuple[int, ...] | None:
    """Return the dimensions that a solver or problem is restricted to, or ``None`` where it is not."""
    return None if entry.dims is None else parse_numbers("dims", str(entry.dims), smallest=1)


def runs_in(entry: SolverEntry | ProblemEntry, dim: int | None) -> bool:
    """Return whether a solver or problem runs in dimension ``dim``; ``None`` stands for those that no entry names."""
    dims = own_dims(entry)
    return dims is None or dim in dims


def check_labels(solvers: Sequence[Component]) -> None:
    """Raise ``UsageError`` when two different solvers would stand in the tables under one name."""
    seen: dict[str, str] = {}
    for solver in solvers:
        if seen.setdefault(solver.label, solver.identity) != solver.identity:
            raise UsageError(f"two solvers of the suite are both labelled {solver.label!r}: give one of them a label")


def check_twins(solvers: Sequence[Component]) -> None:
    """Raise ``UsageError`` when a solver with the same settings has two labels: the store has its cells once."""
    seen: dict[str, str] = {}
    for solver in solvers:
        first = seen.setdefault(solver.identity, solver.label)
        if first != solver.label:
            raise UsageError(
                f"{first!r} and {solver.label!r} are one solver with the same settings on the same problem, "
                f"and would be one row: leave one out"
            )


def check_steps(problem: Component, family: Any, solvers: Sequence[tuple[Component, Any]]) -> None:
    """Raise ``UsageError`` when the settings of a solver cannot reach the times of the problem."""
    for solver, made in solvers:
        if family is None or made is None:
            continue
        try:
            made.check_times(family.times)
        except ValueError as error:
            raise UsageError(f"{solver.label} on {problem.label}: {error}") from error


def with_bounds(solvers: Sequence[tuple[Component, Any]], components: Catalogue) -> list[Component]:
    """Return the bounds of an instance, the initial law and oracles of the solvers' sizes, and then the solvers.

    Raises ``UsageError`` when two different ones have one label, and when one has two.
    """
    check_twins([component for component, _ in solvers])
    sample_sizes = sorted({made.sample_size for _, made in solvers if made is not None and made.sample_size})
    bounds = [SolverEntry(use="initial"), SolverEntry(use="oracle")]
    if sample_sizes:
        bounds.append(SolverEntry(use="oracle", grid={"particles": sample_sizes}))
    line_up = [component for entry in bounds for component, _ in expand("solver", entry, components)]
    known = {component.identity for component in line_up}
    line_up += [component for component, _ in solvers if component.identity not in known]
    check_labels(line_up)
    return line_up


def selected_for(entry: ProblemEntry, problems: Sequence[ProblemEntry], selection: Selection) -> tuple[int, ...] | None:
    """Return the dimensions that are selected for an entry, or ``None`` where none is selected.

    One that entries of the same problem name for themselves is for these alone; one that none names is for all.
    """
    if selection.dims is None:
        return None
    wanted = parse_numbers("dims", selection.dims, smallest=1)
    if entry.dims is None:
        return wanted
    named = {dim for each in problems if each.use == entry.use for dim in own_dims(each) or ()}
    return tuple(dim for dim in wanted if runs_in(entry, dim) or dim not in named)


def of_suite(suite: Suite, label: str, wanted: tuple[int, ...], own: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of a problem's ``own`` dimensions that the suite names; all where it names no dimension.

    A problem of a single dimension, such as a data set, has it whatever the suite names. Raises ``UsageError`` where
    the suite names none of several.
    """
    if "dims" not in suite.model_fields_set:
        return own
    named = tuple(dim for dim in own if dim in wanted)
    if not named and len(own) > 1:
        raise UsageError(
            f"{label} has none of the suite's dims {suite.dims} (there are: {', '.join(map(str, own))}); a problem may "
            f"have dims of its own"
        )
    return named or own


def dimensions(
    suite: Suite, entry: ProblemEntry, problem: Component, family: Any, selected: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the dimensions to run: those selected, else those of the entry, else the suite's.

    Raises ``UsageError`` for a dimension of the entry, or of a suite for a problem of any, that it does not have.
    """
    try:
        own = None if family is None else family.dims()
    except ValueError as error:
        raise UsageError(f"{problem.label}: {error}") from error
    if selected is not None:
        return selected if own is None else tuple(dim for dim in selected if dim in own)
    wanted = parse_numbers("dims", str(first_given(entry.dims, suite.dims)), smallest=1)
    if entry.dims is None and own is not None:
        return of_suite(suite, problem.label, wanted, tuple(own))
    for dim in wanted:
        if own is not None and dim not in own:
            raise UsageError(f"{problem.label} has no dimension {dim} (there are: {', '.join(map(str, own))})")
    return wanted
