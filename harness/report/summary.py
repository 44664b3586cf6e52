"""The summary of a frame: medians and quartiles over seeds, numbers of runs, floors, published figures.

Runs that failed are counted, never averaged away: every row says how many of the planned runs are ok.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness import marks
from harness.measure import CATALOGUE
from harness.outcome import NOT_RUN
from harness.report import published as published_figures
from harness.report.apart import told_apart
from harness.verdict.leaders import WHERE, leaders

PROBLEM = ["problem", "problem_settings"]
SOLVER = ["solver", "solver_settings", "label"]
GROUP = [*PROBLEM, *SOLVER, "size"]
BESIDE = ("median", "q25", "q75", "min", "max", "runs", "seconds", "method", "source")


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell, without the columns that belong to a single figure, in the frame's order."""
    figures = ["t", "metric", "value", "standard_error", "estimator", "floor", "floor_standard_error"]
    return frame.drop_duplicates(["key", "label"]).drop(columns=figures, errors="ignore").reset_index(drop=True)


def summarise(frame: pd.DataFrame, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per solver, problem, size, time and measure.

    ``median``, ``q25``, ``q75`` are taken over the ``figures`` values of the ``ok`` runs out of ``planned``;
    ``statuses`` counts the other outcomes, ``not_run`` those that are no failure; ``unfinished`` says what ok runs say
    against themselves (``harness.marks``). ``floor`` is the median floor, ``seconds`` the median solve time of the ok
    runs. ``error`` is the standard error of the median, by the spread over seeds or, where that is more, by the
    figures' own errors; ``leads`` says that no other solver is told better there. ``published_*`` hold the figures of
    the literature where everything but the implementation agrees; pass ``published`` (as of
    :func:`harness.report.published.load`) to replace those in the repository.

    What must not be pooled is told apart by its label (``harness.report.apart``): presets, devices, evaluations, data,
    and settings of rows of one label. A group without any ok run keeps its rows, with the times and measures that
    others have on the same problem.
    """
    published = published_figures.load() if published is None else published
    # A cell that several suites plan is one run.
    frame = told_apart(plain_text(frame)).drop_duplicates(["key", "label", "t", "metric"])
    counts = outcomes(cells(frame))
    figures = frame[frame["metric"].notna() & frame["value"].notna() & (frame["status"] == "ok")]
    keys = [*GROUP, "t", "metric"]
    found = quartiles(figures, keys, "value")
    extra = figures.groupby(keys, sort=False, dropna=False).agg(floor=("floor", "median"))
    found = found.merge(extra.reset_index(), on=keys, how="left").merge(errors(figures, keys), on=keys, how="left")
    table = pd.concat([found, unmeasured(counts, found)], ignore_index=True)
    table = table.merge(counts, on=GROUP, how="left", validate="many_to_one")
    table["figures"] = table["figures"].fillna(0).astype(int)
    return ordered(bold(beside(table, published), frame))


def bold(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``leads``: where no other solver is told better (``harness.verdict.leaders``)."""
    where = pd.MultiIndex.from_frame(table[WHERE].astype(object))
    return table.assign(leads=where.isin(pd.MultiIndex.from_frame(leaders(frame).astype(object))))


def plain_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its texts as Python objects, which rearrange several times faster than Arrow strings."""
    return frame.astype({name: object for name in frame.columns if isinstance(frame[name].dtype, pd.StringDtype)})


def outcomes(cell_rows: pd.DataFrame) -> pd.DataFrame:
    """Return planned and ok runs of every group, its other outcomes in words, and its median seconds and particles."""
    ok = cell_rows["status"] == "ok"
    idle = cell_rows["status"].isin(NOT_RUN)
    rows = cell_rows.assign(ok=ok, not_run=idle, ok_seconds=cell_rows["solve_seconds"].where(ok))
    counts = rows.groupby(GROUP, sort=False, dropna=False).agg(
        planned=("key", "size"),
        ok=("ok", "sum"),
        not_run=("not_run", "sum"),
        seconds=("ok_seconds", "median"),
        sample_size=("sample_size", "first"),
    )
    others = rows[~ok].groupby([*GROUP, "status"], sort=False, dropna=False).size().reset_index(name="count")
    words = (others["status"].astype(str) + " " + others["count"].astype(str)).rename("statuses")
    text = pd.concat([others[GROUP], words], axis=1).groupby(GROUP, sort=False, dropna=False)["statuses"].agg(", ".join)
    counts = counts.join(text).join(marks.of_groups(rows, GROUP)).reset_index()
    counts["unfinished"] = counts["unfinished"].astype(object).where(counts["unfinished"].notna(), "")
    counts["statuses"] = counts["statuses"].astype(object).where(counts["statuses"].notna(), "")
    return counts


def quartiles(rows: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    """Return median, quartiles and count of a column in every group.

    Quantiles are interpolated linearly, as by default in numpy; next to an infinite value they are infinite.
    """
    group = rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    values = rows[column].to_numpy(dtype=float)
    order = np.lexsort((values, group))
    values, group = values[order], group[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    counts = np.diff(np.append(starts, len(group)))
    result = rows.iloc[order[starts]][keys].reset_index(drop=True)
    for name, fraction in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        position = (counts - 1) * fraction
        below = np.floor(position).astype(int)
        low, high = values[starts + below], values[starts + np.ceil(position).astype(int)]
        step = np.zeros_like(low)
        differ = low != high
        step[differ] = (high[differ] - low[differ]) * (position - below)[differ]
        result[name] = low + step
    return result.assign(figures=counts)


def errors(figures: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the standard error of every group's median, in a column ``error``.

    It is that of a mean times √(π/2), from two figures on: of their spread, or of their own errors where that is more.
    """
    stated = figures["standard_error"] if "standard_error" in figures else pd.Series(np.nan, index=figures.index)
    values = figures["value"].where(np.isfinite(figures["value"].astype(float)))
    rows = figures[keys].assign(value=values, square=stated.astype(float) ** 2)
    groups = rows.groupby(keys, sort=False, dropna=False)
    found = groups.agg(count=("value", "size"), spread=("value", "std"), square=("square", "sum")).reset_index()
    n = found.pop("count").to_numpy(dtype=float)
    by_spread = found.pop("spread").to_numpy(dtype=float) / np.sqrt(n)
    by_errors = np.sqrt(found.pop("square").to_numpy(dtype=float)) / n
    return found.assign(error=np.fmax(by_spread, by_errors) * np.where(n > 1, np.sqrt(np.pi / 2), 1.0))


def unmeasured(counts: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return rows without figures for the groups that have none, at the times and measures known for the problem."""
    known = found[[*PROBLEM, "t", "metric"]].drop_duplicates()
    missing = counts.loc[counts["ok"] == 0, GROUP]
    return missing.merge(known, on=PROBLEM, how="left")


def beside(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Add the published figure of the same problem, settings, solver, size, time and measure, where there is one."""
    columns = [f"published_{name}" for name in BESIDE]
    parts = []
    for key, rows in table.groupby(PROBLEM, sort=False):
        problem, problem_settings = (str(part) for part in key)
        theirs = published_figures.comparable(published, problem, problem_settings)
        same = rows[SOLVER].drop_duplicates().merge(theirs, on="solver", suffixes=("", "_published"))
        agreeing = map(published_figures.agrees, same["solver_settings_published"], same["solver_settings"])
        same = same[pd.Series(list(agreeing), index=same.index, dtype=bool)].assign(problem_settings=problem_settings)
        parts.append(everywhere(everywhere(same, "size", rows), "t", rows))
    found = pd.concat(parts, ignore_index=True).rename(columns=dict(zip(BESIDE, columns, strict=True)))
    keys = [*GROUP, "t_rounded", "metric"]
    found = found.assign(t_rounded=found["t"].astype(float).round(9), size=found["size"].astype(table["size"].dtype))
    table = table.assign(t_rounded=table["t"].astype(float).round(9))
    return table.merge(found[[*keys, *columns]], on=keys, how="left", validate="many_to_one").drop(columns="t_rounded")


def everywhere(theirs: pd.DataFrame, column: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return published rows with those that leave a column open repeated for each of its values among our rows."""
    open_rows = theirs[theirs[column].isna()]
    filled = open_rows.drop(columns=column).merge(rows[[column]].drop_duplicates(), how="cross")
    return pd.concat([theirs[theirs[column].notna()], filled], ignore_index=True)


def unmatched(summary_rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return the published figures on problems of the summary that no solver of the summary corresponds to."""
    parts = []
    for key, rows in summary_rows.groupby(PROBLEM, sort=False):
        problem, problem_settings = (str(part) for part in key)
        theirs = published_figures.comparable(published, problem, problem_settings)
        used = rows["published_method"].dropna().unique()
        measured = rows.dropna(subset=["t"])
        theirs = everywhere(everywhere(theirs, "size", measured), "t", measured)
        here = theirs["size"].isin(rows["size"]) & theirs["t"].astype(float).round(9).isin(rows["t"].round(9))
        here &= ~theirs["method"].isin(used)
        parts.append(theirs[here].assign(problem_settings=problem_settings))
    found = pd.concat(parts, ignore_index=True) if parts else published.iloc[:0]
    names = sorted(found["label"].unique(), key=lambda label: label_place("", label))
    return found.sort_values("label", key=lambda labels: labels.map(names.index), kind="stable", ignore_index=True)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by problem (as planned), measure (as catalogued), time, size, and solver between its two bounds."""
    keys = list(zip(table["problem"], table["problem_settings"], strict=True))
    problems = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    place = pd.DataFrame(
        {
            "problem": [problems[key] for key in keys],
            "metric": [metric_place(metric) for metric in table["metric"]],
            "t": table["t"].to_numpy(),
            "size": table["size"].to_numpy(),
            "label": [label_place(*key) for key in zip(table["solver"], table["label"], strict=True)],
        }
    )
    place["label"] = place["label"].map({key: number for number, key in enumerate(sorted(place["label"].unique()))})
    return table.iloc[place.sort_values(list(place.columns), kind="stable").index].reset_index(drop=True)


def metric_place(metric: Any) -> int:
    """Return a measure's place in the catalogue; unknown ones come after, and none at all last."""
    names = list(CATALOGUE)
    if pd.isna(metric):
        return len(names) + 1
    return names.index(metric) if metric in CATALOGUE else len(names)


def label_place(solver: str, label: str) -> tuple[Any, ...]:
    """Return a sort key: exact draws first, the initial law last, numbers in labels by size."""
    bound = {"oracle": 0, "initial": 2}.get(solver, 1)
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", label)
    return (bound, tuple((1, float(part), "") if number % 2 else (0, 0.0, part) for number, part in enumerate(parts)))


def titles(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return a display name for every problem with its settings: its name, and the settings that set it apart."""
    keys = list(dict.fromkeys(zip(frame["problem"], frame["problem_settings"], strict=True)))
    settings = {key: json.loads(key[1]) for key in keys}
    result = {}
    for key in keys:
        rivals = [settings[other] for other in keys if other[0] == key[0]]
        telling = [
            name
            for name, value in settings[key].items()
            if any(other.get(name) != value for other in rivals) or (name in ("instance", "data") and value is not None)
        ]
        result[key] = " · ".join([key[0], *(f"{name}={setting_text(settings[key][name])}" for name in telling)])
    return result


def short_titles(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return titles of problems that leave the settings out where the name alone tells them apart."""
    full = titles(frame)
    names = [problem for problem, _ in full]
    return {key: key[0] if names.count(key[0]) == 1 else title for key, title in full.items()}


def slug(title: str) -> str:
    """Return a title as a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-")


def setting_text(value: Any) -> str:
    """Return a setting as it is shown in a name."""
    return value if isinstance(value, str) else json.dumps(value)


def significant(value: Any, digits: int = 3) -> str:
    """Return a number with some significant digits, without an exponent from 0.001 up to 100,000."""
    if pd.isna(value):
        return "–"
    value = float(value)
    if np.isinf(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-3 <= abs(rounded) < 1e5:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(rounded)))))
    return f"{rounded:.{decimals}f}"


def time_text(value: Any) -> str:
    """Return a time as it is written in a suite."""
    return "–" if pd.isna(value) else f"{value:g}"


def interval(low: Any, high: Any) -> str:
    """Return quartiles in brackets, or nothing where there are none."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{significant(low)}, {significant(high)}]"


def distinct(values: Sequence[Any] | pd.Series[Any]) -> list[str]:
    """Return the different values as text, in order of appearance, without missing ones."""
    return [str(value) for value in pd.unique(pd.Series(values).dropna())]
