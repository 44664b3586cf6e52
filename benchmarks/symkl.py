"""The J estimator of SymKL: its seconds, and how much smaller its standard error is than that of the naive one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from benchmarks.bounds import at_most
from benchmarks.profiles import Profiled
from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from harness.streams import stream
from harness.threads import fix_threads
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.gaussian.gaussian_jko import GaussianJKO


class SymKLEstimator(Profiled):
    """JKO of step 0.05 on a published instance against the truth, both Gaussian."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 100, "regular": 8192, "large": 200_000}
    params = (2, 12)
    param_names = ("D",)

    def setup(self, dim: int) -> None:
        fix_threads(1)
        problem = OrnsteinUhlenbeck().build(dim, 0, stream("problem"))
        estimate = GaussianJKO().solve(problem, stream("solver"), torch.device("cpu")).estimates[0]
        self.subject = Subject(estimate, problem.truth(problem.flow.times[0]), problem)

    def time_estimate(self, dim: int) -> None:
        SymKL()(self.subject, self.size, stream("evaluation"))

    @at_most(1)
    def track_standard_error(self, dim: int) -> float:
        """Both on as many draws a side; the naive estimate is the mean of ℓ over the fit minus that over the truth."""
        fit, truth = self.subject.estimate.law, self.subject.truth
        naive = 0.0
        for law in (fit, truth):
            x = law.sample(self.size, stream("evaluation"))
            naive += float((fit.log_prob(x) - truth.log_prob(x)).var()) / self.size
        return SymKL()(self.subject, self.size, stream("evaluation")).standard_error / math.sqrt(naive)

    track_standard_error.unit = "of the naive standard error"
