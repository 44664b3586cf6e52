"""Excess over the floor: a figure less what as many exact draws get on the same instance, worse being more.

Excesses differ by orders of magnitude between instances where a solver is far from exact, and scatter about zero by the
sampling noise where it is not. Both are compared on one scale,

    g(x) = asinh(x/s),

which is x/s within the noise s and log(2x/s) far above it: a difference of g is a difference of excesses there and the
logarithm of their ratio here. Only an s far below the noise would do harm, since noise of either sign then has two
humps. So s is the largest of three: the least error stated, of two solvers that of the surer one, since far from the
truth errors grow with the figure; the most that any excess lies below zero, where no true one does; and what the
deviation of floors over instances may be, its bound at 90 % from a χ² law.
"""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri

from problems.arrays import Reals

ROUNDING = 1e-10
"""What is put down to rounding, as between processors: of a figure or, where that is more, of its unit.

Which that is, ``harness.verdict.units`` finds: 1 for what has none.
"""
FURTHEST = 100.0
"""Largest |g|, about log(10⁴³): what an infinite figure counts as, and a run that failed."""
SURE = 0.9


def noise(excess: Reals, errors: Reals, floors: Reals, unit: float = 1.0) -> tuple[float, float]:
    """Return the noise > 0 that is seen in excesses (n,) and floors (n,), and the least of the stated errors (n,).

    NaN is no figure; ``errors`` are those of figure and floor together, ``floors`` all NaN where there are none. The
    rounding of figures in this ``unit`` is the least noise.
    """
    finite = excess[np.isfinite(excess)]
    known = errors[np.isfinite(errors)]
    beside = floors[np.isfinite(floors)]
    rounding = ROUNDING * unit
    seen = float(max(rounding, *(-finite), rounding))
    if len(beside) > 1:
        freedom = len(beside) - 1
        bound = float(np.sqrt(freedom / chdtri(freedom, SURE)))
        seen = max(seen, bound * float(np.std(beside, ddof=1)))
    return seen, float(known.min()) if len(known) else 0.0


def own_scale(noises: Reals) -> Reals:
    """Return the scale s (…) of solvers whose seen and stated noise are given (…, 2)."""
    return np.asarray(noises.max(axis=-1))


def shared_scale(one: Reals, other: Reals) -> Reals:
    """Return the scale s that two solvers are compared on, from the seen and stated noise (…, 2) of both."""
    seen = np.maximum(one[..., 0], other[..., 0])
    return np.asarray(np.maximum(seen, np.minimum(one[..., 1], other[..., 1])))


def stated_error(errors: Reals) -> Reals:
    """Return standard errors (n,) with 0 where none is stated (NaN)."""
    return np.where(np.isnan(errors), 0.0, errors)


def scaled(excess: Reals, scale: Reals | float) -> Reals:
    """Return g(x) = asinh(x/s), no further from 0 than ``FURTHEST``."""
    return np.asarray(np.clip(np.arcsinh(excess / scale), -FURTHEST, FURTHEST))


def unscaled(value: Reals | float, scale: Reals | float) -> Reals:
    """Return the excess x = s sinh(g)."""
    return np.asarray(scale * np.sinh(value))


def differences(one: Reals, other: Reals, scale: Reals | float, unit: float = 1.0) -> Reals:
    """Return g(one) - g(other) of excesses (n,), 0 where they differ by rounding alone, NaN where one is missing.

    Rounding is that of figures in this ``unit``.
    """
    with np.errstate(invalid="ignore"):
        rounding = ROUNDING * np.maximum(unit, np.maximum(np.abs(one), np.abs(other)))
        same = (one == other) | (np.isfinite(rounding) & (np.abs(one - other) <= rounding))
    return np.where(same, 0.0, scaled(one, scale) - scaled(other, scale))
