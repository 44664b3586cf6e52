"""Published and own figures of many data sets in one table: a line a data set, a column a method.

For families whose published figures name no dimension, each problem having one of its own: Table 1 of Mokrov et al.
(2021), the logistic regressions.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.measure import CATALOGUE
from harness.report import summary
from harness.report.contents import better, figure_cell
from harness.report.summary import significant, time_text


def side_by_side(rows: pd.DataFrame, others: pd.DataFrame, published: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table for each such family and published measure, at each problem's last time.

    ``rows`` are a summary, ``others`` the published figures of methods that it lacks, ``published`` all of them.
    Families without a problem that has published figures are left out. A method that is only published has a column
    of its own.
    """
    found = []
    # The floors of as many exact draws as a method's are figures beside that method's own, and have no columns here.
    rows = rows[(rows["solver"] != "oracle") | (rows["label"] == "oracle")]
    for family in published.loc[published["size"].isna(), "problem"].unique():
        ours = rows[(rows["problem"] == family) & (rows["not_run"] < rows["planned"])]
        theirs = others[others["problem"] == family]
        if ours["published_median"].isna().all() and theirs.empty:
            continue
        for metric in published.loc[published["problem"] == family, "metric"].unique():
            mine, alone = (part[part["metric"] == metric] for part in (ours, theirs))
            if len(mine):
                found.append(table(mine, alone, str(family), str(metric)))
    return found


def table(rows: pd.DataFrame, others: pd.DataFrame, family: str, metric: str) -> dict[str, Any]:
    """Return one measure of one family."""
    labels, alone = list(dict.fromkeys(rows["label"])), list(dict.fromkeys(others["label"]))
    lines = []
    for key, title in summary.titles(rows).items():
        here = rows[rows["problem_settings"] == key[1]]
        here = here[here["t"] == here["t"].max()]
        cells: dict[str, Any] = {row["label"]: figure_cell(row) for row in here.to_dict("records")}
        published = others[others["problem_settings"] == key[1]].drop_duplicates("label").set_index("label")["median"]
        lines.append(
            {
                "label": title.partition(" · ")[2] or title,
                "note": f"D = {here['size'].iloc[0]}, t = {time_text(here['t'].iloc[0])}",
                "cells": [cells.get(label) for label in labels],
                "published": [significant(published[label]) if label in published else "–" for label in alone],
            }
        )
    return {
        "family": family,
        "metric": metric,
        "description": CATALOGUE[metric].description if metric in CATALOGUE else "",
        "better": f"{better(metric)} is better",
        "columns": labels,
        "published_columns": alone,
        "lines": lines,
    }
