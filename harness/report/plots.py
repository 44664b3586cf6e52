"""Data for the page's interactive plots, as plain JSON values; one view for each problem, measure and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.measure import CATALOGUE
from harness.report.palette import colours

MOST_RUNS = 1500
"""Above so many runs of a problem, the plot against wall-clock shows medians only."""


def plot_data(
    rows: pd.DataFrame, others: pd.DataFrame, frame: pd.DataFrame, problem: tuple[str, str], title: str
) -> dict[str, Any]:
    """Return the views of one problem: ``rows`` of its summary, ``others`` published alone, ``frame`` for single runs.

    Exact draws are not a series of their own: they are the floors.
    """
    rows = rows[rows["figures"] > 0]
    measured = frame[(frame["status"] == "ok") & frame["value"].notna()]
    measured = measured[(measured["problem"] == problem[0]) & (measured["problem_settings"] == problem[1])]
    measured = measured.drop_duplicates(["key", "label", "t", "metric"])
    single = measured["key"].nunique() <= MOST_RUNS
    shown = rows[rows["solver"] != "oracle"]
    labels = list(dict.fromkeys(shown["label"]))
    series = colours(dict(zip(shown["label"], shown["solver"], strict=True)))
    views = []
    for (metric, time), group in rows.groupby(["metric", "t"], sort=False):
        theirs = others[(others["metric"] == metric) & (others["t"].round(9) == round(float(str(time)), 9))]
        runs = measured[(measured["metric"] == metric) & (measured["t"] == time)] if single else measured.iloc[:0]
        views.append(
            {
                "metric": metric,
                "t": number(time),
                "higher": str(metric) in CATALOGUE and CATALOGUE[str(metric)].better != "lower",
                "series": [series_of(group, runs, label, place) for place, label in enumerate(labels)],
                "floors": [floor_of(floor, name) for name, floor in floors(group)],
                "others": [other_of(other, str(label)) for label, other in theirs.groupby("label", sort=False)],
            }
        )
    return {"title": title, "labels": labels, "colours": [series[label] for label in labels], "views": views}


def series_of(rows: pd.DataFrame, runs: pd.DataFrame, label: str, place: int) -> dict[str, Any]:
    """Return the medians of one solver, its published counterparts, and its single runs."""
    rows = rows[rows["label"] == label].sort_values("size")
    names = ("size", "median", "q25", "q75", "floor", "seconds", "ok", "planned")
    result: dict[str, Any] = {"label": place} | {name: numbers(rows[name]) for name in names}
    for name in ("median", "q25", "q75", "seconds"):
        result[f"published_{name}"] = numbers(rows[f"published_{name}"])
    result["published_source"] = next(iter(rows["published_source"].dropna()), "")
    single = runs[runs["label"] == label]
    result["runs"] = [numbers(single[name]) for name in ("size", "seed", "solve_seconds", "value")]
    return result


def floors(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the positive floors of a view keyed by sample size, the smallest first."""
    found = rows[rows["floor"] > 0]
    sizes = sorted(found["sample_size"].dropna().unique())
    named = [(f"floor, {size} particles", found[found["sample_size"] == size]) for size in sizes]
    densities = found[found["sample_size"].isna()]
    return [*named, *([("floor", densities)] if len(densities) else [])]


def floor_of(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return one floor by dimension."""
    line = rows.groupby("size")["floor"].median()
    return {"name": name, "size": numbers(line.index), "value": numbers(line)}


def other_of(rows: pd.DataFrame, label: str) -> dict[str, Any]:
    """Return the published figures of a method that the frame does not have."""
    rows = rows.sort_values("size")
    return {"label": label, "source": rows["source"].iloc[0]} | {
        name: numbers(rows[name]) for name in ("size", "median", "q25", "q75", "seconds")
    }


def number(value: Any) -> float | int | None:
    """Return one value for JSON."""
    return numbers([value])[0]


def numbers(
    values: pd.Series[Any] | pd.Index[Any] | npt.NDArray[Any] | Sequence[Any], digits: int = 5
) -> list[float | int | None]:
    """Return values (n,) for JSON, with a few significant digits, and ``None`` for NaN and infinities."""
    given = pd.Series(values).to_numpy(dtype=float, na_value=np.nan)
    usable = np.isfinite(given) & (given != 0)
    places = digits - 1 - np.floor(np.log10(np.abs(given), where=usable, out=np.zeros_like(given)))
    # Dividing by a power of ten rounds to the nearest double of the short decimal; multiplying by its inverse does not.
    up, down = 10.0 ** np.clip(places, 0, 300), 10.0 ** np.clip(-places, 0, 300)
    rounded = np.where(usable, np.round(given * up / down) / up * down, given)
    return [
        None if not finite else int(value) if value.is_integer() and abs(value) < 1e15 else value
        for finite, value in zip(np.isfinite(given).tolist(), rounded.tolist(), strict=True)
    ]
