"""Two stores side by side: which figures changed by more than their errors, and what happened to the seconds.

A cell of one store is that of the other when problem, solver, all settings, dimension, seed and device agree; versions,
labels and keys may differ, so that a solver can be compared with what it was. Since cells with the same settings share
their random streams, differences are taken seed by seed. Over n seeds with differences d_s, whose stored standard
errors are e_s, the median difference counts as a change when it exceeds

    max{ t_{0.975, n-1} c std(d_s) / √n,   z_{0.975} c √(Σ e_s²) / n },    c = √(π/2) for n > 1, 1 for n = 1,

c/√n being the standard error of the median over that of a normal sample's deviation: large for small n, never small.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from rich.text import Text
from scipy import stats

from harness.catalogue import BUILTIN, Kind
from harness.errors import UsageError
from harness.frame import load
from harness.identity import former
from harness.listing import console, table
from harness.measure import CATALOGUE

GROUP = ["problem", "problem_settings", "solver", "solver_settings", "device", "size"]
CELL = [*GROUP, "seed"]
FIGURE = [*CELL, "t", "metric"]
CONFIDENCE = 0.95
ROUNDING = 1e-10
"""Change of a median that is put down to rounding, as between processors: relative, of figures below one absolute."""
SHOWN_CELLS = 20


def print_comparison(before_path: Path, after_path: Path) -> None:
    """Print changes of figures and seconds between two stores, changes of status, and cells that only one holds.

    Raises ``UsageError`` for a file that is not a store, and for stores that have no cell in common.
    """
    before, after = by_former_names(load(before_path)), by_former_names(load(after_path))
    statuses = compare_statuses(before, after)
    if not statuses["where"].eq("both").any():
        raise UsageError(f"{str(before_path)!r} and {str(after_path)!r} have no cell in common")
    screen = console()
    figures = compare_figures(before, after)
    changes = figures["change"].value_counts()
    told = ", ".join(
        f"{changes.get(change, 0)} {change}"
        for change in ("better", "worse", "changed", "same")
        if change != "changed" or changes.get(change)
    )
    rows = table(
        "problem", "D", "solver", "t", "measure", "before", "after", "difference", "seeds", "", "seconds",
        title=f"{before_path} → {after_path}",
        caption=f"{told} at {CONFIDENCE:.0%}: of {len(figures)} figures whose law did not change, about "
        f"{(1 - CONFIDENCE) * len(figures):.0f} would be called better or worse. Medians over seeds in common.",
    )  # fmt: skip
    for row in figures.to_dict("records"):
        style = {"better": "green", "worse": "red"}.get(row["change"], "")
        rows.add_row(
            Text(row["problem"]), str(row["size"]), Text(row["label"]), f"{row['t']:g}", row["metric"],
            f"{row['before']:.4g}", f"{row['after']:.4g}", f"{row['difference']:+.2g} ± {row['half_width']:.2g}",
            str(row["seeds"]), Text(row["change"], style=style), ratio_text(row["seconds_ratio"]),
        )  # fmt: skip
    screen.print(rows)
    changed = statuses[statuses["where"].eq("both") & statuses["before"].ne(statuses["after"])]
    print_cells(f"{len(changed)} cells ended otherwise", changed)
    for where, path in (("before", before_path), ("after", after_path)):
        alone = statuses[statuses["where"].eq(where)]
        print_cells(f"{len(alone)} cells are only in {path}", alone)


def print_cells(title: str, cells: pd.DataFrame) -> None:
    """Print some cells with their status before and after; nothing when there are none."""
    if cells.empty:
        return
    left_out = len(cells) - SHOWN_CELLS
    caption = f"… and {left_out} more" if left_out > 0 else None
    rows = table("problem", "D", "solver", "seed", "before", "after", title=title, caption=caption)
    for row in cells.head(SHOWN_CELLS).to_dict("records"):
        status = [row[side] if isinstance(row[side], str) else "–" for side in ("before", "after")]
        rows.add_row(Text(row["problem"]), str(row["size"]), Text(row["label"]), str(row["seed"]), *status)
    console().print(rows)


def by_former_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which problems, solvers and settings go by the names that keys know them by.

    What was renamed between two stores is then the same in both.
    """
    columns = GROUP[:4]
    texts = frame[columns].drop_duplicates()
    known = [counting(*(str(text) for text in row)) for row in texts.itertuples(index=False)]
    table = dict(zip(texts.itertuples(index=False, name=None), known, strict=True))
    rows = [table[row] for row in frame[columns].itertuples(index=False, name=None)]
    return frame.assign(**{column: [row[place] for row in rows] for place, column in enumerate(columns)})


def counting(problem: str, problem_settings: str, solver: str, solver_settings: str) -> tuple[str, str, str, str]:
    """Return a problem and a solver with their settings, as text, by the names that keys know them by."""
    problem, problem_settings = former_text("problem", problem, problem_settings, None)
    return problem, problem_settings, *former_text("solver", solver, solver_settings, problem)


