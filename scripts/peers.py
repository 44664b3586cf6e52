"""Measure ours and the peers on the tasks of docs/peers.md, and fill in its table.

    python scripts/peers.py --sizes quick    # minutes
    python scripts/peers.py --sizes paper    # an hour, on a machine that does nothing else

Contestants take turns, five times by default, each turn in a process of its own on ``--threads`` cores. There it solves
the instance with the run's seed, after the quick one unless it compiles a program for its sizes: what counts is solving
by a process that has done so before. Start-up (the library's imports) and compilation are told apart. Errors are
measured on the same instance and draws for all. Tasks are filled in as they end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "peers.md"
OURS = "ours"


@dataclass(frozen=True)
class Contestant:
    """A method with its settings: ``use`` names a solver, or a kernel density."""

    label: str
    use: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A task on one instance, with the measures whose largest is the error at the horizon; ours come first."""

    name: str
    problem: str
    settings: Mapping[str, Any]
    dim: int
    measures: tuple[str, ...]
    contestants: tuple[Contestant, ...]


def tasks(sizes: str) -> list[Task]:
    """Return the tasks of these sizes, "quick" or "paper"."""
    paper = sizes == "paper"
    n, dim, h = (50_000, 12, 1e-3) if paper else (5_000, 12, 5e-3)
    paths = {"particles": n, "step_size": h}
    heun = {"particles": n, "step_size": 5 * h, "order": 2}
    weighed = {"particles": n, "step_size": h}
    # Draws that bring all of them below an error of .02, few more than it takes.
    chains = {"particles": 4000 if paper else 2000, "chains": 100, "warmup": 400} | ({"thinning": 10} if paper else {})
    nuts = {"particles": 4000, "chains": 8} if paper else {"particles": 2000, "chains": 8, "warmup": 300}
    posterior = {"data": "german"} if paper else {"prior_shape": 4.0, "prior_rate": 4.0}
    size = 25 if paper else 31
    steps, cells = (1e-3, 2000) if paper else (1e-2, 500)
    # At as many cells the error of SciPy's BDF in time takes 1.3 % off that in space, and ours has only the latter.
    ours = cells + cells // 100
    moments = ("mean-error", "deviation-error")
    found = [
        Task(
            f"kernel density: {n:,} points at {n // 5:,}",
            "kernel-density",
            {"points": n, "queries": n // 5},
            dim,
            (),
            (
                Contestant(OURS, "ours"),
                Contestant("SciPy gaussian_kde", "scipy"),
                Contestant("scikit-learn KernelDensity", "scikit-learn"),
            ),
        ),
        Task(
            f"paths: {n:,} × {dim}-D, {round(0.9 / h):,} steps",
            "ornstein-uhlenbeck",
            {"times": (0.9,)},
            dim,
            ("bures-w2",),
            (
                Contestant(OURS, "euler-maruyama", heun),
                Contestant(f"{OURS}, order 1", "euler-maruyama", paths),
                Contestant("torchsde Euler", "torchsde", paths),
                Contestant("torchsde Heun, steps 5 × as long", "torchsde", heun),
                Contestant("Diffrax Euler", "diffrax", paths),
                Contestant("Diffrax Heun, steps 5 × as long", "diffrax", heun),
            ),
        ),
        Task(
            f"bootstrap filter: {n:,} × {round(5 / h):,} steps",
            "nonlinear-filtering",
            {"times": (5.0,)},
            1,
            ("symkl",),
            (
                Contestant(OURS, "bootstrap-filter", weighed),
                Contestant("particles", "particles-bootstrap", weighed),
            ),
        ),
        Task(
            f"Fokker-Planck on the line, {cells} cells (ours {ours})",
            "double-well",
            {"times": (1.0,)},
            1,
            ("l1",),
            (
                Contestant(OURS, "chang-cooper", {"cells": ours}),
                Contestant("SciPy BDF", "scipy-ivp", {"cells": cells}),
                Contestant("SciPy Radau", "scipy-ivp", {"cells": cells, "method": "Radau"}),
                Contestant("pychangcooper", "pychangcooper", {"cells": cells, "step_size": steps}),
                Contestant("py-pde, 400 cells", "py-pde", {"cells": 400}),
            ),
        ),
    ]
    for count, iterations in ((100, 1000), (2000, 25)) if paper else ((100, 300), (500, 300)):
        moved = {"particles": count, "iterations": iterations}
        found.append(
            Task(
                f"SVGD: {count} particles, {iterations} iterations, {size}-D posterior",
                "logistic-regression",
                posterior,
                size,
                moments,
                (
                    Contestant(OURS, "svgd", {**moved, "optimiser": "adam"}),
                    Contestant("BlackJAX", "blackjax-svgd", moved),
                    Contestant("NumPyro", "numpyro-svgd", moved),
                ),
            )
        )
    found.append(
        Task(
            f"{size}-D posterior, chains",
            "logistic-regression",
            posterior,
            size,
            moments,
            (
                Contestant(OURS, "mala", {**chains, "preconditioner": "dense"}),
                Contestant("BlackJAX MALA", "blackjax-mala", chains),
                Contestant("BlackJAX NUTS", "blackjax-nuts", nuts),
                Contestant("NumPyro NUTS", "numpyro-nuts", nuts),
            ),
        )
    )
    return found


def turn(sizes: str, number: int, place: int, seed: int, threads: int) -> Mapping[str, float | str]:
    """Return the seconds and the error of one contestant in this process, or under ``missing`` why there are none."""
    from harness.catalogue import catalogue, import_target, missing
    from harness.threads import fix_threads

    if hasattr(os, "sched_setaffinity"):  # which libraries take their number of threads from
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    fix_threads(threads)
    task = tasks(sizes)[number]
    contestant = task.contestants[place]
    if task.problem == "kernel-density":
        return densities(task, contestant, seed)
    component = import_target(catalogue().targets["solver"][contestant.use])
    if (absent := missing(component)) is not None:
        return {"missing": absent}
    if "jax" in component.needs:  # it compiles a program for these sizes, and says how long that took
        return solves(task, contestant, seed)
    small = tasks("quick")[number]
    before = solves(small, small.contestants[place], seed)
    found = solves(task, contestant, seed)
    return found | {stage: max(before[stage], found[stage]) for stage in ("startup", "compile")}


def solves(task: Task, contestant: Contestant, seed: int) -> dict[str, float]:
    """Return the seconds of a solver's stages and its error at the horizon."""
    import torch

    from harness.catalogue import catalogue, import_target, make
    from harness.measure.measure import Subject

    targets = catalogue().targets
    family = make("problem", import_target(targets["problem"][task.problem]), dict(task.settings))
    problem = family.build(task.dim, 0, torch.Generator().manual_seed(0))
    solver = make("solver", import_target(targets["solver"][contestant.use]), dict(contestant.settings))
    started = time.perf_counter()
    solution = solver.solve(problem, torch.Generator().manual_seed(seed), torch.device("cpu"))
    seconds = time.perf_counter() - started
    told = {stage: float(solution.diagnostics.get(f"{stage}_seconds", 0.0)) for stage in ("import", "compile")}
    horizon = problem.flow.horizon
    truth = problem.truth(horizon) if problem.truth else None
    subject = Subject(solution.estimates[-1], truth, problem, horizon, solution.assimilated)
    errors = [
        import_target(targets["measure"][name])()(subject, 8192, torch.Generator().manual_seed(1)).value
        for name in task.measures
    ]
    return {
        "seconds": seconds - sum(told.values()),
        "startup": told["import"],
        "compile": told["compile"],
        "error": max(errors),
    }


def densities(task: Task, contestant: Contestant, seed: int) -> dict[str, float]:
    """Return the seconds of a kernel density and the largest error of its logarithm in ten places.

    The error is against the sum over the points in extended precision, with the covariance's Scott rule.

    scikit-learn's is of other widths: it is given the points where the covariance is the identity.
    """
    import numpy as np
    import torch

    from harness.measure.kde import KernelDensity
    from harness.measure.library_kde import ScikitLearnKernelDensity, SciPyKernelDensity
    from solvers.estimates import Particles

    generator = torch.Generator().manual_seed(seed)
    points, queries = (
        torch.randn(task.settings[name], task.dim, generator=generator, dtype=torch.float64)
        for name in ("points", "queries")
    )
    particles = Particles(points)
    kinds: Mapping[str, Any] = {
        "ours": lambda: KernelDensity(points),
        "scipy": lambda: SciPyKernelDensity(particles),
        "scikit-learn": lambda: ScikitLearnKernelDensity(particles),
    }
    kinds[contestant.use]().log_prob(queries[:10])
    started = time.perf_counter()
    values = kinds[contestant.use]().log_prob(queries)
    seconds = time.perf_counter() - started
    error = float(np.abs(values[:10].numpy() - direct(points, queries[:10])).max())
    return {"seconds": seconds, "startup": 0.0, "compile": 0.0, "error": error}


def direct(points: Any, queries: Any) -> Any:
    """Return the log-density (m,) of ``points`` (n, D) at ``queries`` (m, D) by Scott's rule, in long doubles."""
    import numpy as np

    n, dim = points.shape
    covariance = np.cov(points.numpy().T) * n ** (-2 / (dim + 4))
    inverse, size = np.linalg.inv(covariance), np.linalg.slogdet(2 * np.pi * covariance)[1]
    found = []
    for place in queries.numpy():
        away = points.numpy() - place
        squares = np.einsum("ni,ij,nj->n", away, inverse, away).astype(np.longdouble)
        found.append(float(np.log(np.exp(-0.5 * squares).sum() / n)) - 0.5 * size)
    return np.array(found)


def measured(sizes: str, runs: int, threads: int, only: str | None) -> Iterator[list[str]]:
    """Yield the rows of each task, after ``runs`` turns of every contestant."""
    for number, task in enumerate(tasks(sizes)):
        if only is not None and only not in task.name:
            continue
        turns: dict[str, list[dict[str, Any]]] = {each.label: [] for each in task.contestants}
        for seed in range(1, runs + 1):
            for place, contestant in enumerate(task.contestants):
                found = apart(sizes, number, place, seed, threads)
                turns[contestant.label].append(found)
                print(f"{task.name}: {contestant.label}: {found}", file=sys.stderr, flush=True)
        yield rows_of(task, turns)


def apart(sizes: str, number: int, place: int, seed: int, threads: int) -> dict[str, Any]:
    """Return one turn, taken in a process of its own; under ``missing`` the end of what it said where it failed."""
    words = [sys.executable, __file__, "--sizes", sizes, "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [*words, "--turn", f"{number},{place},{seed}"], capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        return {"missing": done.stderr.strip().splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows_of(task: Task, turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the table's rows of one task: medians, and each peer's seconds over ours of the same turn."""
    ours = turns[OURS]
    rows = []
    for place, contestant in enumerate(task.contestants):
        name = task.name if place == 0 else ""
        method = f"**{contestant.use}**" if contestant.label == OURS else contestant.label
        own = turns[contestant.label]
        if any("missing" in each for each in own):
            rows.append(f"| {name} | {method} | not run: {own[0].get('missing', '')} | | | | |")
            continue
        seconds, errors = [each["seconds"] for each in own], [each["error"] for each in own]
        shown = [f"{statistics.median(errors):.2g}", spread(seconds)]
        shown += [f"{statistics.median(each[stage] for each in own):.2g}" for stage in ("startup", "compile")]
        said = ""
        if contestant.label != OURS:
            ratios = [theirs["seconds"] / each["seconds"] for theirs, each in zip(own, ours, strict=True)]
            said = spread(ratios)
            if statistics.median(ratios) < 1:
                said += ", **faster**"
            if max(errors) < min(each["error"] for each in ours):
                said += ", **more accurate**"
        rows.append(f"| {name} | {method} | {' | '.join(shown)} | {said} |")
    return rows


def spread(values: Sequence[float]) -> str:
    """Return the median of values with their range."""
    return f"{statistics.median(values):.2g} [{min(values):.2g}, {max(values):.2g}]"


def filled(text: str, sizes: str, said: str, rows: Sequence[str]) -> str:
    """Return the document with the table of these sizes replaced by ``rows``, under the line ``said``."""
    start, end = f"<!-- table: {sizes} -->\n", f"<!-- end: {sizes} -->\n"
    head, rest = text.split(start)
    _, tail = rest.split(end)
    titles = (
        "| task | method | error | solve, s | start-up, s | compile, s | times ours |\n|---|---|---|---|---|---|---|\n"
    )
    return f"{head}{start}{said}\n\n{titles}{''.join(row + chr(10) for row in rows)}{end}{tail}"


def main() -> None:
    """Take one turn, or all of them, and fill in the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=("quick", "paper"), default="quick")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="tasks with this in their name, printed instead of filled in")
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.turn:
        number, place, seed = map(int, given.turn.split(","))
        print(json.dumps(turn(given.sizes, number, place, seed, given.threads)))
        return
    from harness.provenance import machine

    load = os.getloadavg()[0]
    busy = "nothing else ran" if load < 0.5 else f"other work ran beside it: load {load:.0f} at its start"
    said = f"Run on {date.today()}, {machine()}, {given.threads} core(s), {given.runs} turns each; {busy}."
    rows: list[str] = []
    for more in measured(given.sizes, given.runs, given.threads, given.only):
        rows += more
        if given.only is None:
            DOCUMENT.write_text(filled(DOCUMENT.read_text(), given.sizes, said, rows))
    if given.only is not None:
        print("\n".join([said, *rows]))


if __name__ == "__main__":
    main()
