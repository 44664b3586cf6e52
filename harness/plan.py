"""From a suite to its cells: one problem × dimension × seed × solver × settings each, planned before anything runs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.catalogue import BUILTIN, Catalogue, Kind, all_settings, import_target, make, missing
from harness.code_texts import as_text
from harness.data_checksum import DATA_UNKNOWN, data_checksum
from harness.entries import changed, chosen
from harness.errors import UsageError
from harness.identity import former
from harness.parsing import parse_numbers, parse_seeds
from harness.plugin_code import code_checksum
from harness.request import Change
from harness.suite import Entry, ProblemEntry, SolverEntry, Suite
from problems.data.data_folder import data_in


@dataclass(frozen=True)
class Component:
    """A problem or a solver with all its settings, as text, so that it travels and is hashed.

    ``missing`` says why the component cannot be used here. One that cannot be imported has the suite's settings alone.
    ``code`` is the checksum of a plug-in's files, ``None`` of what is no plug-in.
    """

    kind: Kind
    name: str
    label: str
    target: str
    version: int
    settings: str
    missing: str | None = None
    code: str | None = None

    def make(self) -> Any:
        """Import the class and return it with its settings."""
        return make(self.kind, import_target(self.target), json.loads(self.settings))

    @cached_property
    def identity(self) -> str:
        """Text that differs from that of any other component of today."""
        return json.dumps([self.name, self.version, self.settings])

    @cached_property
    def _counting(self) -> dict[str | None, tuple[str, str, str]]:
        """What was worked out of ``counting`` so far: a component is asked once for every cell of a suite."""
        return {}

    @cached_property
    def sample_size(self) -> int | None:
        """The particles of a solver's answers, ``None`` for one that has none."""
        if self.missing is not None:
            found = json.loads(self.settings).get("particles")
            return found if isinstance(found, int) else None
        size: int | None = self.make().sample_size
        return size

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The measures that a problem's family says that its instances name; none where it says nothing."""
        return () if self.missing is not None else tuple(import_target(self.target).measures)

    def counting(self, problem: str | None = None) -> tuple[str, str, str]:
        """Return the name and the settings, as text, that count on a problem of that old name, and both with version.

        They decide keys and streams; the third is the text that stands for the component in them.
        """
        if problem not in self._counting:
            name, settings = self.name, self.settings
            if self.missing is None:
                name, counted = former(self.kind, name, json.loads(settings), self.target, problem)
                settings = json.dumps(counted, sort_keys=True)
            self._counting[problem] = name, settings, json.dumps([name, self.version, settings])
        return self._counting[problem]

    def formerly(self, problem: str | None = None) -> tuple[str, str]:
        """Return the name and the settings, as text, that count for keys and streams, on a problem of that old name."""
        name, settings, _ = self.counting(problem)
        return name, settings


@dataclass(frozen=True)
class Evaluation:
    """How answers are measured: evaluation draws a side, and the measures (``None``: those that the problem names).

    ``added`` says where measures live that are no built-in ones, by name and target, and ``codes`` the checksums of
    their files, by name.
    """

    draws: int
    measures: tuple[str, ...] | None = None
    added: tuple[tuple[str, str], ...] = ()
    codes: tuple[tuple[str, str | None], ...] = ()

    @cached_property
    def identity(self) -> str:
        """What the evaluation contributes to the key of a cell."""
        return json.dumps([self.draws, self.measures])


