"""The contents of the page, section by section, as plain values for the template."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from harness.measure import CATALOGUE
from harness.outcome import FAILED, STATUSES
from harness.report import summary
from harness.report.published import marked
from harness.report.summary import distinct, interval, significant, time_text


def overview(cells: pd.DataFrame) -> dict[str, Any]:
    """Return the overview of a run: suite, dates, machine, and counts of cells by status."""
    counts = cells["status"].value_counts()
    started = sorted(distinct(cells["started"]))
    presets = [name for name in distinct(cells["preset"]) if name]
    return {
        "suite": ", ".join(distinct(cells["suite"])),
        "facts": [
            ("Suite", ", ".join(distinct(cells["suite"])) + (f" ({', '.join(presets)})" if presets else "")),
            (
                "Started",
                " to ".join(dict.fromkeys(day(time) for time in (started[0], started[-1]))) if started else "–",
            ),
            ("Code", ", ".join(commits(cells)) or "–"),
            ("Machine", "; ".join(distinct(cells["machine"])) or "–"),
            ("Threads a cell", ", ".join(f"{float(number):g}" for number in distinct(cells["threads"])) or "–"),
            ("Device", ", ".join(distinct(cells["device"])) or "–"),
            (
                "Cells beside each",
                ", ".join(f"{float(number):g}" for number in sorted(distinct(cells["beside"]))) or "–",
            ),
            ("Time in cells", duration(cells["wall_seconds"].sum())),
        ],
        "cells": len(cells),
        "failed": int(cells["status"].isin(FAILED).sum()),
        "planned": int((cells["status"] == "planned").sum()),
        "statuses": [(name, int(counts[name]), 100 * counts[name] / len(cells)) for name in STATUSES if name in counts],
    }


def day(time: str) -> str:
    """Return an ISO time to the minute."""
    return time[:16].replace("T", " ") + " UTC"


def duration(seconds: float) -> str:
    """Return seconds in the unit that reads best."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def commits(cells: pd.DataFrame) -> list[str]:
    """Return the commits, short, each with whether files differed from it."""
    pairs = cells[["commit", "dirty"]].dropna(subset=["commit"]).drop_duplicates()
    rows = pairs.itertuples(index=False)
    return [f"{str(row.commit)[:10]}{' with uncommitted changes' if row.dirty else ''}" for row in rows]


def problem_tables(rows: pd.DataFrame, others: pd.DataFrame, title: str, anchor: str) -> dict[str, Any]:
    """Return one problem: a table for each measure, one of solve times, and what was not run on it."""
    run = rows[rows["not_run"] < rows["planned"]]
    absent = rows[~rows["label"].isin(run["label"])].drop_duplicates(["label", "size"])
    sizes = sorted(run["size"].unique())
    measured = [
        measure_table(group, others[others["metric"] == metric], str(metric), sizes)
        for metric, group in run.dropna(subset=["metric"]).groupby("metric", sort=False)
    ]
    return {
        "title": title,
        "name": title.partition(" · ")[0],
        "variant": title.partition(" · ")[2],
        "anchor": anchor,
        "settings": json.loads(str(rows["problem_settings"].iloc[0])),
        "tables": measured,
        "seconds": seconds_table(run, sizes),
        "absent": [(label, int(group["planned"].sum())) for label, group in absent.groupby("label", sort=False)],
    }


def measure_table(rows: pd.DataFrame, others: pd.DataFrame, metric: str, sizes: list[int]) -> dict[str, Any]:
    """Return one measure: a column for each dimension and a group of lines for each time.

    A problem of a single dimension gets a column for each time instead.
    """
    times = sorted(float(time) for time in rows["t"].unique())
    groups = []
    if len(sizes) == 1:
        groups.append({"title": "", "lines": lines(rows, others, metric, [(sizes[0], time) for time in times])})
    else:
        for time in times:
            theirs = others[others["t"].round(9) == round(time, 9)]
            columns = [(size, time) for size in sizes]
            group = lines(rows[rows["t"] == time], theirs, metric, columns)
            groups.append({"title": f"t = {time_text(time)}", "lines": group})
    single = len(sizes) == 1
    return {
        "metric": metric,
        "description": CATALOGUE[metric].description if metric in CATALOGUE else "",
        "better": f"{better(metric)} is better",
        "dimension": f"D = {sizes[0]}" if single else "",
        "columns": [f"t = {time_text(time)}" for time in times] if single else [f"D = {size}" for size in sizes],
        "groups": groups,
    }


def better(metric: str) -> str:
    """Return which way of a measure is better: "higher", "lower" or "neither"."""
    return CATALOGUE[metric].better if metric in CATALOGUE else "lower"


