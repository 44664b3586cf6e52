"""The gradient of the logistic posterior at the size of covtype: what it costs beyond its two matrix products.

The logits are one product, the sum over cases of misfit times features the other. Everything else that a minibatch
takes counts as ours: gathering its cases, the logistic function, the prior, and its share of shuffling the pass. Where
the logits stay in the cache, as those of 1000 cases do, the logistic function alone adds more than a quarter to its
two products; larger batches are worked on in blocks that stay there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from benchmarks.bounds import at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.posterior.logistic_posterior import LogisticPosterior

FEATURES = 54
CALLS = 20


class LogisticGradient(Profiled):
    """1000 particles, in float32 on one thread; the products write into arrays that are there already."""

    timeout = 300.0
    rounds = 1
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"cases": 2000, "particles": 20, "all": 5, "batches": {1000: 100, 10_000: 200}, "repeats": 1},
        "regular": {"cases": 581_012, "particles": 1000, "all": 64, "batches": {}, "repeats": 9},
        "large": {"cases": 581_012, "particles": 10_000, "all": 1000, "batches": {}, "repeats": 5},
    }

    def setup_cache(self) -> dict[str, Seconds]:
        fix_threads(1)
        features = torch.randn(self.size["cases"], FEATURES, generator=stream("problem"))
        potential = LogisticPosterior(features, 1.0, 100.0)
        return {
            "all": self.full(potential),
            **{str(batch): self.minibatch(potential, batch) for batch in (1000, 10_000)},
        }

    setup_cache.timeout = 300.0

    def full(self, potential: LogisticPosterior) -> Seconds:
        points = torch.randn(self.size["all"], FEATURES + 1, generator=stream("solver")) / 4
        return side_by_side(
            self.size["repeats"],
            ours=lambda: potential.gradient(points),
            products=products(points, potential.signed_features, 1),
        )

    def minibatch(self, potential: LogisticPosterior, batch: int) -> Seconds:
        batch = self.size["batches"].get(batch, batch)
        points = torch.randn(self.size["particles"], FEATURES + 1, generator=stream("solver")) / 4
        batches = potential.minibatches(batch, stream("solver"))

        def ours() -> None:
            for _ in range(CALLS):
                next(batches).gradient(points)

        return side_by_side(
            self.size["repeats"],
            ours=ours,
            products=products(points, potential.signed_features[:batch].clone(), CALLS),
        )

    def track_minibatches_of_1000_over_their_products(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["1000"], "ours", "products")

    track_minibatches_of_1000_over_their_products.unit = "times the seconds of the two products"

    @at_most(1.3)
    def track_minibatches_of_10000_over_their_products(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["10000"], "ours", "products")

    track_minibatches_of_10000_over_their_products.unit = "times the seconds of the two products"

    @at_most(1.3)
    def track_all_cases_over_their_products(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["all"], "ours", "products")

    track_all_cases_over_their_products.unit = "times the seconds of the two products"


def products(points: torch.Tensor, features: torch.Tensor, calls: int):
    """Return a function that does the two products of a gradient, ``calls`` times, with nothing between them."""
    weights = points[:, :-1].contiguous()
    logits = torch.empty(len(weights), len(features))
    total = torch.empty_like(weights)

    def run() -> None:
        for _ in range(calls):
            torch.mm(weights, features.T, out=logits)
            torch.mm(logits, features, out=total)

    return run
