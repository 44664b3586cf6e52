"""What happens in a cell: build the instance, solve it, measure every answer. Runs in a process of its own."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
import traceback
from dataclasses import dataclass, field

import torch

from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.measure.measure import Measure, Subject
from harness.plan import Cell
from harness.streams import stream
from problems.problem import Problem, ProblemFamily
from solvers.solver import Diverged, Solution, Solver, Unavailable

STATUSES = ("ok", "skipped", "unavailable", "diverged", "error", "timeout", "memory", "crashed")


@dataclass(frozen=True)
class Measurement:
    """One figure of a cell; ``sample_size`` is the number of particles it was measured on, if it was particles."""

    t: float
    metric: str
    value: float
    standard_error: float
    estimator: str
    sample_size: int | None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. Seconds are wall-clock except ``cpu_seconds``; memory is in bytes."""

    status: str
    reason: str | None = None
    traceback: str | None = None
    measurements: tuple[Measurement, ...] = ()
    setup_seconds: float | None = None
    solve_seconds: float | None = None
    measure_seconds: float | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    gradient_evaluations: int | None = None
    diagnostics: dict[str, float | int | str] = field(default_factory=dict)


def run_cell(cell: Cell) -> Outcome:
    """Run one cell and return how it ended; every failure of the solver or a measure is an outcome."""
    try:
        return solve_and_measure(cell)
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


def solve_and_measure(cell: Cell) -> Outcome:
    """Build, solve and measure a cell; raises what the solver raises."""
    family: ProblemFamily = cell.problem.make()
    solver: Solver = cell.solver.make()
    problem = family.build(cell.size, cell.seed, stream("problem", cell.problem.name, cell.size, cell.seed))
    reason = solver.unsupported(problem)
    if reason is not None:
        return Outcome("skipped", reason)
    device = torch.device(cell.device)
    started = time.perf_counter()
    solution = solver.solve(problem, stream("solver", cell.run_identity), device)
    solved = time.perf_counter()
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        defect = estimate.defect()
        if defect is not None:
            raise Diverged(f"at t = {t:g}: {defect}")
    measurements = measure(cell, problem, solution, solver.sample_size)
    measured = time.perf_counter()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Outcome(
        "ok",
        measurements=tuple(measurements),
        setup_seconds=solution.cost.setup_seconds,
        solve_seconds=solved - started,
        measure_seconds=measured - solved,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory=peak_memory(),
        gradient_evaluations=solution.cost.gradient_evaluations,
        diagnostics=json.loads(json.dumps(dict(solution.diagnostics))),
    )


def measure(cell: Cell, problem: Problem, solution: Solution, sample_size: int | None) -> list[Measurement]:
    """Return every measure that says something about each estimate; raises ``Diverged`` for one that is NaN."""
    found = []
    names = problem.measures if cell.evaluation.measures is None else cell.evaluation.measures
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        subject = Subject(estimate, problem.truth(t) if problem.truth else None, problem)
        for name in names:
            measure: Measure = import_target(CATALOGUE[name].target)()
            if measure.unsuited(subject) is not None:
                continue
            generator = stream("evaluation", cell.problem.name, cell.size, cell.seed, t, name)
            figure = measure(subject, cell.evaluation.draws, generator)
            if math.isnan(figure.value):
                raise Diverged(f"{name} at t = {t:g} is not a number")
            found.append(Measurement(t, name, figure.value, figure.standard_error, figure.estimator, sample_size))
    return found


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
