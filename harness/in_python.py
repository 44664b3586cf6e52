"""The bench from Python: an instance of a problem, a solver's answer to it, what that is worth, and whole sweeps.

Instances and random streams are those of the command line: an answer here has the figures, bit for bit, of the cell of
a sweep with the same settings and seed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from harness import DEFAULT_STORE, server
from harness.answer import Answer
from harness.answer_form import require_sound
from harness.arguments import Files, changes, count, listed, numbers, paths, text, whole
from harness.cell import with_sure_truth
from harness.components import Evaluation
from harness.errors import UsageError
from harness.frame import load
from harness.instance import Instance, cell_of, component_of
from harness.measure.measure import Measure
from harness.measuring import DRAWS
from harness.parsing import parse_names
from harness.progress import outcome_lines, say
from harness.request import Request
from harness.running import PlannedRun
from harness.streams import stream
from harness.supervise import check_data, check_device
from problems.data.data_folder import data_in
from problems.problem import ProblemFamily
from solvers.reproducibility import hold
from solvers.solver import Solution, Solver


def problem(
    family: str | type[ProblemFamily] | ProblemFamily,
    /,
    dim: int | None = None,
    seed: int = 0,
    *,
    plugin: Files = (),
    folder: str | Path | None = None,
    **settings: Any,
) -> Instance:
    """Return instance number ``seed`` of a problem: a name of ``wgfbench list``, or a family of your own.

    ``settings`` are those of the family, ``dim`` the smallest dimension that it has unless it is given. ``plugin``
    names Python files that hold further problems, ``folder`` one of ``NAME.csv.gz`` data sets.

    Raises ``UsageError`` for a name, a setting or a dimension that there is not, and for what its instance is not
    made of, such as an observation that is missing.
    """
    hold()
    found = None if folder is None else check_data(Path(folder))
    with data_in(found):
        component = component_of("problem", family, settings, plugin)
        made: ProblemFamily = component.make()
        try:
            known = made.dims()
        except ValueError as error:
            raise UsageError(f"{component.label}: {error}") from error
        dim = count("dim", dim) or min(known or (1,))
        seed = whole("seed", seed, 0)
        if known and dim not in known:
            raise UsageError(f"{component.label} has no dimension {dim} (there are: {', '.join(map(str, known))})")
        try:
            built = made.build(dim, seed, stream("problem", component.formerly()[0], dim, seed))
        except ValueError as error:
            raise UsageError(f"{component.label}: {str(error).removeprefix(f'{component.label}: ')}") from error
    return Instance(component, dim, seed, built, found)


def solve(
    instance: Instance,
    solver: str | type[Solver] | Solver,
    /,
    *,
    device: str = "cpu",
    plugin: Files = (),
    **settings: Any,
) -> Answer:
    """Return the answer of a solver, a name of ``wgfbench list`` or one of your own, with these ``settings``.

    It runs in this process, without limits of time and memory; ``sweep`` gives every run a process of its own.

    Raises ``UsageError`` for a name or a setting that there is not, steps that do not reach the times, and a solver
    that does not apply, ``TypeError`` and ``ValueError`` for an answer of another form than is asked for, and
    ``Diverged`` for one that is not finite.
    """
    if not isinstance(instance, Instance):
        raise UsageError(f"solve takes an instance that `problem` returns, got {type(instance).__name__}")
    component = component_of("solver", solver, settings, plugin)
    made: Solver = component.make()
    posed = instance.problem
    try:
        made.check_times(posed.flow.times)
    except ValueError as error:
        raise UsageError(f"{component.label} on {instance.component.label}: {error}") from error
    why = made.refusal(posed)
    if why is None:
        posed = with_sure_truth(posed)
        why = made.refusal(posed)
    if why is not None:
        raise UsageError(f"{component.label} does not apply to {instance.component.label}: {why}")
    instance = dataclasses.replace(instance, problem=posed)
    where = check_device(str(device))
    identity = cell_of(instance, component, Evaluation(DRAWS), where).run_identity
    began = time.perf_counter()
    found = made.solve(posed, stream("solver", identity), torch.device(where))
    seconds = time.perf_counter() - began
    require_sound(found, posed, made.name)
    return Answer(
        **{each.name: getattr(found, each.name) for each in dataclasses.fields(Solution)},
        instance=instance,
        component=component,
        sample_size=made.sample_size,
        seconds=seconds + float(found.cost.earlier_seconds),
    )


def measure(
    answer: Answer, /, *measures: str | type[Measure] | Measure, draws: int = DRAWS, plugin: Files = ()
) -> pd.DataFrame:
    """Return what an answer is worth by these measures, else by all that its problem names: a row a time and measure.

    Columns are ``t``, ``measure``, ``value``, ``standard_error``, ``floor`` and ``estimator``. The floor is what the
    same estimator says of exact draws, as many as the answer's particles, on the same ``draws`` evaluation draws a
    side; it is NaN where the truth is not known.

    Raises ``UsageError`` for a measure that there is not or that does not suit the answer, and where none does,
    ``Diverged`` where the answer is to blame, and as `solve` does for one of another form.
    """
    if not isinstance(answer, Answer):
        raise UsageError(f"measure takes an answer that `solve` returns, got {type(answer).__name__}")
    return answer.worth(measures, whole("draws", draws, 2), plugin)


def sweep(
    suite: str | Path,
    /,
    *,
    preset: str | None = None,
    problem: str | Sequence[str] | None = None,
    solver: str | Sequence[str] | None = None,
    dims: str | int | Sequence[int] | None = None,
    seeds: str | int | Sequence[int] | None = None,
    measures: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    timing: bool = False,
    device: str = "cpu",
    timeout: str | None = None,
    memory: str | None = None,
    retry: bool = False,
    rerun_changed_code: bool = False,
    stop_hopeless: bool = False,
    backend: str = "local",
    scheduler: str | None = None,
    data: str | Path | None = None,
    plugin: Files = (),
    store: str | Path = DEFAULT_STORE,
) -> pd.DataFrame:
    """Run a suite, a shipped one or a TOML file, as ``wgfbench run`` does, and return its rows as ``load`` does.

    All keywords are the options of the command, which ``wgfbench run --help`` explains; lists may be lists.
    ``settings`` are those of ``--set``: ``{"euler-maruyama.step_size": 0.01}``. Progress is shown on standard error or
    in the notebook. Cells that fail are rows with their reason.

    Raises ``UsageError`` for whatever the command line refuses, with the same line.
    """
    if backend == "local":
        server.start()
    names = listed("measures", measures)
    asked = None if names is None else parse_names(names, ())
    planned = PlannedRun(
        Request(
            suite=str(suite), preset=preset, problem=listed("problem", problem), solver=listed("solver", solver),
            dims=numbers(dims), seeds=numbers(seeds), jobs=count("jobs", jobs), threads=count("threads", threads),
            timing=timing, device=str(device), timeout=text(timeout), memory=text(memory), measures=asked,
            changes=changes(settings or {}), retry=retry, changed_code=rerun_changed_code, stop_hopeless=stop_hopeless,
            backend=backend, scheduler=scheduler, data=None if data is None else Path(data), plugin=paths(plugin),
            store=Path(store),
        )
    )  # fmt: skip
    ran = planned.run()
    say(outcome_lines(ran.cells, ran.ended, ran.counts, Path(store), ran.incomplete))
    return load(store, ran.suite, ran.preset)
