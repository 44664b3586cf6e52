"""What a verdict needs of a store, and no more: of a large sweep the whole frame would take many times as long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from harness.frame import queried_rows
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
SELECT key, t, metric, value, standard_error, sample_size, decides,
    CASE WHEN decides IS NULL THEN estimator END AS estimator
FROM measurements AS each
WHERE (decides > 0 OR decides IS NULL AND metric IN ({DECIDING})
    OR key IN (SELECT key FROM plans WHERE solver = 'oracle'))
    AND t = (SELECT max(t) FROM measurements AS any WHERE any.key = each.key)
    AND key IN (
        SELECT key FROM plans
        WHERE suite = coalesce(?, suite) AND preset = coalesce(?, preset) AND (replaced IS NULL OR ?)
    )
"""
NUMBERS = ["t", "value", "standard_error", "sample_size", "decides"]
INSTANCE = ["suite", "preset", "problem", "problem_settings", "size", "seed", "device", "evaluation", "data"]


def load_deciding(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return the figures that decide, at each cell's last time, and a row for each cell without any.

    A part of what :func:`harness.frame.load` returns, in the same columns, with the same arguments and errors.
    """
    which = (suite, preset, everything)
    cells, figures = (objects(*queried_rows(path, query, *which)) for query in (CELLS, FIGURES))
    # Long texts are joined by numbers: a store has tens of thousands of them.
    codes = pd.factorize(np.concatenate([cells["key"].to_numpy(), figures.pop("key").to_numpy()]))[0]
    cells["cell"], figures["cell"] = codes[: len(cells)], codes[len(cells) :]
    cells["instance"] = cells.groupby(INSTANCE, sort=False, dropna=False).ngroup()
    for name in NUMBERS:
        figures[name] = figures[name].astype(float)
    found = cells.merge(figures, on="cell", how="left")
    found["sample"] = found["sample_size"].fillna(-1.0)
    keys = ["instance", "t", "metric", "sample"]
    oracle = found["solver"].eq("oracle") & found["metric"].notna()
    floors = found.loc[oracle, [*keys, "value", "standard_error"]].drop_duplicates(keys)
    floors = floors.rename(columns={"value": "floor", "standard_error": "floor_standard_error"})
    found = found.merge(floors, on=keys, how="left").drop(columns=["cell", "instance", "sample"])
    return found.assign(solve_seconds=found["solve_seconds"].astype(float))


def objects(names: list[str], rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Return rows as a frame of Python objects, as they came."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in zip(names, columns, strict=True)})