def former_text(kind: Kind, name: str, settings: str, problem: str | None) -> tuple[str, str]:
    """Return a component's former name and settings as text; what is no built-in stays as it is."""
    if name not in BUILTIN[kind]:
        return name, settings
    name, known = former(kind, name, json.loads(settings), BUILTIN[kind][name], problem)
    return name, json.dumps(known, sort_keys=True)


def latest(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return one row for each value of the keys, that of the cell which ended last; cells yet to run have none."""
    ended = frame[frame["status"] != "planned"].sort_values("finished", kind="stable")
    return ended.drop_duplicates(keys, keep="last").sort_index()


def compare_statuses(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: ``where`` it is (``both``, ``before`` or ``after``) and how it ended in each store."""
    sides = [latest(frame, CELL)[[*CELL, "label", "status"]] for frame in (before, after)]
    merged = sides[0].merge(sides[1], on=CELL, how="outer", indicator="where", suffixes=("_before", "_after"))
    where = merged["where"].astype(str).replace({"left_only": "before", "right_only": "after"})
    label = merged["label_after"].fillna(merged["label_before"])
    result = merged[CELL].assign(label=label, before=merged["status_before"], after=merged["status_after"], where=where)
    return result.reset_index(drop=True)


def compare_figures(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return one row per problem, dimension, solver, time and measure that both stores have.

    ``before`` and ``after`` are medians over the ``seeds`` in common, ``difference`` is the median of the differences
    seed by seed with its ``standard_error`` and 95 % ``half_width``, ``change`` is ``better``, ``worse`` or ``same``,
    and ``seconds_ratio`` the median of solve seconds after over that before.
    """
    sides = []
    for frame in (before, after):
        measured = frame[(frame["status"] == "ok") & frame["metric"].notna() & frame["value"].notna()]
        columns = [*FIGURE, "label", "value", "standard_error", "solve_seconds"]
        sides.append(latest(measured, FIGURE)[columns])
    paired = sides[0].merge(sides[1], on=FIGURE, suffixes=("_before", "_after"))
    rows = []
    for keys, seeds in paired.groupby([*GROUP, "t", "metric"], sort=False):
        row = dict(zip([*GROUP, "t", "metric"], keys, strict=True))
        row |= {"label": seeds["label_after"].iloc[0], "seeds": len(seeds)}
        row |= {side: float(seeds[f"value_{side}"].median()) for side in ("before", "after")}
        seconds = [float(seeds[f"solve_seconds_{side}"].median()) for side in ("before", "after")]
        row["seconds_ratio"] = seconds[1] / seconds[0] if seconds[0] > 0 else math.nan
        rows.append(row | judged(seeds, str(row["metric"])))
    columns = [
        *GROUP, "t", "metric", "label", "seeds", "before", "after", "seconds_ratio",
        "difference", "standard_error", "half_width", "change",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def judged(seeds: pd.DataFrame, metric: str) -> dict[str, float | str]:
    """Return the median difference over seeds, its errors, and whether it is a change for the better or the worse."""
    sides = ("before", "after")
    before, after = (seeds[f"value_{side}"].to_numpy(dtype=float) for side in sides)
    with np.errstate(invalid="ignore"):
        differences = np.where(before == after, 0.0, after - before)
        difference = float(np.median(differences))
    errors = np.hypot(*(seeds[f"standard_error_{side}"].fillna(0).to_numpy(dtype=float) for side in sides))
    n = len(differences)
    # Seeds where the figure became infinite, or stopped being so, decide: there is no difference to average.
    jumps = differences[np.isinf(differences)]
    if len(jumps):
        standard_error = half_width = math.inf
        direction = float(np.sign(jumps).sum())
    else:
        factor = math.sqrt(math.pi / 2) if n > 1 else 1.0
        spread = factor * float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        stated = factor * float(np.sqrt((errors**2).sum())) / n
        standard_error = max(spread, stated)
        tail = (1 + CONFIDENCE) / 2
        by_spread = spread * float(stats.t.ppf(tail, n - 1)) if n > 1 else 0.0
        half_width = max(by_spread, stated * float(stats.norm.ppf(tail)))
        rounding = ROUNDING * max(1.0, float(np.median(np.abs(before))))
        direction = difference if abs(difference) > max(half_width, rounding) else 0.0
    way = CATALOGUE[metric].better if metric in CATALOGUE else "lower"
    change = "same" if direction == 0 else "better" if (direction > 0) == (way == "higher") else "worse"
    if way == "neither" and direction != 0:
        change = "changed"
    return {"difference": difference, "standard_error": standard_error, "half_width": half_width, "change": change}


def ratio_text(ratio: float) -> str:
    """Return the factor by which seconds changed, as text."""
    return "–" if math.isnan(ratio) else f"× {ratio:.2f}"
