"""Checks that a measure tells a better answer from a worse one, and counts particles by their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from harness.conformance.contract import generator, require
from harness.measure.measure import Figure, Measure, Subject
from solvers.estimates import Particles

POINTS = 500
CLEAR = 6.0
"""Standard errors of both figures that a difference is more than."""
AWAY = 4.0
"""Deviations by which the points are moved that have no weight."""
NO_WEIGHT = -1e3
HALF = 0.5
"""Share of what a measure says of moved points by which it may differ where these have no weight."""

TOLD = 6
"""Problems that tell answers apart, of which no more are asked for."""

Measuring = Callable[[Subject], Figure]


def way(measure: Measure) -> float:
    """Return 1 where a higher figure is worse, -1 where it is better."""
    return -1.0 if measure.higher_is_better else 1.0


def prefers_the_truth(measure: Measure, pairs: Iterator[tuple[Subject, Subject]], measured: Measuring) -> str:
    """Raise ``Violation`` where the figures of the initial law are clearly better than those of the truth.

    ``pairs`` are a right answer and the initial law; more of those that are told apart must speak for the first.
    """
    if measure.has_target:
        return "neither way is better"
    better, worse, shown = 0, 0, ""
    for right, wrong in pairs:
        if measure.unsuited(right) is not None or measure.unsuited(wrong) is not None:
            continue
        first, second = measured(right), measured(wrong)
        gap = way(measure) * (second.value - first.value)
        if not abs(gap) > CLEAR * math.hypot(first.standard_error, second.standard_error) + 1e-9:
            continue
        better, worse = better + (gap > 0), worse + (gap < 0)
        if gap < 0:
            shown = f"{first.value:.3g} for the truth and {second.value:.3g} for the initial law"
        if better + worse == TOLD:
            break
    said = "higher_is_better" if measure.higher_is_better else "lower is better, as higher_is_better is not set"
    require(worse <= better, f"gives {shown}, where {said}: {worse} of {better + worse} problems speak for the latter")
    return f"better for the truth than for the initial law on {better} of {better + worse} problems"


def counts_by_weight(measure: Measure, subjects: Iterator[Subject], measured: Measuring) -> str:
    """Raise ``Violation`` where particles without any weight change the figure, as they do where they have weight."""
    tried = 0
    for subject in subjects:
        assert subject.truth is not None
        right = subject.truth.sample(POINTS, generator(4))
        far = right + AWAY * right.std(0)
        points, light = torch.cat([right, far]), torch.zeros(POINTS, dtype=torch.float64)
        alone, weighted, equal = (
            replace(subject, estimate=estimate)
            for estimate in (
                Particles(right, light),
                Particles(points, torch.cat([light, light + NO_WEIGHT])),
                Particles(points, torch.cat([light, light])),
            )
        )
        if any(measure.unsuited(each) is not None for each in (alone, weighted, equal)):
            continue
        first, second, third = measured(alone), measured(weighted), measured(equal)
        gap = abs(third.value - first.value)
        if not gap > CLEAR * math.hypot(first.standard_error, min(third.standard_error, gap)):
            continue
        tried += 1
        require(
            abs(second.value - first.value) <= HALF * gap,
            f"gives {first.value:.3g} for particles, and {second.value:.3g} with others beside them that have no "
            f"weight (log_weights): it must count particles by weight, or be unsuited for weighted ones",
        )
        if tried == TOLD // 2:
            break
    return f"particles count by weight, on {tried} problems" if tried else "no weighted particles are measured"
