"""Euler-Maruyama against the loop that one would write, and against drawing its random numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.devices import DTYPES
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.particles.euler_maruyama import BLOCK_ELEMENTS, EulerMaruyama
from solvers.threads import block_size

DIM = 12
STEP_SIZE = 1e-3
THREADS = 2


def numpy_loop(problem: Problem, particles: int, steps: int) -> np.ndarray:
    """Return the particles of the plain float64 loop, with numpy's legacy normals as in the published code."""
    flow = problem.flow
    precision, centre = flow.potential.precision.numpy(), flow.potential.centre.numpy()
    state = np.random.RandomState(0)
    scale = math.sqrt(2 * STEP_SIZE / flow.inverse_temperature)
    points = flow.initial.sample(particles, stream("solver")).numpy()
    for _ in range(steps):
        points = points - STEP_SIZE * (points - centre) @ precision + scale * state.randn(*points.shape)
    return points


def draw_normals(solver: EulerMaruyama, steps: int) -> Callable[[], None]:
    """Return a function that draws the solver's normals and nothing else: same generators, blocks and threads."""
    size = block_size(solver.particles, DIM, BLOCK_ELEMENTS, torch.device("cpu"))
    blocks = torch.empty(solver.particles, DIM).split(size)

    def draw(block: int) -> None:
        increment = torch.empty(blocks[block].T.shape, dtype=DTYPES[solver.dtype])
        generator = torch.Generator().manual_seed(block)
        for _ in range(steps):
            increment.normal_(0, 1, generator=generator)

    def draw_all() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(draw, range(len(blocks))))

    return draw_all


class EulerMaruyamaRatios(Profiled):
    """12 dimensions, linear drift, two threads; numpy takes a twentieth of the steps and its seconds count 20 times."""

    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"particles": 200, "steps": 20, "repeats": 1},
        "regular": {"particles": 50_000, "steps": 1000, "repeats": 7},
        "large": {"particles": 500_000, "steps": 1000, "repeats": 7},
    }
    numpy_share = 20

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        particles, steps = self.size["particles"], self.size["steps"]
        problem = OrnsteinUhlenbeck(times=(steps * STEP_SIZE,)).build(DIM, 0, stream("problem"))
        solver = EulerMaruyama(particles=particles, step_size=STEP_SIZE)
        seconds = side_by_side(
            self.size["repeats"],
            ours=lambda: solver.solve(problem, stream("solver"), torch.device("cpu")),
            normals=draw_normals(solver, steps),
            numpy=lambda: numpy_loop(problem, particles, steps // self.numpy_share),
        )
        seconds["numpy"] = [self.numpy_share * each for each in seconds["numpy"]]
        return seconds

    setup_cache.timeout = 300.0

    @at_least(8)
    def track_speed_over_numpy(self, seconds: Seconds) -> float:
        return ratio(seconds, "numpy", "ours")

    track_speed_over_numpy.unit = "times the speed of a float64 numpy loop"

    @at_most(1.5)
    def track_time_over_normals(self, seconds: Seconds) -> float:
        return ratio(seconds, "ours", "normals")

    track_time_over_normals.unit = "times the seconds of drawing the normals alone"
