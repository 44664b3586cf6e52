"""The page's table of runs, one row each, and the details that unfold below a row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from harness.measure import CATALOGUE
from harness.report import summary
from harness.report.plots import numbers
from harness.report.summary import significant

CHUNK = 100
"""Rows of one table body: what lies outside the window is neither laid out nor painted."""
MOST_FIGURES = 400_000
"""So many figures unfold below their rows at the most; beyond, the page says where they are."""
KEY = 12
"""Digits of a cell's key that are shown, and that the command line takes."""


def run_rows(cells: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the rows in chunks, in the order of the plan, and which figure they show."""
    short = summary.short_titles(cells)
    headline = headlines(frame)
    figures = (
        frame.merge(headline, on=[*summary.PROBLEM, "metric", "t"]).drop_duplicates("key").set_index("key")["value"]
    )
    columns: dict[str, Any] = {
        "solver": cells["label"],
        "problem": [short[key] for key in zip(cells["problem"], cells["problem_settings"], strict=True)],
        "size": cells["size"],
        "seed": cells["seed"],
        "status": cells["status"],
        "figure": [significant(value) for value in figures.reindex(cells["key"])],
        "seconds": [significant(value) for value in cells["solve_seconds"]],
        "memory": [significant(value / 1e6) for value in cells["peak_memory"].astype(float)],
        "finished": ["–" if pd.isna(time) else str(time)[:19].replace("T", " ") for time in cells["finished"]],
        "key": cells["key"].str[:KEY],
    }
    rows = pd.DataFrame({name: list(values) for name, values in columns.items()}).to_dict("records")
    names = {short[row["problem"], row["problem_settings"]]: row for row in headline.to_dict("records")}
    return {
        "count": len(rows),
        "chunks": [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)],
        "statuses": [(name, int(count)) for name, count in cells["status"].value_counts().items()],
        "problems": list(dict.fromkeys(columns["problem"])),
        "headlines": [f"{problem}: {row['metric']} at t = {row['t']:g}" for problem, row in names.items()],
    }


def headlines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the measure and time shown for each problem: the measure that most runs have, at the last time."""
    figures = frame.dropna(subset=["metric", "value"])
    counts = figures.groupby([*summary.PROBLEM, "metric"], sort=False).agg(count=("key", "size"), t=("t", "max"))
    counts = counts.reset_index()
    names = list(CATALOGUE)
    counts["place"] = [names.index(name) if name in CATALOGUE else len(names) for name in counts["metric"]]
    counts = counts.sort_values(["count", "place"], ascending=[False, True], kind="stable")
    return counts.drop_duplicates(summary.PROBLEM)[[*summary.PROBLEM, "metric", "t"]]


def run_details(cells: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the details below the rows, in their order, packed: texts once, numbers in columns.

    ``commands`` are templates with a NUL where the digits of the cell's key stand; ``slots`` names time, measure and
    estimator of a figure, ``shapes`` the slots that a run has, ``figures`` value, standard error and floor by turns.
    """
    templates: dict[str, int] = {}
    commands = []
    for command, key in zip(cells["rerun"], cells["key"], strict=True):
        template = "" if pd.isna(command) else str(command).replace(key[:KEY], "\0")
        commands.append(templates.setdefault(template, len(templates)))
    reasons: dict[str, int] = {}
    reason = [-1 if pd.isna(text) else reasons.setdefault(str(text), len(reasons)) for text in cells["reason"]]
    diagnostics: dict[str, int] = {}
    said = [
        -1 if pd.isna(text) else diagnostics.setdefault(readable(text), len(diagnostics))
        for text in cells["diagnostics"]
    ]
    timings = ("setup_seconds", "measure_seconds", "wall_seconds", "cpu_seconds", "gradient_evaluations", "beside")
    packed = {name: numbers(cells[name], 3) for name in timings}
    return (
        {"commands": list(templates), "command": commands, "reasons": list(reasons), "reason": reason}
        | {"diagnostics": list(diagnostics), "said": said, "columns": packed}
        | packed_figures(cells, frame)
    )


def readable(diagnostics: str) -> str:
    """Return diagnostics (JSON text) in words."""
    return ", ".join(f"{name} {value}" for name, value in json.loads(diagnostics).items())


def packed_figures(cells: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of all runs, packed."""
    figures = frame.dropna(subset=["metric"]).drop_duplicates(["key", "t", "metric"])
    if len(figures) > MOST_FIGURES:
        return {"slots": [], "shapes": [], "shape": [], "figures": []}
    slots: dict[tuple[float, str, str], int] = {}
    names = zip(figures["t"], figures["metric"], figures["estimator"].fillna(""), strict=True)
    slot = np.array([slots.setdefault(name, len(slots)) for name in names], dtype=int)
    columns = [("value", 4), ("standard_error", 2), ("floor", 4)]
    values = list(zip(*(numbers(figures[name], digits) for name, digits in columns), strict=True))
    places: dict[str, list[int]] = {}
    for place, key in enumerate(figures["key"]):
        places.setdefault(key, []).append(place)
    shapes: dict[tuple[int, ...], int] = {}
    shape, packed = [], []
    for key in cells["key"]:
        own = places.get(key, [])
        shape.append(shapes.setdefault(tuple(int(slot[place]) for place in own), len(shapes)))
        packed.append([value for place in own for value in values[place]])
    return {
        "slots": [list(name) for name in slots],
        "shapes": [list(own) for own in shapes],
        "shape": shape,
        "figures": packed,
    }
