"""One cell, in a process of its own: build the instance, solve it, measure every answer."""

from __future__ import annotations

import math
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from harness.answer_form import require_sound
from harness.catalogue import BUILTIN, import_target, missing
from harness.checkpoint_claim import claimed
from harness.components import Cell
from harness.data_checksum import DATA_UNKNOWN, data_checksum
from harness.errors import unknown
from harness.marks import STORED, beyond
from harness.measure.measure import Measure, Subject, without_figure
from harness.outcome import Measurement, Outcome, Projection
from harness.projection import INSTANCE, curve, projected
from harness.streams import stream
from harness.verdict.order import in_order
from problems.data.data_folder import data_folder
from problems.problem import Problem, ProblemFamily
from solvers.checkpoint import ForeignCheckpoint
from solvers.estimates import Estimate, Particles
from solvers.solver import Diverged, Solution, Solver, Unavailable

T = TypeVar("T")
FAR = 1e150
"""Coordinates beyond have squares, or sums of them, that are no numbers."""


def run_in_child(cells: Sequence[Cell], checkpoint: Path | None = None) -> Iterator[Outcome]:
    """Run cells that differ in their seeds alone, and yield how each ended, in order.

    Several are solved at once by the solver's ``solve_batch``, and count an equal share of its seconds each. Every
    failure of the solver or a measure is an outcome. A solver that ``resumes`` keeps its steps in the folder
    ``checkpoint``, which is removed once they have led to an answer, or to none.
    """
    problems: list[Problem | Outcome] = [outcome_of(cell, partial(build, cell)) for cell in cells]
    ready = {place: problem for place, problem in enumerate(problems) if isinstance(problem, Problem)}
    started = time.perf_counter()
    solving = [cells[place] for place in ready]
    answers = outcome_of(cells[0], partial(solve, solving, list(ready.values()), checkpoint)) if ready else []
    seconds = (time.perf_counter() - started) / max(1, len(ready))
    shared = cpu_seconds() / max(1, len(ready))
    left = None if isinstance(answers, Outcome) else iter(answers)
    for place, cell in enumerate(cells):
        problem = problems[place]
        if isinstance(problem, Outcome):
            yield problem
        elif left is None:
            assert isinstance(answers, Outcome)
            yield answers
        else:
            before = cpu_seconds()
            outcome = outcome_of(cell, partial(evaluate, cell, problem, next(left), seconds))
            together = {"solved_together": len(ready)} if len(ready) > 1 else {}
            yield replace(
                outcome,
                cpu_seconds=shared + cpu_seconds() - before,
                diagnostics=outcome.diagnostics | together,
            )


def outcome_of(cell: Cell, work: Callable[[], T]) -> T | Outcome:
    """Return ``work()``, or the ``Outcome`` that describes its exception."""
    try:
        return work()
    except Diverged as error:
        return Outcome("diverged", str(error), traceback.format_exc())
    except Unavailable as error:
        return Outcome("unavailable", str(error), traceback.format_exc())
    except MemoryError as error:
        return Outcome("memory", f"out of memory: {error}", traceback.format_exc())
    except torch.OutOfMemoryError as error:
        return Outcome("memory", f"out of memory on {cell.device}: {error}", traceback.format_exc())
    except Exception as error:
        # torch reports a failed allocation on the CPU as a plain RuntimeError.
        status = "memory" if "can't allocate memory" in str(error) else "error"
        return Outcome(status, f"{type(error).__name__}: {error}", traceback.format_exc())


def build(cell: Cell) -> Problem | Outcome:
    """Return the instance of a cell, or its outcome when the solver does not apply to it.

    Raises what the problem raises.
    """
    family: ProblemFamily = cell.problem.make()
    solver: Solver = cell.solver.make()
    check_versions(cell, family, solver)
    check_data(cell, family)
    problem = family.build(cell.dim, cell.seed, stream("problem", cell.problem_stream, cell.dim, cell.seed))
    reason = solver.refusal(problem)
    if reason is None:
        problem = with_sure_truth(problem)
        reason = solver.refusal(problem)
    return problem if reason is None else Outcome("skipped", reason)


