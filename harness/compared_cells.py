"""The cells that two sides of a comparison have in common, and which of them failed.

A run that failed has no figure, and is no gap: it stands beside what the other side answered, at every time and by
every measure that its own side is known by or, where its side answered nothing at all, that the other is.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.outcome import FAILED
from harness.verdict.deciding import places
from harness.verdict.units import units

GROUP = ["problem", "problem_settings", "solver", "solver_settings", "device", "size"]
CELL = [*GROUP, "seed"]
ROW = [*GROUP, "t", "metric"]
FIGURE = [*CELL, "t", "metric"]
VALUES = ["value", "standard_error", "floor", "floor_standard_error", "decides", "unit", "solve_seconds", "beside"]
SIDES = ("before", "after")


def latest(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return one row for each value of the keys, that of the cell which ended last; cells yet to run have none."""
    ended = frame[frame["status"] != "planned"].sort_values("finished", kind="stable")
    return ended.drop_duplicates(keys, keep="last").sort_index()


def with_units(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the unit of each figure, as all of its solvers and bounds tell it, in ``unit``."""
    return frame if "unit" in frame else frame.assign(unit=units(frame, places(frame) > 0))


def paired_cells(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return one row (``FIGURE``) a cell, time and measure that both sides have a figure of, or a failed run.

    ``VALUES`` and ``label`` stand there of either side, with ``_before`` and ``_after``; a run that failed has no
    ``value`` (NaN). Rows of which neither side has any figure are left out.
    """
    frames = [with_units(frame) for frame in (before, after)]
    failed = [failures(frame) for frame in frames]
    figures = [measured(frame, lost) for frame, lost in zip(frames, failed, strict=True)]
    sides = [
        pd.concat([own, lost.merge(asked(own, other), on=GROUP)], ignore_index=True)
        for own, other, lost in zip(figures, figures[::-1], failed, strict=True)
    ]
    paired = sides[0].merge(sides[1], on=FIGURE, suffixes=("_before", "_after"))
    answered = paired[[f"value_{side}" for side in SIDES]].notna().any(axis=1)
    return paired[answered.groupby([paired[name] for name in ROW], sort=False).transform("any")]


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells whose last run ended without an answer, with their labels."""
    ended = latest(frame, CELL)
    return ended.loc[ended["status"].isin(FAILED), [*CELL, "label"]]


def measured(frame: pd.DataFrame, failed: pd.DataFrame) -> pd.DataFrame:
    """Return the figures of a side, but for those of an earlier run of cells that have failed since."""
    found = latest(frame[frame["status"].eq("ok") & frame["metric"].notna() & frame["value"].notna()], FIGURE)
    if len(failed):
        found = found[~pd.MultiIndex.from_frame(found[CELL]).isin(pd.MultiIndex.from_frame(failed[CELL]))]
    found = found.assign(decides=places(found) if len(found) else 0.0)
    columns = {name: found[name].astype(float) if name in found else np.nan for name in VALUES}
    return found[[*FIGURE, "label"]].assign(**columns)


def asked(own: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the times and measures of each group that a side has figures of, or the other one where it has none."""
    known = [figures[ROW].drop_duplicates() for figures in (own, other)]
    silent = ~known[1].set_index(GROUP).index.isin(known[0].set_index(GROUP).index)
    return pd.concat([known[0], known[1][silent]], ignore_index=True)
