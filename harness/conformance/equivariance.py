"""The check that a solver gives a flow that is moved, turned or in other units the same answer, moved likewise.

It compares draws by their means and covariances, in deviations and with six standard errors of both samples, and
densities by SymKL, which must be no more than ten times that between two seeds.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from harness.conformance.contract import generator, require
from harness.conformance.gallery import Exhibit
from harness.conformance.motions import Motion, rotation
from harness.conformance.runs import CPU, SolverTrial
from solvers.estimates import Estimate
from solvers.solver import Solver

DRAWS = 4096
ERRORS = 6.0
SEEDS, ROUNDING = 10.0, 1e-6
# Problems of a solver on which it is tried: the first ones of those that can be moved, in their order.
TRIED = 1
# Shifts are in deviations of the initial law, and a time that is a power of 2 leaves numbers of steps whole.
FAR, SMALL, LARGE, QUICK = 1e4, 1e-6, 1e6, 2.0**-10


def motions(exhibit: Exhibit) -> dict[str, Motion]:
    """Return the motions that answers to a problem are compared under, by what they change."""
    mean, covariance = exhibit.problem.flow.initial.moments()
    dim, width = len(mean), math.sqrt(float(covariance.diagonal().mean()))
    still, origin = torch.eye(dim, dtype=mean.dtype), torch.zeros_like(mean)
    return {
        "shift": Motion(still, torch.full_like(mean, FAR * width)),
        "turn": Motion(rotation(dim, generator(11)), origin),
        "small units": Motion(still, origin, SMALL),
        "large units": Motion(still, origin, LARGE),
        "time": Motion(still, origin, 1.0, QUICK),
    }


def answers_alike(trial: SolverTrial) -> str:
    """A flow that is moved, turned or in other units of length and time is answered alike, but for what is declared."""
    declared = dict(trial.solver.not_alike())
    unknown = set(declared) - {"shift", "turn", "small units", "large units", "time"}
    require(not unknown, f"not_alike names {', '.join(sorted(unknown))}, which is none of the motions tried")
    tried = 0
    for exhibit, solution in trial.solutions():
        own = solution.estimates[-1]
        for name, motion in motions(exhibit).items():
            if name in declared or (name == "turn" and exhibit.problem.flow.dim == 1):
                continue
            try:
                moved = motion.problem(exhibit.problem)
            except ValueError:
                break
            solver = in_time(trial.solver, motion.time)
            if solver.refusal(moved) is not None:  # of a potential of a class that it does not know
                break
            compare(exhibit, own, solver, motion, f"{exhibit.title}: {name}", trial.solver)
        else:
            tried += 1
        if tried == TRIED:
            break
    said = [f"{name}: {reason}" for name, reason in declared.items()]
    return "; ".join([f"{tried} problem moved" if tried else "no problem that can be moved", *said])


def in_time(solver: Solver, time: float) -> Solver:
    """Return the solver with steps of the same length in the time unit ``time``."""
    step_size = getattr(solver, "step_size", None)
    return solver if not isinstance(step_size, float) else replace(solver, step_size=step_size * time)  # type: ignore[call-arg]


def compare(exhibit: Exhibit, own: Estimate, solver: Solver, motion: Motion, where: str, unmoved: Solver) -> None:
    """Raise ``Violation`` where the answer to a moved problem is not ``own`` moved likewise, within their errors."""
    problem = exhibit.problem
    other = solver.solve(motion.problem(problem), generator(1), CPU).estimates[-1]
    size = min(DRAWS, solver.sample_size or DRAWS)
    x, y = own.sample(size, generator(2)), motion.back(other.sample(size, generator(3)))
    require(bool(torch.isfinite(y).all()), f"{where}: draws are not finite")
    apart = moments_apart(x, y)
    require(apart <= ERRORS, f"{where}: the moments of the answers are {apart:.3g} standard errors apart")
    if own.density is None or other.density is None:
        return
    symkl = density_apart(own, other, motion)
    if symkl > ROUNDING:
        again = unmoved.solve(problem, generator(4), CPU).estimates[-1]
        still = Motion(torch.eye(problem.flow.dim, dtype=x.dtype), torch.zeros(problem.flow.dim, dtype=x.dtype))
        noise = density_apart(own, again, still)
        require(
            symkl <= SEEDS * noise + ROUNDING,
            f"{where}: SymKL of the answers is {symkl:.3g}, between two seeds {noise:.3g}",
        )


def moments_apart(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return how many standard errors means and covariances of two samples (n, D) are apart, at most."""
    mean, deviation = x.mean(0), x.std(0)
    first, second = (x - mean) / deviation, (y - mean) / deviation
    parts = []
    for left, right in (
        (first, second),
        ((first[:, :, None] * first[:, None]).flatten(1), (second[:, :, None] * second[:, None]).flatten(1)),
    ):
        error = (left.var(0) / len(left) + right.var(0) / len(right)).sqrt()
        parts.append(((left.mean(0) - right.mean(0)).abs() / error).max())
    return float(torch.stack(parts).max())


def density_apart(own: Estimate, other: Estimate, motion: Motion) -> float:
    """Return half of SymKL of two answers that have densities, by draws of the first."""
    assert own.density is not None
    assert other.density is not None
    x = own.sample(DRAWS, generator(5))
    scale = x.shape[1] * math.log(motion.length)
    ratio = other.density.log_prob(motion.there(x)) + scale - own.density.log_prob(x)
    return float((2 * ratio * torch.tanh(ratio / 2)).mean())
