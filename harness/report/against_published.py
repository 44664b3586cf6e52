"""Our figures against the published ones that stand beside them, from the quartiles that were printed.

Of the published runs no more is known than median and quartiles over instances of their own, so nothing is paired:
Welch's t on logarithms (scipy.stats.ttest_ind_from_stats), the published deviation being that of the normal law with
these quartiles. Where no quartiles were printed the median is taken as it stands.

The comparison is by the estimator that was published, by necessity, and that one may decide nothing: through a kernel
density of particles exact draws contracted by a tenth beat exact draws. So no figure is better that is told below its
own floor, nor any whose solver failed on a seed, of which nothing but the answers is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
from harness.report.verdict import listed
from harness.verdict.deciding import places
from harness.verdict.paired import LEVEL, compared, corrected
from problems.arrays import Reals

QUARTILES = 2 * float(stats.norm.ppf(0.75))
"""Quartiles of a normal law are so many deviations apart."""
WORDS = ("better", "worse", "tie", "BELOW", "cannot tell", "no answer")


def against_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each figure of ours that has a published one beside it.

    ``ours`` and ``published`` are medians, ``factor`` that of geometric means, with its 95 % interval ``low`` to
    ``high``; ``outcome`` is "better", "worse", "tie" or "cannot tell", corrected for the number of rows together.
    ``answered`` of ``asked`` runs have a figure: with fewer none is "better" or a "tie", and with none it is "no
    answer". What is told below its floor, at 5 %, is "BELOW" instead of "better". ``floored`` says whether exact draws
    are beside it, ``decides`` whether its measure does, of such answers.
    """
    frame = told_apart(summary.plain_text(frame))
    beside = summary.summarise(frame)
    asked = beside["planned"] - beside["not_run"]
    beside = beside.assign(asked=asked)[beside["published_median"].notna() & (asked > 0)]
    beside = beside[beside["median"].notna() | beside["ok"].eq(0)]
    figures = frame[frame["status"].eq("ok") & frame["metric"].notna()].drop_duplicates(["key", "label", "t", "metric"])
    keys = [*summary.PROBLEM, "label", "size", "t", "metric"]
    figures = figures.assign(decides=places(figures) > 0 if len(figures) else False)
    own = dict(list(figures.groupby(keys, sort=False)))
    none = figures.iloc[:0]
    rows = [compared_with(row, own.get(tuple(row[key] for key in keys), none)) for row in beside.to_dict("records")]
    columns = [
        *keys, "source", "seeds", "answered", "asked", "ours", "published", "factor", "low", "high", "p",
        "floored", "below", "decides",
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=columns)
    told = corrected(found["p"].to_numpy(dtype=float)) < LEVEL
    way = [-1 if m in CATALOGUE and CATALOGUE[m].better == "higher" else 1 for m in found["metric"]]
    side = np.sign(np.log(found["factor"].to_numpy(dtype=float))) * np.array(way, dtype=float)
    failed, better = found["answered"] < found["asked"], told & (side < 0)
    kinds = [found["answered"].eq(0), (found["seeds"] < 2) | found["p"].isna(), failed & ~(told & (side > 0)), ~told]
    kinds += [better & found["below"].to_numpy(dtype=bool), better]
    words = ["no answer", "cannot tell", "cannot tell", "tie", "BELOW", "better"]
    return found.assign(outcome=np.select(kinds, words, "worse"))