def lines(
    rows: pd.DataFrame, others: pd.DataFrame, metric: str, columns: list[tuple[int, Any]]
) -> list[dict[str, Any]]:
    """Return a line for each solver, and one for each published method that is not among them."""
    found = []
    for label, group in rows.groupby("label", sort=False):
        cells = {(row["size"], row["t"]): figure_cell(row) for row in group.to_dict("records")}
        kind = "bound" if group["solver"].iloc[0] in ("oracle", "initial") else "solver"
        found.append({"label": label, "kind": kind, "cells": [cells.get(column) for column in columns]})
    for label, group in others.groupby("label", sort=False):
        cells = {
            (row["size"], round(row["t"], 9)): {
                "median": marked(significant(row["median"]), row["source"]),
                "range": interval(row["q25"], row["q75"]),
            }
            for row in group.to_dict("records")
        }
        keys = [(size, round(time, 9)) for size, time in columns]
        found.append(
            {
                "label": label,
                "kind": "published",
                "source": group["source"].iloc[0],
                "cells": [cells.get(key) for key in keys],
            }
        )
    return found


def figure_cell(row: dict[Any, Any]) -> dict[str, Any]:
    """Return the texts of one figure."""
    return {
        "median": significant(row["median"]),
        "error": "" if pd.isna(row["error"]) else f"± {significant(row['error'], 1)}",
        "range": interval(row["q25"], row["q75"]),
        "floor": "" if pd.isna(row["floor"]) or row["solver"] == "oracle" else significant(row["floor"]),
        "published": ""
        if pd.isna(row["published_median"])
        else marked(significant(row["published_median"]), row["published_source"]),
        "source": row["published_source"],
        "published_range": interval(row["published_q25"], row["published_q75"]),
        "leads": bool(row["leads"]),
        "counts": "" if row["figures"] == row["planned"] else counts_text(row),
        "failed": row["ok"] + row["not_run"] < row["planned"],
        "unfinished": row["unfinished"],
    }


def counts_text(row: dict[Any, Any]) -> str:
    """Return how many of the planned runs a figure rests on, and how the others ended."""
    lost = row["ok"] - row["figures"]
    parts = [f"{row['ok']}/{row['planned']} ok", row["statuses"], f"{lost} ok without this figure" if lost else ""]
    return ", ".join(part for part in parts if part)


def seconds_table(rows: pd.DataFrame, sizes: list[int]) -> dict[str, Any]:
    """Return median solve times by solver and dimension, the published ones beside them."""
    found = []
    for label, group in rows.groupby("label", sort=False):
        cells = {}
        for size, part in group.groupby("size"):
            published = part["published_seconds"].dropna()
            cells[size] = {
                "median": significant(part["seconds"].iloc[0]),
                "published": significant(published.iloc[0]) if len(published) else "",
            }
        found.append({"label": label, "cells": [cells.get(size) for size in sizes]})
    return {"columns": [f"D = {size}" for size in sizes], "lines": found}


def failures(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the failed runs, then those not run, with the same reason and traceback together.

    Cells that are still to run are no part of it.
    """
    titles = summary.titles(cells)
    bad = cells[~cells["status"].isin(["ok", "planned"])]
    optional = bad[["reason", "traceback", "rerun"]].astype(object)
    texts = optional.where(optional.notna(), "")
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in bad.assign(**texts).to_dict("records"):
        entry = {
            "status": row["status"],
            "problem": titles[row["problem"], row["problem_settings"]],
            "label": row["label"],
            "reason": row["reason"] or "no reason was recorded",
            "traceback": row["traceback"],
            "failed": row["status"] in FAILED,
        }
        runs: list[dict[str, Any]] = found.setdefault(tuple(entry.values()), entry | {"runs": []})["runs"]
        runs.append({name: row[name] for name in ("size", "seed", "rerun")})
    return sorted(found.values(), key=lambda entry: (not entry["failed"], -len(entry["runs"])))


def measures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the measures of the frame: what they say, which way is better, and the estimators that gave figures."""
    figures = frame.dropna(subset=["metric"])
    found = []
    for metric, group in figures.groupby("metric", sort=False):
        known = CATALOGUE.get(str(metric))
        found.append(
            {
                "metric": metric,
                "description": known.description if known else "",
                "better": better(str(metric)),
                "estimators": distinct(group["estimator"]),
            }
        )
    return sorted(found, key=lambda entry: summary.metric_place(entry["metric"]))


def provenance(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every ``wgfbench run`` behind the cells: command, code, machine, versions, and its cells."""
    columns = ["run", "started", "argv", "commit", "dirty", "machine", "threads", "device", "versions", "arithmetic"]
    found = []
    for _, group in cells.dropna(subset=["run"]).groupby(columns, sort=False, dropna=False):
        row = group.iloc[0]
        found.append(
            {
                "run": f"{row['run']:g}",
                "started": str(row["started"])[:19].replace("T", " "),
                "argv": row["argv"],
                "commit": row["commit"],
                "dirty": bool(row["dirty"]),
                "machine": row["machine"],
                "threads": f"{row['threads']:g}",
                "device": row["device"],
                "arithmetic": row["arithmetic"] if isinstance(row["arithmetic"], str) else None,
                "versions": json.loads(row["versions"]) if isinstance(row["versions"], str) else {},
                "cells": len(group),
            }
        )
    return found
