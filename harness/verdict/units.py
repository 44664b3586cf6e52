"""In which unit the figures of a contest are: what rounding is measured by.

Divergences have no unit, and figures of 1e-16 are rounding whatever the flow. Distances are lengths: in a flow that is
1e-12 wide all of them are as small, and mean as much as those of any other. How wide it is, figures tell where they
cannot be rounding themselves. First, the initial law's distances, where that law is told from the truth, by a
divergence or by draws: the largest is the unit of all distances. Else, of a distance of draws, the largest figure of
the solver (or its floor) that has the smallest ones, so that no unit comes from an answer that is far off. Else nobody
can tell rounding in one unit from differences in another, as between closed forms alone that may all be exact: the unit
is 1, by which a flow about 1 wide is judged rightly, and nothing is told apart in a tiny one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from problems.arrays import Flags, Reals

LENGTHS = ("w2", "energy-distance", "crps", "sliced-w2", "bures-w2")
"""Measures that are lengths: of a flow in units so many times as large their figures are so many times as small."""
ZERO_AT_THE_TRUTH = ("symkl", "kl", "l1", "hellinger")
"""Measures without a unit that are 0 where a law is the truth, and not elsewhere."""
APART = 1e-6
"""By such a measure figures below this may be the rounding of two equal laws."""
ERRORS_APART = 6.0
PLACE = ["problem", "problem_settings", "size", "t"]


def units(frame: pd.DataFrame, decides: Flags) -> Reals:
    """Return the unit of each figure of a frame with bounds in it, shape (n,): 1 where there is none or none is known.

    ``frame`` has the columns ``problem``, ``problem_settings``, ``size``, ``t``, ``label``, ``solver``, ``metric`` and
    ``value`` and, where they are known, ``standard_error``, ``floor`` and ``sample_size``. Units are those of figures
    that ``decides`` (n,) marks.
    """
    length = frame["metric"].isin(LENGTHS).to_numpy(dtype=bool)
    found = np.ones(len(frame))
    if not length.any():
        return found
    value, error, floor, size = (numbers(frame, name) for name in ("value", "standard_error", "floor", "sample_size"))
    sampled = (error > 0) | ~np.isnan(size)
    solver = frame["solver"].to_numpy(dtype=object)
    of_group = frame.groupby(PLACE, sort=False, dropna=False).ngroup().to_numpy()
    of_measure = frame.groupby([*PLACE, "metric"], sort=False, dropna=False).ngroup().to_numpy()
    largest = np.fmax(finite(value), finite(floor))
    drawn = decides & length & sampled & ~np.isin(solver, ["initial", "oracle"])
    by_draws = pd.DataFrame({"measure": of_measure, "label": frame["label"].to_numpy(dtype=object), "figure": largest})
    nearest = by_draws[drawn].groupby(["measure", "label"])["figure"].max().groupby("measure").min()
    by_start = decides & (solver == "initial")
    divergence = frame["metric"].isin(ZERO_AT_THE_TRUTH).to_numpy(dtype=bool)
    apart = (divergence & (value > APART)) | (length & (error > 0))
    apart &= by_start & (value > ERRORS_APART * np.nan_to_num(error))
    told = by_start & length & np.isin(of_group, of_group[apart])
    start = pd.Series(finite(value)[told]).groupby(of_group[told]).max()
    for known, group in ((nearest, of_measure), (start, of_group)):
        unit = known.reindex(group).to_numpy(dtype=float)
        found = np.where(length & (unit > 0), unit, found)
    return found


def finite(values: Reals) -> Reals:
    """Return the sizes of figures (n,), 0 for those that are infinite or missing."""
    return np.where(np.isfinite(values), np.abs(values), 0.0)


def numbers(frame: pd.DataFrame, name: str) -> Reals:
    """Return a column as floats (n,), NaN where it is not known."""
    if name not in frame:
        return np.full(len(frame), np.nan)
    return frame[name].to_numpy(dtype=float, na_value=np.nan)
