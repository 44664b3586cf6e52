"""How the figures of some seeds changed between two sides, for the better or the worse, and what happened to seconds.

The equations are in :mod:`harness.compare`. Beside a distance that is infinite all others are lost in a mean. So where
all pairs of which one run failed speak for the same side as those that both answered, these may tell by themselves.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from harness.compared_cells import SIDES
from harness.measure import CATALOGUE
from harness.verdict.excess import differences, noise, own_scale, scaled, shared_scale, stated_error
from harness.verdict.paired import LEVEL, compared
from problems.arrays import Flags, Reals

CONFIDENCE = 0.95
BRIEF = 0.05
"""Seconds below which a run says more about the machine than about the solver."""


def both(seeds: pd.DataFrame, name: str) -> tuple[Reals, Reals]:
    """Return a column of either side, (n,) each."""
    before, after = (seeds[f"{name}_{side}"].to_numpy(dtype=float, na_value=np.nan) for side in SIDES)
    return before, after


def scatter_of(seeds: pd.DataFrame) -> dict[str, float]:
    """Return the median difference of figures over seeds that both answered, and its errors; NaN for none."""
    before, after = both(seeds, "value")
    n = len(seeds)
    if not n:
        return {"difference": math.nan, "standard_error": math.nan, "half_width": math.nan}
    with np.errstate(invalid="ignore"):
        differences = np.where(before == after, 0.0, after - before)
        difference = float(np.median(differences))
    errors = np.hypot(*(stated_error(error) for error in both(seeds, "standard_error")))
    if np.isinf(differences).any():
        return {"difference": difference, "standard_error": math.inf, "half_width": math.inf}
    factor = math.sqrt(math.pi / 2) if n > 1 else 1.0
    scatter = factor * float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    stated = factor * float(np.sqrt((errors**2).sum())) / n
    tail = (1 + CONFIDENCE) / 2
    by_scatter = scatter * float(stats.t.ppf(tail, n - 1)) if n > 1 else 0.0
    half_width = max(by_scatter, stated * float(stats.norm.ppf(tail)))
    return {"difference": difference, "standard_error": max(scatter, stated), "half_width": half_width}


def cost_of(seeds: pd.DataFrame) -> dict[str, float | bool]:
    """Return the factor of seconds over seeds that both answered, its interval, and whether the seconds are noisy."""
    before, after = both(seeds, "solve_seconds")
    known = (before > 0) & (after > 0)
    ratio = np.log(after[known] / before[known])
    if not len(ratio):
        return {"seconds_ratio": math.nan, "seconds_low": math.nan, "seconds_high": math.nan, "noisy": False}
    _, mean, half, _, _ = (float(each[0]) for each in compared(ratio[None]))
    beside = np.stack(both(seeds, "beside"))[:, known]
    brief = min(float(np.median(side[known])) for side in (before, after)) < BRIEF
    return {
        "seconds_ratio": math.exp(mean),
        "seconds_low": math.exp(mean - half),
        "seconds_high": math.inf if math.isinf(half) else math.exp(mean + half),
        "noisy": brief or bool((beside > 0).any()),
    }


def verdict_on(seeds: pd.DataFrame, metric: str) -> dict[str, float | str]:
    """Return whether the figures of some seeds changed, for the better or the worse, and the p-value of the test.

    A run that failed counts as infinitely far from the truth.
    """
    values, floors = both(seeds, "value"), both(seeds, "floor")
    failed = [np.isnan(value) for value in values]
    way = CATALOGUE[metric].better if metric in CATALOGUE else "lower"
    sign = -1.0 if way == "higher" else 1.0
    floored = not any(
        np.isnan(floor[~lost]).all() for floor, lost in zip(floors, failed, strict=True) if not lost.all()
    )
    with np.errstate(invalid="ignore"):
        excess = [
            sign * np.where(value == floor, 0.0, value - floor) if floored else sign * value
            for value, floor in zip(values, floors, strict=True)
        ]
    errors = [
        np.where(lost, np.nan, np.hypot(stated_error(own), stated_error(other)))
        for lost, own, other in zip(
            failed, both(seeds, "standard_error"), both(seeds, "floor_standard_error"), strict=True
        )
    ]
    unit = float(np.nanmax(both(seeds, "unit")))
    sides = zip(excess, errors, floors, strict=True)
    noises = [np.array(noise(own, error, sign * floor, unit)) for own, error, floor in sides]
    far = [np.where(lost, np.inf, own) for lost, own in zip(failed, excess, strict=True)]
    change = differences(far[1], far[0], shared_scale(*noises), unit)
    if np.all(np.nan_to_num(change) == 0):
        return {"p": math.nan, "change": "same"}
    alone = failed[0] != failed[1]
    p, direction = tested(change, failed[0] | failed[1], alone)
    # Answers whose figure became infinite, or stopped being so, decide: that is no noise, as a run that failed may be.
    jumps = np.isinf(values[0]) != np.isinf(values[1])
    jumps &= ~(failed[0] | failed[1])
    if jumps.any():
        direction = float(np.sign(change[jumps | alone]).sum())
    elif np.sum(~np.isnan(change)) < 2:
        return {"p": math.nan, "change": "cannot tell"}
    elif not p < LEVEL:
        return {"p": p, "change": "cannot tell" if alone.any() else "same"}
    if direction == 0:
        return {"p": p, "change": "same"}
    # Of a side without any answer no measure is asked.
    silent = any(lost.all() for lost in failed)
    proper = silent or all((own[~lost] > 0).all() for own, lost in zip(both(seeds, "decides"), failed, strict=True))
    if (way == "neither" and not silent) or not proper:
        return {"p": p, "change": "changed"}
    worse, better = (1, 0) if direction > 0 else (0, 1)
    evident = above(far[worse], excess[worse], noises[worse]) and not below(excess[better], noises[better])
    if floored and not jumps.any() and not evident:
        return {"p": p, "change": "changed"}
    return {"p": p, "change": "worse" if direction > 0 else "better"}


def tested(change: Reals, failed: Flags, alone: Flags) -> tuple[float, float]:
    """Return the p-value and the direction of changes (n,), where a run ``failed``, or on one side ``alone``."""
    p, direction = float(compared(change[None])[3][0]), float(np.nanmean(change))
    answered = np.where(failed, np.nan, change)
    if alone.any() and not np.isnan(answered).all():
        _, mean, _, by_answers, _ = (float(each[0]) for each in compared(answered[None]))
        if (np.sign(change[alone]) == np.sign(mean)).all():
            p = float(np.fmin(p, by_answers))
    return p, direction


def above(far: Reals, excess: Reals, noises: Reals) -> bool:
    """Return whether excesses (n,) are above their floor at 5 %, with failed runs as infinite (``far``) or without."""
    tests = [compared(scaled(each, own_scale(noises))[None]) for each in (far, excess)]
    return any(bool(p[0] < LEVEL and mean[0] > 0) for _, mean, _, p, _ in tests)


def below(excess: Reals, noises: Reals) -> bool:
    """Return whether excesses (n,) are below their floor at 5 %."""
    _, mean, _, p, _ = compared(scaled(excess, own_scale(noises))[None])
    return bool(p[0] < LEVEL and mean[0] < 0)
