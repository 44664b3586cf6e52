"""Work and precision on the page: the same points as in the figures, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.report.plots import numbers
from harness.report.work_precision import COSTS, at_cost, precision, share
from harness.verdict.judge import Judged

AXES = {cost: axis for cost, (_, axis) in COSTS.items()}


def work_tables(cells: pd.DataFrame, judged: Judged) -> dict[str, pd.DataFrame]:
    """Return, for each cost that the ``cells`` know (a row a run), its table (``harness.report.work_precision``)."""
    known = precision(cells, judged)
    return {cost: at_cost(cells, known, cost) for cost in COSTS if cost in cells}


def work_data(
    tables: Mapping[str, pd.DataFrame], problem: tuple[str, str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one view a dimension, deciding measure and cost of a problem that are known of two solvers or more.

    ``points`` has columns: ``label`` counts ``labels``, ``line`` is the same for all budgets of a method, ``excess`` is
    null where it is infinite, ``above`` says whether it is told from 0, ``front`` whether nothing beats it, and
    ``share`` how many runs answered, "" where all did.
    """
    places = {label: place for place, label in enumerate(labels)}
    views = []
    for cost, table in tables.items():
        own = table[table["problem"].eq(problem[0]) & table["problem_settings"].eq(problem[1])]
        own = own[own["label"].isin(places)].sort_values("size", kind="stable")
        for (metric, size), rows in own.groupby(["metric", "size"], sort=False):
            if rows["label"].nunique() < 2:
                continue
            points: dict[str, list[Any]] = {"label": [places[label] for label in rows["label"]]}
            points["line"] = pd.factorize(rows["line"])[0].tolist()
            points |= {name: numbers(rows[name]) for name in ("excess", "error", "cost")}
            points |= {name: [bool(each) for each in rows[name]] for name in ("above", "front")}
            points["share"] = [share(row) for row in rows.to_dict("records")]
            where = {"metric": str(metric), "size": numbers([size])[0], "t": numbers(rows["t"])[0]}
            views.append(where | {"cost": AXES[cost], "points": points})
    return views
