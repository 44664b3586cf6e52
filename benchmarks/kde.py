"""The kernel density estimate against ``scipy.stats.gaussian_kde``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import gaussian_kde

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.measure.kde import KernelDensity
from harness.threads import fix_threads

DIM = 12
TAILS = (1.0, 3.0, 10.0, 100.0)
"""Queries this many standard deviations out: log-densities from -15 to -10⁵."""


def normals(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class KernelDensityRatio(Profiled):
    """12 dimensions, two threads; scipy gets a twentieth of the queries and its seconds count 20 times."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"points": 500, "queries": 100, "repeats": 1},
        "regular": {"points": 50_000, "queries": 10_000, "repeats": 5},
        "large": {"points": 200_000, "queries": 20_000, "repeats": 3},
    }
    scipy_share = 20

    def setup_cache(self) -> Seconds:
        fix_threads(2)
        points, queries = normals(self.size["points"], 0), normals(self.size["queries"], 1)
        theirs = gaussian_kde(points.numpy().T)
        few = queries[: self.size["queries"] // self.scipy_share].numpy().T
        seconds = side_by_side(
            self.size["repeats"],
            ours=lambda: KernelDensity(points).log_prob(queries),
            scipy=lambda: theirs.logpdf(few),
        )
        seconds["scipy"] = [self.scipy_share * each for each in seconds["scipy"]]
        return seconds

    setup_cache.timeout = 300.0

    @at_least(30)
    def track_speed_over_scipy(self, seconds: Seconds) -> float:
        return ratio(seconds, "scipy", "ours")

    track_speed_over_scipy.unit = "times the speed of scipy's gaussian_kde"


class KernelDensityCost(Profiled):
    """Fitting and evaluating, on two threads."""

    sizes = KernelDensityRatio.sizes

    def setup(self) -> None:
        fix_threads(2)
        self.points, self.queries = normals(self.size["points"], 0), normals(self.size["queries"], 1)

    def time_log_prob(self) -> None:
        KernelDensity(self.points).log_prob(self.queries)

    @at_most(2**30)
    def peakmem_log_prob(self) -> None:
        KernelDensity(self.points).log_prob(self.queries)

    @at_most(1e-10)
    def track_error_in_the_tails(self) -> float:
        queries = torch.cat([scale * normals(25, 2) for scale in TAILS])
        theirs = gaussian_kde(self.points.numpy().T).logpdf(queries.numpy().T)
        ours = KernelDensity(self.points).log_prob(queries).numpy()
        return float(np.abs(ours / theirs - 1).max())

    track_error_in_the_tails.unit = "relative difference from scipy"
