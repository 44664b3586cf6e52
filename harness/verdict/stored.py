"""What a verdict needs of a store, and no more: of a large sweep the whole frame would take many times as long."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from harness.frame import queried_rows
from harness.verdict.order import ORDER

CELLS = """
SELECT plans.key, plans.suite, plans.preset, problem, problem_settings, solver, solver_settings, label, size, seed,
    coalesce(status, 'planned') AS status, reason, solve_seconds, device, evaluation,
    coalesce(cells.data, '') AS data, runs.code, replaced
FROM plans
LEFT JOIN cells ON cells.key = plans.key
LEFT JOIN runs ON runs.run = cells.run
WHERE plans.suite = coalesce(?, plans.suite) AND plans.preset = coalesce(?, plans.preset)
    AND (replaced IS NULL OR ?)
"""
ORDERED = ["suite", "preset", "problem", "size", "label", "seed"]
# Cell by cell, along the index of the figures: a store has many times as many.
FIGURES = """
SELECT each.key, each.t, metric, value, standard_error, sample_size, decides,
    CASE WHEN decides IS NULL THEN estimator END AS estimator
FROM (
    SELECT DISTINCT key FROM plans
    WHERE suite = coalesce(?, suite) AND preset = coalesce(?, preset) AND (replaced IS NULL OR ?) AND {cells}
) AS asked
CROSS JOIN measurements AS each ON each.key = asked.key
    AND each.t = (SELECT max(t) FROM measurements AS any WHERE any.key = asked.key)
WHERE {figures}
"""
NUMBERS = ["t", "value", "standard_error", "sample_size", "decides", "solve_seconds"]
INSTANCE = ["suite", "preset", "problem", "problem_settings", "size", "seed", "device", "evaluation", "data"]


def load_deciding(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return the figures that decide, at each cell's last time, and a row for each cell without any.

    A part of what :func:`harness.frame.load` returns, in the same columns and order, with the same arguments and
    errors; of exact draws there are no figures but the floors.
    """
    which = (suite, preset, everything)
    cells = columns(*queried_rows(path, CELLS, *which))
    numbers = pd.DataFrame(index=cells.index)
    for name in dict.fromkeys([*ORDERED, *INSTANCE, "solver", "solver_settings", "status"]):
        numbers[name], values = pd.factorize(cells[name], sort=name in ORDERED, use_na_sentinel=False)
        # Equal texts become one object, of which everything asked later is faster.
        cells[name] = pd.Series(np.asarray(values, dtype=object)[numbers[name]], dtype=object)
    cells["instance"] = numbers.groupby(INSTANCE, sort=False).ngroup()
    cells = cells.take(np.lexsort([numbers[name] for name in reversed(ORDERED)])).reset_index(drop=True)
    decide = f"(decides > 0 OR decides IS NULL AND metric IN ({listed(ORDER)}))"
    figures = columns(*queried_rows(path, FIGURES.format(cells="solver <> 'oracle'", figures=decide), *which))
    alike = f"metric IN ({listed(figures['metric'].unique())})"
    exact = columns(*queried_rows(path, FIGURES.format(cells="solver = 'oracle'", figures=alike), *which))
    exact = exact.rename(columns={"value": "floor", "standard_error": "floor_standard_error"})
    # Long texts are joined by numbers: a store has tens of thousands of them.
    codes = pd.factorize(np.concatenate([cells["key"], figures.pop("key"), exact.pop("key")]))[0]
    cells["cell"], figures["cell"], exact["cell"] = np.split(codes, np.cumsum([len(cells), len(figures)]))
    figures, exact = (each.merge(cells[["cell", "instance"]], on="cell") for each in (figures, exact))
    same = ["instance", "t", "metric", "sample_size"]
    floors = exact[[*same, "floor", "floor_standard_error"]].drop_duplicates(same)
    figures = figures.merge(floors, on=same, how="left")
    return cells.merge(figures, on=["cell", "instance"], how="left").drop(columns=["cell", "instance"])


def listed(names: Iterable[object]) -> str:
    """Return names as a list of texts in SQL."""
    return ", ".join("'" + str(name).replace("'", "''") + "'" for name in names)


def columns(names: list[str], rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Return rows as a frame: numbers as floats, all else as Python objects, as they came."""
    values = np.array(rows, dtype=object).reshape(len(rows), len(names))
    found = pd.DataFrame(values, columns=names, dtype=object)
    return found.assign(**{name: found[name].astype(float) for name in NUMBERS if name in found})
