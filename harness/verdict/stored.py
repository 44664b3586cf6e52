"""What a verdict needs of a store, and no more: of a large sweep the whole frame would take many times as long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from harness.frame import queried
from harness.verdict.order import ORDER

CELLS = """
SELECT plans.key, plans.suite, plans.preset, problem, problem_settings, solver, solver_settings, label, size, seed,
    coalesce(status, 'planned') AS status, solve_seconds, device, evaluation, coalesce(cells.data, '') AS data, replaced
FROM plans
LEFT JOIN cells ON cells.key = plans.key
WHERE plans.suite = coalesce(?, plans.suite) AND plans.preset = coalesce(?, plans.preset)
    AND (replaced IS NULL OR ?)
ORDER BY plans.suite, plans.preset, problem, size, label, seed
"""
DECIDING = ", ".join(f"'{name}'" for name in ORDER)
FIGURES = f"""
SELECT key, t, metric, value, standard_error, estimator, sample_size, decides
FROM measurements AS each
WHERE (decides > 0 OR decides IS NULL AND metric IN ({DECIDING})
    OR key IN (SELECT key FROM plans WHERE solver = 'oracle'))
    AND t = (SELECT max(t) FROM measurements AS any WHERE any.key = each.key)
    AND key IN (
        SELECT key FROM plans
        WHERE suite = coalesce(?, suite) AND preset = coalesce(?, preset) AND (replaced IS NULL OR ?)
    )
"""
INSTANCE = ["suite", "preset", "problem", "problem_settings", "size", "seed", "device", "evaluation", "data"]


def load_deciding(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return the figures that decide, at each cell's last time, and a row for each cell without any.

    A part of what :func:`harness.frame.load` returns, in the same columns, with the same arguments and errors.
    """
    which = (suite, preset, everything)
    cells = queried(path, CELLS, *which)
    figures = queried(path, FIGURES, *which)
    cells["instance"] = cells.groupby(INSTANCE, sort=False, dropna=False).ngroup()
    number = pd.Series(np.arange(len(cells)), index=pd.Index(cells["key"]))
    number = number[~number.index.duplicated()]
    # In a store each cell stands once, in plans as often as suites ask for it.
    figures["row"] = number.reindex(pd.Index(figures["key"])).to_numpy()
    figures["size_of_sample"] = figures["sample_size"].astype(float).fillna(-1.0)
    instance, oracle = cells["instance"].to_numpy(), cells["solver"].eq("oracle").to_numpy()
    rows = figures["row"].to_numpy()
    figures = figures.assign(instance=instance[rows], oracle=oracle[rows])
    keys = ["instance", "t", "metric", "size_of_sample"]
    floors = figures.loc[figures["oracle"], [*keys, "value", "standard_error"]].drop_duplicates(keys)
    floors = floors.rename(columns={"value": "floor", "standard_error": "floor_standard_error"})
    figures = figures.merge(floors, on=keys, how="left").drop(columns=["instance", "oracle", "row", "size_of_sample"])
    found = cells.drop(columns="instance").merge(figures, on="key", how="left")
    return found.assign(decides=found["decides"].astype("Int64"), sample_size=found["sample_size"].astype("Int64"))