def check_versions(cell: Cell, family: ProblemFamily, solver: Solver) -> None:
    """Raise ``ValueError`` where a component is of another version here than where the cell was planned.

    Its figures would stand under those of the planned one: on a machine of a cluster with other code, or after a
    plug-in was edited.
    """
    for planned, made in ((cell.problem, family), (cell.solver, solver)):
        if made.version != planned.version:
            raise ValueError(
                f"{planned.kind} {planned.name!r} is version {made.version} here and was planned as version "
                f"{planned.version}: plan again, with the same code everywhere"
            )


def check_data(cell: Cell, family: ProblemFamily) -> None:
    """Raise ``ValueError`` where the data files here are not those that the cell was planned with."""
    if cell.data is None:
        return
    here = data_checksum(family.data_files(data_folder()))
    if cell.data not in (DATA_UNKNOWN, here):
        what = "are other data than" if here else "there are none of"
        raise ValueError(f"{cell.problem.label}: {what} those planned: plan again, with the same files everywhere")


def with_sure_truth(problem: Problem) -> Problem:
    """Return the problem, without the posterior of a filter that cannot be worked out for the observations it has.

    An observation that lies where a grid has no mass, many deviations away, says nothing against the solvers: their
    answers stand, unmeasured, and the reason why is the oracle's.
    """
    if problem.observations is None or problem.truth is None:
        return problem
    try:
        for t in problem.flow.times:
            problem.truth(t)
    except ArithmeticError as error:
        return replace(problem, truth=None, truth_missing=str(error), log_evidence=None)
    return problem


def solve(cells: Sequence[Cell], problems: Sequence[Problem], checkpoint: Path | None) -> list[Solution | Diverged]:
    """Return the solver's answer to each problem; raises what the solver raises.

    A ``checkpoint`` that the solver does not know as its own, of another version of the method, is begun anew.
    """
    try:
        return attempt(cells, problems, checkpoint)
    except ForeignCheckpoint:  # it has been removed
        return attempt(cells, problems, checkpoint)


def attempt(cells: Sequence[Cell], problems: Sequence[Problem], checkpoint: Path | None) -> list[Solution | Diverged]:
    """Return the solver's answer to each problem, from where ``checkpoint`` was left; raises what the solver raises."""
    solver: Any = cells[0].solver.make()
    if (absent := missing(type(solver))) is not None:  # as on a machine of a cluster that has less than the planner's
        raise Unavailable(f"{solver.name} needs {absent}")
    device = torch.device(cells[0].device)
    generators = [stream("solver", cell.run_identity) for cell in cells]
    with claimed(checkpoint) if solver.resumes and checkpoint is not None else nullcontext() as own:
        kept = {} if own is None else {"checkpoint": own}
        if len(cells) == 1:
            return [solver.solve(problems[0], generators[0], device, **kept)]
        answers: list[Solution | Diverged] = solver.solve_batch(problems, generators, device, **kept)
        return answers


def evaluate(cell: Cell, problem: Problem, solution: Solution | Diverged, seconds: float) -> Outcome:
    """Return the measured answer of the solver, which took ``seconds``.

    Raises as :func:`require_sound` does for an answer that is unusable, and as :func:`measure` does.
    """
    if isinstance(solution, Diverged):
        raise solution
    solver: Solver = cell.solver.make()
    solved = time.perf_counter()
    require_sound(solution, problem, solver.name)
    measurements, versions, unsuited = measure(cell, problem, solution, solver.sample_size)
    projections = tuple(project(cell, problem, solution))
    measured = time.perf_counter()
    return Outcome(
        "ok",
        measurements=tuple(measurements),
        measures=versions,
        unsuited=unsuited,
        setup_seconds=float(solution.cost.setup_seconds),
        solve_seconds=seconds + float(solution.cost.earlier_seconds),
        measure_seconds=measured - solved,
        peak_memory=peak_memory(),
        gradient_evaluations=int(solution.cost.gradient_evaluations),
        diagnostics=said({name: plain_value(value) for name, value in solution.diagnostics.items()}, solver),
        traces=plain(solution.traces),
        assimilated=plain(solution.assimilated),
        projections=projections,
    )


def said(diagnostics: dict[str, float | int | str], solver: Solver) -> dict[str, float | int | str]:
    """Return diagnostics, with what is beyond the limits of a plug-in's method, which tables will not know."""
    found = [] if solver.name in BUILTIN["solver"] else beyond(solver.limits, diagnostics)
    return diagnostics | ({STORED: "; ".join(found)} if found else {})


