"""Chang-Cooper, exact in time, against backward Euler by a banded solver on the same cells and fluxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import solve_banded
from scipy.special import ndtr

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.laws import Gaussian
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.one_dimensional.chang_cooper import ChangCooper

HORIZON = 5.0
DOMAIN = (-8.0, 8.0)
FAMILY = OrnsteinUhlenbeck(
    instance="given",
    precision=((1.0,),),
    centre=(0.0,),
    initial_mean=(2.0,),
    initial_covariance=((0.25,),),
    times=(HORIZON,),
)


def exact_masses(law: Gaussian, cells: int) -> np.ndarray:
    """Return what a Gaussian puts into each cell, normalised on the domain."""
    edges = np.linspace(*DOMAIN, cells + 1)
    masses = np.diff(ndtr((edges - law.mean.item()) / np.sqrt(law.covariance.item())))
    return masses / masses.sum()


def backward_euler(initial: Gaussian, cells: int, steps: int) -> np.ndarray:
    """Return the masses at the horizon for V = x²/2, β = 1, after ``steps`` solves with I - hL."""
    width = (DOMAIN[1] - DOMAIN[0]) / cells
    centres = DOMAIN[0] + width * (np.arange(cells) + 0.5)
    rise = np.diff(centres**2 / 2)
    rise[rise == 0] = 1e-12
    right, left = rise / np.expm1(rise) / width**2, -rise / np.expm1(-rise) / width**2
    step = HORIZON / steps
    bands = np.zeros((3, cells))
    bands[0, 1:], bands[2, :-1] = -step * left, -step * right
    bands[1] = 1
    bands[1, :-1] += step * right
    bands[1, 1:] += step * left
    masses = exact_masses(initial, cells)
    for _ in range(steps):
        masses = solve_banded((1, 1), bands, masses, check_finite=False)
    return masses


class ChangCooperRatio(Profiled):
    """Ornstein-Uhlenbeck in one dimension to t = 5, from N(2, ¼)."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"cells": 50, "steps": 10, "repeats": 1},
        "regular": {"cells": 2000, "steps": 5000, "repeats": 7},
        "large": {"cells": 20_000, "steps": 5000, "repeats": 5},
    }

    def setup_cache(self) -> tuple[Seconds, dict[str, float]]:
        fix_threads(1)
        problem = FAMILY.build(1, 0, stream("problem"))
        cells, steps = self.size["cells"], self.size["steps"]
        solver = ChangCooper(cells=cells, domain=DOMAIN)

        def ours() -> np.ndarray:
            (estimate,) = solver.solve(problem, stream("solver"), torch.device("cpu")).estimates
            return estimate.law.masses.numpy()

        def banded() -> np.ndarray:
            return backward_euler(problem.flow.initial, cells, steps)

        truth = exact_masses(problem.truth(HORIZON), cells)
        errors = {"ours": float(np.abs(ours() - truth).sum()), "banded": float(np.abs(banded() - truth).sum())}
        return side_by_side(self.size["repeats"], ours=ours, banded=banded), errors

    setup_cache.timeout = 300.0

    @at_least(20)
    def track_speed_over_banded(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return ratio(measured[0], "banded", "ours")

    track_speed_over_banded.unit = "times the speed of backward Euler"

    def track_error(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return measured[1]["ours"]

    track_error.unit = "L1 distance from the exact masses"

    def track_error_of_banded(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return measured[1]["banded"]

    track_error_of_banded.unit = "L1 distance from the exact masses"

    @at_most(1)
    def track_error_over_banded(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return measured[1]["ours"] / measured[1]["banded"]

    track_error_over_banded.unit = "times the error of backward Euler"
