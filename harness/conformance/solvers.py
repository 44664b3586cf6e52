"""Checks of a solver on the gallery: it answers in form, repeats to the bit, and touches nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from harness.answer_form import one_memory
from harness.catalogue import make
from harness.conformance.contract import (
    Violation,
    all_finite,
    check_definition,
    check_round_trip,
    generator,
    require,
    same_bits,
    torch_threads,
)
from harness.conformance.densities import check_density
from harness.conformance.energies import keeps_to_its_declaration
from harness.conformance.equivariance import answers_alike
from harness.conformance.gallery import distance_to_truth
from harness.conformance.rivals import diffusion, nearer_to_the_truth
from harness.conformance.runs import BOUND, CPU, SolverTrial, bits
from harness.conformance.summaries import check_estimate
from problems.problem import Problem
from solvers.estimates import Estimate, Nodes, Particles
from solvers.solver import Solution, Solver

DRAWS = 4096

POSITIVE = ("step_size", "particles", "points", "cells", "iterations", "batch_size", "width")
"""Settings that nothing but a positive number makes sense for, wherever a solver has them."""


def everywhere(faults: Sequence[str]) -> None:
    """Raise ``Violation`` with all faults found."""
    require(not faults, "; ".join(faults))


def refuses_bad_settings(trial: SolverTrial) -> str:
    """Settings that must be positive refuse 0, negative numbers and NaN with a ``ValueError``.

    The check raises ``Violation`` where one does not.
    """
    names = [name for name in POSITIVE if name in trial.component.__dataclass_fields__]
    for name in names:
        for bad in (0, -1, math.nan):
            try:
                trial.component(**{name: bad})
            except ValueError as error:
                text = str(error)
                require(text.strip() != "" and "\n" not in text, f"{name}={bad}: the message must be one line")
                continue
            raise Violation(f"{name}={bad} is accepted")
    return f"{', '.join(names)} must be positive" if names else "no setting that must be positive"


def refuses_unreachable_times(trial: SolverTrial) -> str:
    """``check_times`` refuses a step larger than the horizon, or one that misses a time.

    The check raises ``Violation`` where it does not.
    """
    if "step_size" not in trial.component.__dataclass_fields__:
        return "no step size"
    if not trial.component.orders:
        return "no order in time is declared: step_size is no flow time"
    solver = make("solver", trial.component, {"step_size": 0.25})
    for times in ((0.1,), (0.25, 0.3)):
        try:
            solver.check_times(times)
        except ValueError:
            continue
        raise Violation(
            f"step_size 0.25 is accepted for times {times}: check_times must refuse it, or, where step_size is no flow "
            f"time, orders must be ()"
        )
    solver.check_times((0.25, 1.0))
    return "steps must reach every time"


def says_what_it_supports(trial: SolverTrial) -> str:
    """``unsupported`` answers ``None`` or one line, and at least one problem of the gallery is supported."""
    for exhibit in trial.exhibits:
        reason = trial.solver.refusal(exhibit.problem)
        valid = reason is None or (isinstance(reason, str) and reason.strip() != "" and "\n" not in reason)
        require(valid, f"{exhibit.title}: unsupported must answer None or one line, got {reason!r}")
    require(bool(trial.supported), f"none of the {len(trial.exhibits)} problems of the gallery is supported")
    return f"{len(trial.supported)} of {len(trial.exhibits)} problems"


def solves(trial: SolverTrial) -> str:
    """Every supported problem is solved, without an exception."""
    errors = [(run.exhibit.title, run.outcome) for run in trial.runs if isinstance(run.outcome, Exception)]
    everywhere([f"{where}: raised {type(error).__name__}: {error}" for where, error in errors])
    return f"{len(trial.solutions())} problems"


def stays_silent(trial: SolverTrial) -> str:
    """Nothing warns."""
    everywhere([f"{run.exhibit.title}: {warning}" for run in trial.runs for warning in run.warned])
    return "no warnings"


def leaves_global_state(trial: SolverTrial) -> str:
    """Global random states, threads and modes are as before."""
    everywhere([f"{run.exhibit.title}: {' and '.join(run.touched)} changed" for run in trial.runs if run.touched])
    return "random states, threads and modes are as before"


def leaves_the_problem(trial: SolverTrial) -> str:
    """The tensors of the problem are as before."""
    everywhere([f"{run.exhibit.title}: the problem's tensors changed" for run in trial.runs if run.altered])
    return "the problem's tensors are as before"


def answers_in_form(trial: SolverTrial) -> str:
    """One usable estimate for each time, of the right dimension, drawing float64 points on the CPU.

    Those of different times have memory of their own.
    """
    kinds: dict[str, None] = {}
    for exhibit, solution in trial.solutions():
        flow = exhibit.problem.flow
        require(solution.times == flow.times, f"{exhibit.title}: times {solution.times} are not {flow.times}")
        count = len(solution.estimates)
        require(count == len(flow.times), f"{exhibit.title}: {count} estimates for {len(flow.times)} times")
    for where, problem, _, estimate in trial.estimates():
        require(isinstance(estimate, Estimate), f"{where}: {type(estimate).__name__} is no Estimate")
        kinds[type(estimate).__name__] = None
        dim, defect = problem.flow.dim, estimate.defect()
        require(estimate.dim == dim, f"{where}: the estimate has dimension {estimate.dim}, the problem {dim}")
        require(defect is None, f"{where}: {defect}")
        draws = estimate.sample(33, generator(2))
        require(draws.shape == (33, dim), f"{where}: 33 draws have shape {tuple(draws.shape)}, not (33, {dim})")
        require(draws.dtype == torch.float64, f"{where}: draws are {draws.dtype}, not torch.float64")
        require(draws.device == CPU, f"{where}: draws are on {draws.device}, not on the CPU")
        require(not draws.requires_grad, f"{where}: draws carry gradients")
        require(bool(torch.isfinite(draws).all()), f"{where}: draws are not finite")
    for exhibit, solution in trial.solutions():
        fault = None if exhibit.problem.stationary else one_memory(solution.times, solution.estimates)
        require(fault is None, f"{exhibit.title}: {fault}")
    return ", ".join(kinds)


def counts_its_particles(trial: SolverTrial) -> str:
    """``sample_size`` is the number of particles of the answer, and ``None`` for every other answer and for nodes."""
    for where, _, _, estimate in trial.estimates():
        count = None
        if isinstance(estimate, Particles) and not isinstance(estimate, Nodes):
            count = len(estimate.points)
        said = trial.solver.sample_size
        require(said == count, f"{where}: sample_size is {said}, but the answer has {count or 'no'} particles")
    return f"sample_size {trial.solver.sample_size}"


def densities_are_densities(trial: SolverTrial) -> str:
    """A density is finite at its own draws and integrates to 1; in one and two dimensions it has their moments.

    So do the moments and quantiles that an answer states, and the log-density that comes with its draws. Where the
    gallery has densities on the line and in the plane alone, a flow in three dimensions is solved as well.
    """
    checked, dims = 0, set()
    for where, _, _, estimate in (*trial.estimates(), *in_three_dimensions(trial)):
        draws = estimate.sample(DRAWS, generator(3))
        if not isinstance(estimate, Particles) and not repeated(draws):
            check_estimate(estimate, draws, where)
        density = estimate.density
        if density is not None:
            check_density(density.log_prob, draws, where)
            checked += 1
            dims.add(estimate.dim)
    return f"{checked} densities, D = {', '.join(map(str, sorted(dims)))}" if checked else "no densities"


def repeated(draws: torch.Tensor) -> bool:
    """Return whether some of the draws (n, D) are the same, as are those by weight: they are not independent."""
    return len(draws.unique(dim=0)) < len(draws)


def in_three_dimensions(trial: SolverTrial) -> Iterator[tuple[str, Problem, float, Estimate]]:
    """Yield answers to a flow in three dimensions, if the solver has densities in no more than two of the gallery."""
    dims = {estimate.dim for _, _, _, estimate in trial.estimates() if estimate.density is not None}
    probe = diffusion(3)
    if not dims or max(dims) > 2 or trial.solver.refusal(probe.problem) is not None:
        return
    solution = trial.solver.solve(probe.problem, generator(1), CPU)
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        yield f"{probe.title} at t = {t:g}", probe.problem, t, estimate


def repeats(trial: SolverTrial) -> str:
    """The same state of the generator gives the same bits."""
    for (exhibit, solution), once_more in zip(trial.solutions(), trial.on_two_threads, strict=True):
        with torch_threads(1):
            first = bits(solution)
            if not same_bits(first, bits(once_more)):
                # That run had other threads: only one that had the same tells whether they are to blame.
                again = trial.solver.solve(exhibit.problem, generator(1), CPU)
                require(same_bits(first, bits(again)), f"{exhibit.title}: a second run gives other numbers")
    return "a second run gives the same bits"


def ignores_threads(trial: SolverTrial) -> str:
    """Two threads give the bits of one."""
    for (exhibit, solution), other in zip(trial.solutions(), trial.on_two_threads, strict=True):
        with torch_threads(1):
            require(same_bits(bits(solution), bits(other)), f"{exhibit.title}: two threads give other numbers than one")
    return "two threads give the bits of one"


def follows_the_seed(trial: SolverTrial) -> str:
    """A solver that draws from the generator gives other results from another seed."""
    drew = [run for run in trial.runs if run.drew and isinstance(run.outcome, Solution)]
    for run in drew:
        assert isinstance(run.outcome, Solution)
        other = trial.solver.solve(run.exhibit.problem, generator(2), CPU)
        require(
            not same_bits(bits(run.outcome), bits(other)),
            f"{run.exhibit.title}: random numbers are drawn, but another seed gives the same results",
        )
    return "another seed gives other results" if drew else "deterministic: nothing is drawn"


def states_its_cost(trial: SolverTrial) -> str:
    """Cost is non-negative, diagnostics are plain numbers and strings, series are of finite numbers.

    Those over observations are equally long.
    """
    for exhibit, solution in trial.solutions():
        cost = solution.cost
        require(
            all_finite(cost.setup_seconds) and cost.setup_seconds >= 0,
            f"{exhibit.title}: setup_seconds is {cost.setup_seconds!r}",
        )
        evaluations = cost.gradient_evaluations
        require(
            type(evaluations) is int and evaluations >= 0,
            f"{exhibit.title}: gradient_evaluations is {evaluations!r}, not a whole number >= 0",
        )
        for name, value in solution.diagnostics.items():
            require(
                isinstance(name, str) and type(value) in (float, int, str),
                f"{exhibit.title}: diagnostic {name!r} = {value!r} is no plain number or string",
            )
        json.dumps(dict(solution.diagnostics))
        for name, series in (*solution.traces.items(), *solution.assimilated.items()):
            plain = isinstance(name, str) and all(
                type(value) in (float, int) and math.isfinite(value) for value in series
            )
            require(plain, f"{exhibit.title}: trace {name!r} is no series of finite plain numbers")
        lengths = {name: len(series) for name, series in solution.assimilated.items()}
        require(
            len(set(lengths.values())) <= 1,
            f"{exhibit.title}: assimilated series have {lengths} values, and not each one for every observation",
        )
    return "cost, diagnostics and traces are plain numbers"


def beats_doing_nothing(trial: SolverTrial) -> str:
    """Nearer to the truth at the horizon than the initial law is, in energy distance, wherever that can be seen.

    Where the truth is the stationary law, which the short horizon is far from, the answer may be as near as the
    initial law, but not farther, and it must be nearer on at least one problem.
    """
    if trial.component.name == BOUND:
        return "the bound itself"
    nearer = 0
    for exhibit, solution in trial.solutions():
        problem = exhibit.problem
        if problem.truth is None:
            continue
        nothing = exhibit.initial_distance
        if nothing.value <= 10 * nothing.standard_error:
            continue
        answer = distance_to_truth(solution.estimates[-1], problem)
        noise = 3 * math.hypot(nothing.standard_error, answer.standard_error)
        is_nearer = answer.value < nothing.value - noise
        nearer += is_nearer
        require(
            is_nearer or (problem.stationary and answer.value < nothing.value + noise),
            f"{exhibit.title}: energy distance to the truth at t = {problem.flow.horizon:g} is "
            f"{answer.value:.4g} ± {answer.standard_error:.2g}, that of the initial law "
            f"{nothing.value:.4g} ± {nothing.standard_error:.2g}",
        )
    require(nearer > 0, "no problem of the gallery shows that the answer is nearer to the truth than the initial law")
    return f"nearer to the truth than the initial law on {nearer} problems"


CHECKS: Mapping[str, Callable[[SolverTrial], str]] = {
    "definition": lambda trial: check_definition(trial.component, "solver", Solver),
    "default settings": lambda trial: check_round_trip(trial.component, "solver"),
    "refuses bad settings": refuses_bad_settings,
    "refuses unreachable times": refuses_unreachable_times,
    "says what it supports": says_what_it_supports,
    "keeps to its declaration": keeps_to_its_declaration,
    "solves": solves,
    "stays silent": stays_silent,
    "leaves global state alone": leaves_global_state,
    "leaves the problem alone": leaves_the_problem,
    "answers in form": answers_in_form,
    "counts its particles": counts_its_particles,
    "densities": densities_are_densities,
    "repeats to the bit": repeats,
    "ignores threads": ignores_threads,
    "follows the seed": follows_the_seed,
    "states its cost": states_its_cost,
    "beats doing nothing": beats_doing_nothing,
    "nearer to the truth than to errors": nearer_to_the_truth,
    "answers alike": answers_alike,
}
