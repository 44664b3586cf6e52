"""Our figures against the published ones that stand beside them, from the quartiles that were printed.

Of the published runs no more is known than median and quartiles over instances of their own, so nothing is paired:
Welch's t on logarithms (scipy.stats.ttest_ind_from_stats), the published deviation being that of the normal law with
these quartiles. Where no quartiles were printed the median is taken as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.text import Text
from scipy import stats

from harness.errors import UsageError
from harness.listing import console, table
from harness.measure import CATALOGUE
from harness.report import summary
from harness.report.apart import told_apart
from harness.report.summary import significant
from harness.verdict.paired import LEVEL, corrected
from problems.arrays import Reals

QUARTILES = 2 * float(stats.norm.ppf(0.75))
"""Quartiles of a normal law are so many deviations apart."""


def against_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each figure of ours that has a published one beside it.

    ``ours`` and ``published`` are medians, ``factor`` that of geometric means, with its 95 % interval ``low`` to
    ``high``; ``outcome`` is "better", "worse", "tie" or, with one seed, "cannot tell", corrected for the number of
    rows together.
    """
    frame = told_apart(summary.plain_text(frame))
    beside = summary.summarise(frame)
    beside = beside[beside["published_median"].notna() & beside["median"].notna()]
    figures = frame[frame["status"].eq("ok") & frame["metric"].notna()].drop_duplicates(["key", "label", "t", "metric"])
    keys = [*summary.PROBLEM, "label", "size", "t", "metric"]
    values = {key: rows["value"].to_numpy(dtype=float) for key, rows in figures.groupby(keys, sort=False)}
    rows = [compared_with(row, values[tuple(row[key] for key in keys)]) for row in beside.to_dict("records")]
    columns = [*keys, "source", "seeds", "ours", "published", "factor", "low", "high", "p"]
    found = pd.DataFrame(rows, columns=columns)
    told = corrected(found["p"].to_numpy(dtype=float)) < LEVEL
    way = [-1 if m in CATALOGUE and CATALOGUE[m].better == "higher" else 1 for m in found["metric"]]
    side = np.sign(np.log(found["factor"].to_numpy(dtype=float))) * np.array(way, dtype=float)
    outcome = np.select([found["seeds"] < 2, ~told, side < 0], ["cannot tell", "tie", "better"], "worse")
    return found.assign(outcome=outcome)


def compared_with(row: Mapping[Any, Any], values: Reals) -> dict[str, Any]:
    """Return a row of :func:`against_published`, but for its outcome."""
    found = {name: row[name] for name in (*summary.PROBLEM, "label", "size", "t", "metric")}
    found |= {"source": row["published_source"], "ours": row["median"], "published": row["published_median"]}
    finite = values[np.isfinite(values) & (values > 0)]
    unknown = {"seeds": len(values), "factor": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    if len(finite) < len(values) or not row["published_median"] > 0:
        return found | unknown
    logs, centre = np.log(finite), math.log(row["published_median"])
    factor = math.exp(float(logs.mean()) - centre)
    if len(logs) < 2:
        return found | unknown | {"factor": factor}
    spread, runs = published_deviation(row), row["published_runs"]
    own = float(logs.std(ddof=1))
    if spread is None or pd.isna(runs) or runs < 2:
        p = float(stats.ttest_1samp(logs, centre).pvalue)
        variances, freedom = np.array([own**2 / len(logs)]), np.array([len(logs) - 1.0])
    else:
        ours = float(logs.mean()), own, len(logs)
        p = float(stats.ttest_ind_from_stats(*ours, centre, spread, int(runs), equal_var=False).pvalue)
        variances = np.array([own**2 / len(logs), spread**2 / runs])
        freedom = np.array([len(logs) - 1.0, runs - 1.0])
    total = float(variances.sum())
    degrees = total**2 / float(np.sum(variances**2 / freedom)) if total > 0 else math.inf
    half = float(stats.t.ppf(1 - LEVEL / 2, degrees)) * math.sqrt(total)
    limits = {"low": factor * math.exp(-half), "high": factor * math.exp(half)}
    return found | {"seeds": len(logs), "factor": factor, "p": p} | limits


def published_deviation(row: Mapping[Any, Any]) -> float | None:
    """Return the deviation of published logarithms by their quartiles, or ``None`` where there are none."""
    low, high = row["published_q25"], row["published_q75"]
    if pd.isna(low) or pd.isna(high) or not low > 0:
        return None
    return (math.log(high) - math.log(low)) / QUARTILES


def print_against_published(frame: pd.DataFrame) -> None:
    """Print how our figures compare with the published ones; raises ``UsageError`` where none stands beside ours."""
    found = against_published(frame)
    if found.empty:
        raise UsageError("no published figure stands beside these: none has their problem, solver and settings")
    titles = summary.short_titles(frame)
    counts = found["outcome"].value_counts()
    caption = ", ".join(
        f"{counts[word]} {word}" for word in ("better", "worse", "tie", "cannot tell") if word in counts
    )
    rows = table(
        "problem", "D", "solver", "t", "measure", "ours", "published", "ours ×", "95 %", "seeds", "",
        title="figures → published", caption=f"{caption}, at a false discovery rate of {LEVEL:.0%}.",
    )  # fmt: skip
    for row in found.to_dict("records"):
        limits = "" if pd.isna(row["low"]) else f"[{significant(row['low'], 2)}, {significant(row['high'], 2)}]"
        style = {"better": "green", "worse": "red"}.get(row["outcome"], "")
        rows.add_row(
            Text(titles[row["problem"], row["problem_settings"]]), str(row["size"]), Text(row["label"]),
            f"{row['t']:g}", row["metric"], significant(row["ours"]), significant(row["published"]),
            significant(row["factor"], 2), Text(limits), str(row["seeds"]), Text(row["outcome"], style=style),
        )  # fmt: skip
    console().print(rows)
