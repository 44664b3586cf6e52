"""A dual JKO step against the plain numpy version of the same problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize

from benchmarks.bounds import at_least
from benchmarks.profiles import Profiled, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.dual.dual_jko import DualJKO
from solvers.dual.reference_pairs import uniform_pairs
from solvers.dual.regions import Box
from solvers.dual.steps import DualPropagation

STEP_SIZE = 0.1
SCALE = 1e-4
THREADS = 2


def monomials(x: np.ndarray) -> np.ndarray:
    """Return the monomials of degree at most 3 at ``x`` (n, D), one product of columns after the other."""
    axes = [each for degree in (1, 2, 3) for each in combinations_with_replacement(range(x.shape[1]), degree)]
    columns = [np.ones(len(x)), *(np.prod(x[:, list(each)], axis=1) for each in axes)]
    return SCALE * np.stack(columns, axis=1)


def numpy_step(problem: Problem, solver: DualJKO, box: Box) -> int:
    """Take one published step on the same sample; return how often the objective was asked for.

    Bases are formed once, but objective and gradient are two functions, each with products of its own.
    """
    flow = problem.flow
    pairs = uniform_pairs(box, solver.samples, stream("solver"))
    x, y = pairs.x.numpy(), pairs.y.numpy()
    at_x, at_y = monomials(x), monomials(y)
    count = at_x.shape[1]
    volume = (2 * box.half_width) ** flow.dim
    energy = flow.potential.value(pairs.x).numpy()
    mass = np.exp(flow.initial.log_prob(pairs.y).numpy())
    mass /= mass.max()
    cost = ((x - y) ** 2).sum(1)
    rate = flow.inverse_temperature / (2 * STEP_SIZE)

    def value(both: np.ndarray) -> float:
        g, h = at_x @ both[:count], at_y @ both[count:]
        excess = np.maximum(g + h - cost, 0)
        with np.errstate(over="ignore"):
            f = np.exp(-rate * g - energy)
            terms = volume * (f / rate - h * mass) + volume**2 * excess**2 / (2 * solver.penalty)
        return float(np.mean(terms))

    def slope(both: np.ndarray) -> np.ndarray:
        g, h = at_x @ both[:count], at_y @ both[count:]
        push = volume**2 * np.maximum(g + h - cost, 0) / solver.penalty
        with np.errstate(over="ignore", invalid="ignore"):
            f = np.exp(-rate * g - energy)
            return np.concatenate([at_x.T @ (push - volume * f), at_y.T @ (push - volume * mass)]) / len(x)

    found = minimize(value, np.zeros(2 * count), jac=slope, method="L-BFGS-B", options={"gtol": 1e-6, "maxiter": 1000})
    return int(found.nfev)


class DualStepRatio(Profiled):
    """The first step on a published instance with the published settings, two threads for both."""

    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"samples": 2000, "repeats": 1, "iterations": 40},
        "regular": {"samples": 20_000, "repeats": 7, "iterations": 1000},
        "large": {"samples": 100_000, "repeats": 7, "iterations": 1000},
    }
    params = (6, 12)
    param_names = ("D",)

    def setup(self, dim: int) -> None:
        fix_threads(THREADS)
        self.problem = OrnsteinUhlenbeck(times=(STEP_SIZE,)).build(dim, 0, stream("problem"))
        self.solver = DualJKO(reference="published", penalty=1e-6, samples=self.size["samples"], step_size=STEP_SIZE)
        self.box = Box(torch.zeros(dim, dtype=torch.float64), math.sqrt(3 * self.solver.box_variance))

    def ours(self) -> int:
        propagation = DualPropagation(self.solver, self.problem.flow, stream("solver"))
        law = self.problem.flow.initial
        propagation.step(law.log_prob, *law.moments(), self.box, STEP_SIZE, "benchmark")
        return int(propagation.traces()["evaluations"][0])

    @at_least(4)
    def track_speed_over_numpy(self, dim: int) -> float:
        seconds = side_by_side(
            self.size["repeats"], ours=self.ours, numpy=lambda: numpy_step(self.problem, self.solver, self.box)
        )
        return ratio(seconds, "numpy", "ours")

    track_speed_over_numpy.unit = "times the speed of a float64 numpy step"

    def time_default_step(self, dim: int) -> None:
        solver = DualJKO(samples=self.size["samples"], iterations=self.size["iterations"], step_size=STEP_SIZE)
        propagation = DualPropagation(solver, self.problem.flow, stream("solver"))
        law = self.problem.flow.initial
        propagation.step(law.log_prob, *law.moments(), self.box, STEP_SIZE, "benchmark")
