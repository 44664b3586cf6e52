"""Frames of made-up sweeps, with the columns that verdicts read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

RUN = {
    "suite": "made-up", "preset": "", "problem": "well", "problem_settings": "{}", "size": 1, "t": 1.0, "status": "ok",
    "device": "cpu", "evaluation": "", "data": "", "replaced": None, "solver_settings": "{}", "solve_seconds": 1.0,
    "metric": "energy-distance", "standard_error": 0.1, "floor_standard_error": 0.1, "estimator": "U-statistic",
    "sample_size": 1000, "decides": 1,
}  # fmt: skip


def sweep(figures: Mapping[str, Any], floors: Any = 0.0, **columns: Any) -> pd.DataFrame:
    """Return a frame of solvers by label with a figure an instance, NaN for a run that failed, beside ``floors``."""
    parts = []
    for label, values in figures.items():
        values = np.atleast_1d(np.asarray(values, dtype=float))
        rows = pd.DataFrame(RUN | columns, index=range(len(values)))
        rows = rows.assign(
            label=label, solver=label.split()[0], seed=np.arange(len(values)), value=values, floor=floors
        )
        rows["key"] = [f"{label} {rows['problem'][0]} {rows['size'][0]} {seed}" for seed in rows["seed"]]
        failed = np.isnan(values)
        rows.loc[failed, "status"] = "diverged"
        rows["metric"] = rows["metric"].astype(object).where(~failed, None)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)
