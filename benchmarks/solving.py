"""Each solver on an instance of its kind: seconds, memory, and how far from the truth it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from benchmarks.profiles import Profiled
from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.measure.measure import Subject
from harness.streams import stream
from harness.threads import fix_threads
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.one_dimensional.chang_cooper import ChangCooper
from solvers.particles.euler_maruyama import EulerMaruyama

DRAWS = 8192
MEASURES = {"euler-maruyama": "symkl-gaussian", "gaussian-jko": "symkl", "chang-cooper": "symkl"}
"""Particles are judged by their moments: the error of a density estimate would hide the solver's own."""


class Solving(Profiled):
    """The published Ornstein-Uhlenbeck instances on one thread, in one dimension for the grid."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"euler-maruyama": (2, 100), "gaussian-jko": (2, None), "chang-cooper": (1, 50)},
        "regular": {"euler-maruyama": (12, 10_000), "gaussian-jko": (12, None), "chang-cooper": (1, 2000)},
        "large": {"euler-maruyama": (32, 100_000), "gaussian-jko": (128, None), "chang-cooper": (1, 20_000)},
    }
    params = ("euler-maruyama", "gaussian-jko", "chang-cooper")
    param_names = ("solver",)

    def setup(self, name: str) -> None:
        fix_threads(1)
        dim, resolution = self.size[name]
        self.problem = OrnsteinUhlenbeck().build(dim, 0, stream("problem"))
        self.solver = {
            "euler-maruyama": lambda: EulerMaruyama(particles=resolution),
            "gaussian-jko": lambda: GaussianJKO(order=2),
            "chang-cooper": lambda: ChangCooper(cells=resolution),
        }[name]()

    def solve(self):
        return self.solver.solve(self.problem, stream("solver"), torch.device("cpu"))

    def time_solve(self, name: str) -> None:
        self.solve()

    def peakmem_solve(self, name: str) -> None:
        self.solve()

    def track_error(self, name: str) -> float:
        solution = self.solve()
        truth = self.problem.truth(solution.times[-1])
        measure = import_target(CATALOGUE[MEASURES[name]].target)()
        return measure(Subject(solution.estimates[-1], truth, self.problem), DRAWS, stream("evaluation")).value

    track_error.unit = "SymKL to the truth"
