"""Finite volumes on the line against SciPy's BDF with its Jacobian's sparsity, on the same cells and fluxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import diags

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.threads import fix_threads
from problems.flow import FreeEnergy, PowerEntropy
from problems.potentials import Flat
from problems.references.finite_volumes import FiniteVolumes
from problems.references.finite_volumes_steps import Trace, march

START, TIME = 0.002, 0.02


def barenblatt(scheme: FiniteVolumes, time: float) -> np.ndarray:
    """Return the mean densities on the cells of what a point becomes in ∂ρ = Δρ² by that time: R³ = 9t."""
    radius = (9 * time) ** (1 / 3)
    edges = np.clip(np.linspace(scheme.lower[0], scheme.upper[0], scheme.shape[0] + 1) / radius, -1, 1)
    return np.diff(0.75 * (edges - edges**3 / 3)) / scheme.widths[0]


class FiniteVolumesRatio(Profiled):
    """∂ρ = Δρ² from a Barenblatt law of radius 0.26 to one of radius 0.58."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"cells": 40, "repeats": 1},
        "regular": {"cells": 100, "repeats": 9},
        "large": {"cells": 400, "repeats": 3},
    }

    def setup_cache(self) -> tuple[Seconds, dict[str, float]]:
        fix_threads(1)
        cells = self.size["cells"]
        scheme = FiniteVolumes(FreeEnergy(Flat(1), PowerEntropy(2.0)), (-1.0,), (1.0,), (cells,))
        start, truth = barenblatt(scheme, START), barenblatt(scheme, START + TIME)
        sparsity = diags([np.ones(cells - abs(k)) for k in range(-2, 3)], list(range(-2, 3)))

        def ours() -> np.ndarray:
            (density,) = march(scheme, start, (TIME,), Trace())
            return density

        def bdf(tolerance: float) -> np.ndarray:
            found = solve_ivp(
                lambda _, density: scheme.rate(density),
                (0.0, TIME),
                start,
                method="BDF",
                t_eval=(TIME,),
                jac_sparsity=sparsity,
                rtol=tolerance,
                atol=tolerance * float(start.max()),
            )
            return np.asarray(found.y[:, -1])

        def error(density: np.ndarray) -> float:
            return scheme.volume * float(np.abs(density - truth).sum())

        errors = {"ours": error(ours())}
        # The loosest of these tolerances with which it is a quarter worse at the most.
        for tolerance in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6):
            errors["bdf"], errors["tolerance"] = error(bdf(tolerance)), tolerance
            if errors["bdf"] <= 1.25 * errors["ours"]:
                break
        return side_by_side(self.size["repeats"], ours=ours, bdf=lambda: bdf(errors["tolerance"])), errors

    setup_cache.timeout = 300.0

    @at_least(3)
    def track_speed_over_bdf(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return ratio(measured[0], "bdf", "ours")

    track_speed_over_bdf.unit = "times the speed of scipy.integrate.solve_ivp(BDF)"

    @at_most(3e-4)
    def track_error(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return measured[1]["ours"]

    track_error.unit = "L1 distance from the exact law"

    def track_error_of_bdf(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return measured[1]["bdf"]

    track_error_of_bdf.unit = "L1 distance from the exact law"

    def track_tolerance_of_bdf(self, measured: tuple[Seconds, dict[str, float]]) -> float:
        return math.log10(measured[1]["tolerance"])

    track_tolerance_of_bdf.unit = "decimal logarithm"