def plain_value(value: Any) -> float | int | str:
    """Return a diagnostic as a plain number or text, whether it is Python's, NumPy's or a tensor of one number.

    Raises ``TypeError`` for anything else.
    """
    if not isinstance(value, float | int | str) or type(value).__module__ == "numpy":
        value = value.item()
    if not isinstance(value, float | int | str):
        raise TypeError(f"a diagnostic must be a number or a text, got {value!r}")
    return value


def plain(series: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """Return the series with plain floats, as the store keeps them."""
    return {name: tuple(map(float, values)) for name, values in series.items()}


def measure(
    cell: Cell, problem: Problem, solution: Solution, sample_size: int | None
) -> tuple[list[Measurement], dict[str, int], dict[str, str]]:
    """Return every measurement, the versions of the measures asked, and why some of them gave none.

    Raises ``ValueError`` for a measure that does not exist and for a plug-in's that gives NaN, and ``Diverged`` where a
    built-in one gives NaN: then the answer is to blame.
    """
    taken, versions, unsuited = [], {}, {}
    measures = {name: made(cell, name) for name in asked(cell, problem)}
    family: ProblemFamily = cell.problem.make()
    places = {name: place for place, name in enumerate(in_order(measures, family.deciding), start=1)}
    for name in family.measures:
        if cell.evaluation.measures is None and name not in measures:
            versions[name], unsuited[name] = made(cell, name).version, "this instance does not name it"
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        subject = Subject(estimate, problem.truth(t) if problem.truth else None, problem, t, solution.assimilated)
        for name, measure in measures.items():
            versions[name] = measure.version
            why = without_figure(measure, subject, cell.evaluation.draws)
            if why is not None:
                unsuited[name] = why
                continue
            generator = stream("evaluation", cell.problem_stream, cell.dim, cell.seed, t, name)
            figure = measure(subject, cell.evaluation.draws, generator)
            value, error = float(figure.value), float(figure.standard_error)
            if math.isnan(value):
                if name not in BUILTIN["measure"]:
                    raise ValueError(f"measure {name!r} gives NaN at t = {t:g}: it must say why it is unsuited instead")
                raise Diverged(f"{name} at t = {t:g} is not a number{distance(estimate)}")
            size = None if sample_size is None else int(sample_size)
            decides = places[name] if measure.proper(estimate) else 0
            taken.append(Measurement(float(t), name, value, error, figure.estimator, size, decides))
    return taken, versions, unsuited


def distance(estimate: Estimate) -> str:
    """Return how far particles lie from the origin, where that is so far that squares overflow, else nothing."""
    largest = float(estimate.points.abs().max()) if isinstance(estimate, Particles) else 0.0
    return f": squares of coordinates as large as {largest:.3g} overflow" if largest > FAR else ""


def asked(cell: Cell, problem: Problem) -> tuple[str, ...]:
    """Return the measures that the suite asks for, else those that the problem names."""
    return problem.measures if cell.evaluation.measures is None else cell.evaluation.measures


def made(cell: Cell, name: str) -> Measure:
    """Return the measure of this name; raises ``ValueError`` with the nearest one when there is none."""
    targets = {**BUILTIN["measure"], **dict(cell.evaluation.added)}
    if name not in targets:
        raise ValueError(str(unknown("measure", name, targets)))
    measure: Measure = import_target(targets[name])()
    return measure


def project(cell: Cell, problem: Problem, solution: Solution) -> Iterator[Projection]:
    """Yield the points that plots show of each estimate: draws in the plane of the truth, on the line its density.

    Only instance 0 has them, and only where the truth is known; an estimate without a density has no curve.

    Raises ``Diverged`` for draws or a density that are not finite.
    """
    if problem.truth is None or cell.seed != INSTANCE:
        return
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        if problem.flow.dim == 1:
            found = curve(estimate, problem.truth(t), t)
            if found is not None:
                yield found
            continue
        generator = stream("projection", cell.problem_stream, cell.dim, cell.seed, t)
        yield projected(estimate, problem.truth(t), t, generator, problem.view)


def cpu_seconds() -> float:
    """Return the CPU time that this process has used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
