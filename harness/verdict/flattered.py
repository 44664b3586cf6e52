"""Answers that a measure flatters: figures told to be better than exact draws, by a measure that decides nothing.

A kernel density widens, so draws that are too narrow have a SymKL below that of exact draws: such a figure says that
something is wrong, and nothing for the solver.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.measure import CATALOGUE
from harness.verdict.contest import BOUNDS, PLACE
from harness.verdict.deciding import places
from harness.verdict.paired import LEVEL, compared, corrected


def flattered(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return the labels of solvers that are told below exact draws, by measure; measures of a target have none.

    At each problem's last time, over two instances or more, corrected for the number of comparisons. The labels of the
    frame are told apart.
    """
    lower = [name for name, entry in CATALOGUE.items() if entry.better == "lower"]
    rows = frame[frame["floor"].notna() & np.isfinite(frame["value"].astype(float))]
    rows = rows[rows["status"].eq("ok") & rows["metric"].isin(lower) & ~rows["solver"].isin(BOUNDS)]
    undecided = places(rows) == 0
    if not undecided.any():
        return {}
    rows = rows[undecided & rows["t"].eq(rows.groupby(PLACE, sort=False)["t"].transform("max"))]
    keys, groups = [], []
    for key, group in rows.groupby([*PLACE, "metric", "label"], sort=False):
        keys.append((str(key[-2]), str(key[-1])))
        groups.append((group["value"] - group["floor"]).to_numpy(dtype=float))
    excess = np.full((len(groups), max(map(len, groups), default=0)), np.nan)
    for row, values in enumerate(groups):
        excess[row, : len(values)] = values
    found: dict[str, list[str]] = {}
    if groups:
        _, mean, _, p, _ = compared(excess)
        for (metric, label), below in zip(keys, (corrected(p) < LEVEL) & (mean < 0), strict=True):
            if below and label not in found.setdefault(metric, []):
                found[metric].append(label)
    return {metric: labels for metric, labels in found.items() if labels}
