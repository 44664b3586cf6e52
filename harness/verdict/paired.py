"""Paired tests over few instances, with power at three and five: Student's t, Benjamini and Hochberg's correction.

Where two solvers are the same law, the difference of their excesses on an instance is as likely d as -d, and Student's
test of a mean of zero keeps its level for symmetric laws of one hump, whatever their tails; signed ranks can never
reject below six instances. Of several comparisons at once those count that Benjamini and Hochberg (1995, J. R. Statist.
Soc. B 57) keep (scipy.stats.false_discovery_control): of those called, 5 % are false on average, and where all laws are
the same, any is called in 5 % of cases.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special, stats

from problems.arrays import Reals

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000


def compared(differences: Reals) -> tuple[Reals, Reals, Reals, Reals, Reals]:
    """Return counts, means, half-widths of 95 % intervals, p-values and standardised effects of each row (k, n).

    NaN is no difference. A row of zeros has p = 1, one of less than two differences no p-value (NaN) and an infinite
    half-width. An effect is a mean in standard deviations.
    """
    values = np.ma.masked_array(differences, np.isnan(differences))
    counts = np.asarray(values.count(axis=1)).astype(float)
    halves, p, effects = (np.full(len(differences), fill) for fill in (math.inf, math.nan, math.nan))
    means = np.ma.filled(values.mean(axis=1), math.nan)
    rows = np.flatnonzero(counts > 1)
    if len(rows):
        several, mean, freedom = values[rows], means[rows], counts[rows] - 1
        deviations = np.ma.filled(several.std(axis=1, ddof=1), math.nan)
        errors = deviations / np.sqrt(counts[rows])
        zero = np.asarray((several == 0).all(axis=1))
        with np.errstate(all="ignore"):  # the same difference on every instance has no deviation
            p[rows] = np.where(zero, 1.0, 2 * special.stdtr(freedom, -np.abs(mean) / errors))
            effects[rows] = np.where(mean == 0, 0.0, np.abs(mean) / deviations)
        halves[rows] = special.stdtrit(freedom, 1 - LEVEL / 2) * errors
    return counts, means, halves, p, effects


def corrected(p: Reals) -> Reals:
    """Return p-values (k,) after Benjamini and Hochberg's correction for their number; NaN counts as none."""
    found = np.full_like(p, math.nan)
    known = ~np.isnan(p)
    if known.any():
        found[known] = stats.false_discovery_control(p[known])
    return found


@lru_cache
def tellable() -> Reals:
    """Return the standardised effects (k,) that n = 2, 3, … seeds tell in 80 % of cases, one comparison at 5 %."""
    n = np.unique(np.concatenate([np.arange(2, 51), np.geomspace(50, MOST_SEEDS, 60).astype(int)])).astype(float)
    low, high = np.zeros_like(n), np.full_like(n, 60.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        weak = power(middle, n) < POWER
        low, high = np.where(weak, middle, low), np.where(weak, high, middle)
    return np.stack([n, high])


def power(effect: Reals | float, n: Reals | float) -> Reals:
    """Return how often n seeds tell an effect of so many deviations, one comparison at 5 %, of their common shape."""
    freedom = np.asarray(n) - 1
    bound = special.stdtrit(freedom, 1 - LEVEL / 2)
    centre = np.asarray(effect) * np.sqrt(n)
    right, left = special.nctdtr(freedom, -centre, -bound), special.nctdtr(freedom, centre, -bound)
    # SciPy gives up (NaN) where one is 1 and the other 0 to all digits.
    return np.asarray(np.nan_to_num(right, nan=1.0) + np.nan_to_num(left, nan=0.0))


def seeds_for(effect: float) -> int | None:
    """Return about how many seeds tell an effect of so many standard deviations; ``None`` for more than 1000."""
    if not effect > 0:
        return None
    n, least = tellable()
    enough = np.flatnonzero(least <= effect)
    return int(n[enough[0]]) if len(enough) else None
