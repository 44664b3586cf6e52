"""Filtering the published problem: particles against the loop that one would write, and the grid in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from harness.streams import stream
from harness.threads import fix_threads
from problems.nonlinear_filtering import NonlinearFiltering
from problems.problem import Problem
from solvers.one_dimensional.chang_cooper import ChangCooper
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.particles.bootstrap_filter import BootstrapFilter

THREADS = 2
HORIZON = 5.0
CPU = torch.device("cpu")


def published() -> Problem:
    """Return the first published instance."""
    return NonlinearFiltering(times=(HORIZON,)).build(1, 0, stream("problem"))


def numpy_filter(problem: Problem, particles: int, steps: int, horizon: float) -> np.ndarray:
    """Return the particles of the plain float64 bootstrap filter, with numpy's legacy normals and multinomial draws."""
    state = np.random.RandomState(0)
    points, step_size, now = state.randn(particles), horizon / steps, 0.0
    times = [time for time in problem.observations.times if time < horizon]
    values = [float(value) for value in problem.observations.values[:, 0]]
    for index, stop in enumerate([*times, horizon]):
        for _ in range(round((stop - now) / step_size)):
            drift = 2 * np.cos(2 * np.pi * points) + 0.5 * points
            points = points - step_size * drift + math.sqrt(2 * step_size) * state.randn(particles)
        now = stop
        if index < len(times):
            weights = np.exp(-0.5 * (values[index] - points) ** 2)
            points = points[state.choice(particles, size=particles, p=weights / weights.sum())]
    return points


class BootstrapFilterRatio(Profiled):
    """The published instance on two threads, the same particles and steps."""

    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"particles": 200, "steps": 100, "repeats": 1},
        "regular": {"particles": 50_000, "steps": 5000, "repeats": 3},
        "large": {"particles": 200_000, "steps": 5000, "repeats": 3},
    }

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        problem, size = published(), self.size
        solver = BootstrapFilter(particles=size["particles"], step_size=HORIZON / size["steps"])
        return side_by_side(
            size["repeats"],
            ours=lambda: solver.solve(problem, stream("solver"), CPU),
            numpy=lambda: numpy_filter(problem, size["particles"], size["steps"], HORIZON),
        )

    setup_cache.timeout = 300.0

    @at_least(8)
    def track_speed_over_numpy(self, seconds: Seconds) -> float:
        return ratio(seconds, "numpy", "ours")

    track_speed_over_numpy.unit = "times the speed of a float64 numpy filter"


class ReferenceFilter(Profiled):
    """Seconds and error of the grid filter on the published instance, one thread, set-up and its own error included."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 200, "regular": 2000, "large": 8000}
    repeat = (5, 20, 5.0)

    def setup(self) -> None:
        fix_threads(1)
        self.problem, self.solver = published(), ChangCooper(cells=self.size)
        self.solver.solve(self.problem, stream("solver"), CPU)

    def time_chang_cooper(self) -> None:
        self.solver.solve(self.problem, stream("solver"), CPU)

    @at_most(0.1)
    def track_seconds(self) -> float:
        return min(
            side_by_side(self.repeat[0], ours=lambda: self.solver.solve(self.problem, stream("solver"), CPU))["ours"]
        )

    track_seconds.unit = "seconds"

    @at_most(1e-8)
    def track_error(self) -> float:
        (estimate,) = self.solver.solve(self.problem, stream("solver"), CPU).estimates
        return SymKL()(Subject(estimate, self.problem.truth(HORIZON), self.problem), 1, stream("evaluation")).value

    track_error.unit = "SymKL to the refined posterior"


class FloorOfJKO(Profiled):
    """The exact JKO filter on the published instance: its seconds, and its SymKL, the floor of all such filters."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 200, "regular": 1200, "large": 2400}
    params = (0.1, 0.05)
    param_names = ("step_size",)

    def setup(self, step_size: float) -> None:
        fix_threads(1)
        self.problem, self.solver = published(), QuantileJKO(step_size=step_size, nodes=self.size)

    def time_quantile_jko(self, step_size: float) -> None:
        self.solver.solve(self.problem, stream("solver"), CPU)

    def track_symkl(self, step_size: float) -> float:
        (estimate,) = self.solver.solve(self.problem, stream("solver"), CPU).estimates
        return SymKL()(Subject(estimate, self.problem.truth(HORIZON), self.problem), 1, stream("evaluation")).value

    track_symkl.unit = "SymKL to the refined posterior"