@dataclass(frozen=True)
class Cell:
    """One run of one solver on one instance in dimension ``dim``, and how it is measured.

    ``data`` is the checksum of the data files that the instance is made of, ``None`` where there are none, and
    ``DATA_UNKNOWN`` for a cell of a store that did not say so.
    """

    problem: Component
    solver: Component
    dim: int
    seed: int
    evaluation: Evaluation
    device: str
    data: str | None = None

    @cached_property
    def place(self) -> tuple[str, str, str, str]:
        """Problem, its settings, solver and its settings by the names that count, whatever they are called today."""
        problem, problem_settings = self.problem.formerly()
        return problem, problem_settings, *self.solver.formerly(problem)

    @property
    def problem_stream(self) -> str:
        """The name of the problem that its random streams go by."""
        return self.place[0]

    @cached_property
    def run_identity(self) -> str:
        """Text of everything that the solver's random stream depends on."""
        problem, _, solved = self.problem.counting()
        return f"{solved} {self.solver.counting(problem)[2]} {self.dim} {self.seed}"

    @cached_property
    def _plugins(self) -> dict[str, tuple[str, str]]:
        """The targets of its plug-ins and the checksums of their files, by kind and name."""
        found = {f"{each.kind} {each.name}": (each.target, each.code) for each in (self.problem, self.solver)}
        if self.evaluation.codes:
            asked, targets = self.evaluation.measures or self.problem.declared, dict(self.evaluation.added)
            found |= {f"measure {name}": (targets[name], code) for name, code in self.evaluation.codes if name in asked}
        return {what: (target, code) for what, (target, code) in found.items() if code is not None}

    @cached_property
    def code(self) -> str:
        """The checksums of the files of its plug-ins, by kind and name (JSON); the empty text where it has none."""
        return as_text({what: code for what, (_, code) in self._plugins.items()})

    def code_here(self) -> str:
        """Return the same as the plug-in files are now: one may have been edited since the cell was planned."""
        return as_text(
            {
                what: (code_checksum(target) or code) if ".py:" in target else code
                for what, (target, code) in self._plugins.items()
            }
        )

    @cached_property
    def key(self) -> str:
        """Hash of everything that the cell's figures depend on."""
        text = f"{self.run_identity} {self.evaluation.identity} {self.device}"
        if self.data not in (None, DATA_UNKNOWN):
            text += f" data {self.data}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


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
    and steps that do not reach the times of a problem.
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
                cells.setdefault(cell.key, cell)
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


def labelled_apart(
    problems: Sequence[tuple[ProblemEntry, Component, Any]],
) -> list[tuple[ProblemEntry, Component, Any]]:
    """Return problems whose labels tell them apart: of those that share one, each says the settings that differ."""
    shared: dict[str, list[dict[str, Any]]] = {}
    for _, problem, _ in problems:
        shared.setdefault(problem.label, []).append(json.loads(problem.settings))
    found = []
    for entry, problem, family in problems:
        own, alike = json.loads(problem.settings), shared[problem.label]
        differing = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        label = " ".join([problem.label, *(f"{name}={own[name]}" for name in differing)])
        found.append((entry, dataclasses.replace(problem, label=label), family))
    return found


def expand(kind: Kind, entry: Entry, components: Catalogue) -> Iterator[tuple[Component, Any]]:
    """Yield every combination of an entry's grid as a component and the object it describes (``None`` if missing).

    Raises ``UsageError`` for an unknown name, an empty grid, and settings that are not allowed.
    """
    target = components.target(kind, entry.use)
    code = None if BUILTIN[kind].get(entry.use) == target else code_checksum(target)
    for name, choices in entry.grid.items():
        if not choices:
            raise UsageError(f"{kind} {entry.use!r}: the grid of {name} is empty")
    for values in itertools.product(*entry.grid.values()):
        varied = dict(zip(entry.grid, values, strict=True))
        label = " ".join([entry.label or entry.use, *(f"{name}={value}" for name, value in varied.items())])
        settings = entry.settings | varied
        try:
            component = import_target(target)
        except ImportError as error:
            text = json.dumps(settings, sort_keys=True)
            yield Component(kind, entry.use, label, target, 0, text, missing=f"{entry.use} needs {error}"), None
            continue
        made = make(kind, component, settings)
        text = json.dumps(all_settings(made), sort_keys=True)
        absent = missing(component)
        why = None if absent is None else f"{entry.use} needs {absent}"
        yield Component(kind, entry.use, label, target, component.version, text, why, code), made


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


def dimensions(
    suite: Suite, entry: ProblemEntry, problem: Component, family: Any, selected: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the dimensions to run: those selected, else the suite's, where the problem exists in them.

    Raises ``UsageError`` for a dimension of the suite that the problem does not have.
    """
    try:
        own = None if family is None else family.dims()
    except ValueError as error:
        raise UsageError(f"{problem.label}: {error}") from error
    if selected is not None:
        return selected if own is None else tuple(dim for dim in selected if dim in own)
    if entry.dims is None and own is not None:
        return tuple(own)
    wanted = parse_numbers("dims", str(first_given(entry.dims, suite.dims)), smallest=1)
    for dim in wanted:
        if own is not None and dim not in own:
            raise UsageError(f"{problem.label} has no dimension {dim} (there are: {', '.join(map(str, own))})")
    return wanted
