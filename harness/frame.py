"""The store as one tidy frame: what the page, the tables, the figures and the exports are made from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.store import Store
from harness.usage import unknown

QUERY = """
SELECT plans.key, plans.suite, plans.preset, problem, problem_settings, solver, solver_settings, label, size, seed,
    coalesce(status, 'planned') AS status, reason, traceback, t, metric, value, standard_error, estimator, sample_size,
    solve_seconds, setup_seconds, measure_seconds, wall_seconds, cpu_seconds, peak_memory, gradient_evaluations,
    beside, diagnostics, finished, device, cells.run, started, "commit", dirty, machine, threads, versions, argv, rerun
FROM plans
LEFT JOIN cells ON cells.key = plans.key
LEFT JOIN runs ON runs.run = cells.run
LEFT JOIN measurements ON measurements.key = plans.key
WHERE plans.suite = coalesce(?, plans.suite)
ORDER BY plans.suite, plans.preset, problem, size, label, seed, t, metric
"""
INSTANCE = ["suite", "preset", "problem", "problem_settings", "size", "seed", "t", "metric", "sample_size", "device"]


def load(path: str | Path, suite: str | None = None) -> pd.DataFrame:
    """Return one row per cell, time and measure, and one for each cell that has no figure.

    ``floor`` and ``floor_standard_error`` are what the same estimator reported for exact draws, as many as the cell's
    particles, on the same instance; NaN where there is no oracle. A cell that has not run yet has the status
    ``planned``.

    Raises ``UsageError`` for a file that is not a store, or when it knows no such suite.
    """
    with Store(Path(path), create=False) as store, store.guarded():
        if suite is not None and suite not in store.suites():
            raise unknown(f"suite in the store {str(path)!r}:", suite, store.suites())
        frame = pd.read_sql_query(QUERY, store.connection, params=(suite,))
    frame["sample_size"] = frame["sample_size"].astype("Int64")
    oracle = frame["solver"].eq("oracle") & frame["metric"].notna()
    floors = frame.loc[oracle, [*INSTANCE, "value", "standard_error"]].rename(
        columns={"value": "floor", "standard_error": "floor_standard_error"}
    )
    return frame.merge(floors, on=INSTANCE, how="left", validate="many_to_one")
