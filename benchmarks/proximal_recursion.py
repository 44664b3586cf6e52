"""Proximal recursion against the dense numpy loop that one would write, its memory, and its rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.spatial.distance import cdist

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.particles.proximal_recursion import ProximalRecursion

DIM = 6
STEP_SIZE = 1e-3
REGULARISATION = 0.05
THREADS = 2


def instance(steps: int) -> Problem:
    """Return the first published instance, to be followed for so many steps."""
    return OrnsteinUhlenbeck(times=(steps * STEP_SIZE,)).build(DIM, 0, stream("problem"))


def numpy_loop(problem: Problem, particles: int, steps: int, tolerance: float = 1e-5) -> np.ndarray:
    """Return the log-densities of a plain float64 loop: the kernel as a matrix, every step from z = 1.

    The noise is the solver's. Sweeps end by the same rule.
    """
    flow, source = problem.flow, stream("solver")
    stiffness = flow.inverse_temperature * REGULARISATION / STEP_SIZE
    points = flow.initial.sample(particles, source)
    density = np.exp(flow.initial.log_prob(points).numpy())
    for _ in range(steps):
        noise = torch.randn(points.shape, generator=source, dtype=points.dtype)
        xi = np.exp(-flow.inverse_temperature * flow.potential.value(points).numpy() - 1)
        scale = math.sqrt(2 * STEP_SIZE / flow.inverse_temperature)
        moved = points - STEP_SIZE * flow.potential.gradient(points) + scale * noise
        gibbs = np.exp(-cdist(points.numpy(), moved.numpy(), "sqeuclidean") / (2 * REGULARISATION))
        z = np.ones(particles)
        change = math.inf
        while change > tolerance:
            y = density / (gibbs @ z)
            new = (xi / (gibbs.T @ y)) ** (1 / (1 + stiffness))
            change, z = float(np.abs(np.log(new / z)).max()), new
        y = density / (gibbs @ z)
        points, density = moved, z * (gibbs.T @ y)
    return np.log(density)


class ProximalRecursionRatio(Profiled):
    """Published settings in 6 dimensions on two threads: steps to the same tolerance, of which the loop stores Γ."""

    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"particles": 100, "steps": 2, "repeats": 1},
        "regular": {"particles": 10_000, "steps": 4, "repeats": 5},
        "large": {"particles": 10_000, "steps": 10, "repeats": 5},
    }

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        particles, steps = self.size["particles"], self.size["steps"]
        problem = instance(steps)

        solver = ProximalRecursion(particles=particles, step_size=STEP_SIZE, regularisation=REGULARISATION)
        return side_by_side(
            self.size["repeats"],
            ours=lambda: solver.solve(problem, stream("solver"), torch.device("cpu")),
            numpy=lambda: numpy_loop(problem, particles, steps),
        )

    setup_cache.timeout = 300.0

    @at_least(8)
    def track_speed_over_numpy(self, seconds: Seconds) -> float:
        return ratio(seconds, "numpy", "ours")

    track_speed_over_numpy.unit = "times the speed of a float64 numpy loop"


class ProximalRecursionCost(Profiled):
    """One step in 6 dimensions on two threads."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 100, "regular": 10_000, "large": 30_000}

    def setup(self) -> None:
        fix_threads(THREADS)
        self.problem, self.solver = instance(1), ProximalRecursion(particles=self.size, step_size=STEP_SIZE)

    def time_step(self) -> None:
        self.solver.solve(self.problem, stream("solver"), torch.device("cpu"))

    @at_most(2**30)
    def peakmem_step(self) -> None:
        self.solver.solve(self.problem, stream("solver"), torch.device("cpu"))

    @at_most(1e-8)
    def track_error(self) -> float:
        problem = instance(5)
        solver = ProximalRecursion(particles=200, step_size=STEP_SIZE, tolerance=1e-11)
        found = solver.solve(problem, stream("solver"), torch.device("cpu")).estimates[0].log_density
        return float(np.abs(found.numpy() - numpy_loop(problem, 200, 5, tolerance=1e-11)).max())

    track_error.unit = "difference of log-densities from the numpy loop's"
