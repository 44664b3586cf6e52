"""Marginals in the plane by uniformisation, against SciPy's action of the matrix exponential on the same generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import identity
from scipy.sparse.linalg import expm_multiply

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.references.fokker_planck_2d import FokkerPlanck2D, points
from problems.references.marginals_2d import effective_domain


class Uniformisation(Profiled):
    """The first published Gaussian mixture in two dimensions, to its time 4."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"cells": 24, "repeats": 1},
        "regular": {"cells": 192, "repeats": 5},
        "large": {"cells": 384, "repeats": 3},
    }

    def setup_cache(self) -> tuple[Seconds, float]:
        fix_threads(1)
        flow = GaussianMixtureFlow().build(2, 0, stream("problem")).flow
        operator = FokkerPlanck2D.discretise(flow, *effective_domain(flow).axes(self.size["cells"]))
        density = flow.initial.log_prob(points(operator.x.nodes, operator.y.nodes)).exp().numpy()
        start = density.reshape(operator.areas.shape) * operator.areas
        chain, rate = operator.chain
        generator = (4.0 * rate * (chain - identity(chain.shape[0]))).tocsr()

        def ours() -> np.ndarray:
            return operator.propagate(start, (4.0,))[0].ravel()

        def scipy() -> np.ndarray:
            return np.asarray(expm_multiply(generator, start.ravel()))

        distance = float(np.abs(ours() - scipy()).sum())
        return side_by_side(self.size["repeats"], ours=ours, scipy=scipy), distance

    setup_cache.timeout = 300.0

    @at_least(3)
    def track_speed_over_scipy(self, measured: tuple[Seconds, float]) -> float:
        return ratio(measured[0], "scipy", "ours")

    track_speed_over_scipy.unit = "times the speed of scipy.sparse.linalg.expm_multiply"

    @at_most(1e-12)
    def track_distance_from_scipy(self, measured: tuple[Seconds, float]) -> float:
        return measured[1]

    track_distance_from_scipy.unit = "L1 distance of the masses"