def compared_with(row: Mapping[Any, Any], figures: pd.DataFrame) -> dict[str, Any]:
    """Return a row of :func:`against_published`, but for its outcome; ``figures`` has a row a seed that answered."""
    values: Reals = figures["value"].to_numpy(dtype=float)
    found = {name: row[name] for name in (*summary.PROBLEM, "label", "size", "t", "metric")}
    found |= {"answered": int(row["ok"]), "asked": int(row["asked"]), "decides": bool(figures["decides"].all())}
    found |= below_floor(figures, str(row["metric"])) | {
        "source": row["published_source"],
        "ours": row["median"],
        "published": row["published_median"],
    }
    finite = values[np.isfinite(values) & (values > 0)]
    unknown = {"seeds": len(values), "factor": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    if not len(finite) or len(finite) < len(values) or not row["published_median"] > 0:
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


def below_floor(figures: pd.DataFrame, metric: str) -> dict[str, bool]:
    """Return whether exact draws are known beside some figures, and whether these are told below them, at 5 %."""
    sign = -1.0 if metric in CATALOGUE and CATALOGUE[metric].better == "higher" else 1.0
    floor = figures["floor"].to_numpy(dtype=float) if "floor" in figures else np.full(len(figures), math.nan)
    with np.errstate(invalid="ignore"):
        excess = sign * (figures["value"].to_numpy(dtype=float) - floor)
    excess = np.where(np.isfinite(excess), excess, math.nan)
    if np.isnan(excess).all():
        return {"floored": False, "below": False}
    _, mean, _, p, _ = (float(each[0]) for each in compared(excess[None]))
    return {"floored": True, "below": p < LEVEL and mean < 0}


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
    caption = ", ".join(f"{counts[word]} {word}" for word in WORDS if word in counts)
    caption = "\n".join((f"{caption}, at a false discovery rate of {LEVEL:.0%}.", *remarks(found, told_apart(frame))))
    rows = table(
        "problem", "D", "solver", "t", "measure", "ours", "published", "ours ×", "95 %", "seeds", "",
        title="figures → published", caption=caption,
    )  # fmt: skip
    for row in found.to_dict("records"):
        limits = "" if pd.isna(row["low"]) else f"[{significant(row['low'], 2)}, {significant(row['high'], 2)}]"
        style = {"better": "green", "worse": "red"}.get(row["outcome"], "")
        rows.add_row(
            Text(titles[row["problem"], row["problem_settings"]]), str(row["size"]), Text(row["label"]),
            f"{row['t']:g}", row["metric"], significant(row["ours"]), significant(row["published"]),
            significant(row["factor"], 2), Text(limits), seeds_text(row), Text(outcome_text(row), style=style),
        )  # fmt: skip
    console().print(rows)


def seeds_text(row: Mapping[Any, Any]) -> str:
    """Return on how many seeds a solver answered, of those that it was asked for where some failed."""
    return f"{row['answered']}/{row['asked']} answered" if row["answered"] < row["asked"] else str(row["answered"])


def outcome_text(row: Mapping[Any, Any]) -> str:
    """Return an outcome and, where runs that failed are to blame for it, that they are."""
    failed = row["asked"] - row["answered"]
    if row["outcome"] == "cannot tell" and failed:
        return f"cannot be better: {failed} of {row['asked']} failed"
    return str(row["outcome"])


def remarks(found: pd.DataFrame, frame: pd.DataFrame) -> Iterator[str]:
    """Yield what the comparison does not say: measures that decide nothing, and figures without a floor."""
    answered = found[found["answered"] > 0]
    idle = answered[~answered["decides"].astype(bool)]
    if len(idle):
        figures = frame[frame["status"].eq("ok") & frame["metric"].notna() & frame["label"].isin(idle["label"])]
        able = list(figures.loc[places(figures) > 0, "metric"].unique())
        what = f"by {listed(able)}" if able else "but nothing that it could decide by was measured here"
        yield (
            f"{listed(idle['metric'].unique())} decides nothing of these answers: by it exact draws need not be best. "
            f"`wgfbench verdict` decides, {what}."
        )
    if answered["outcome"].eq("BELOW").any():
        yield "BELOW: lower than as many exact draws get, which is no evidence for a solver."
    bare = answered.loc[~answered["floored"].astype(bool), "label"].unique()
    if len(bare):
        yield f"No exact draws are beside {listed(bare)}: whether these lie below their floor is not known."
