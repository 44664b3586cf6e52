"""Work and precision: how far above exact draws each solver is against what it costs, its budgets joined.

A line joins what a method gets with more of its budget: particles, iterations, finer steps or grids. What is not told
from exact draws lies in a band at the foot of the axis, of which a logarithm could show half. The front is what no
other solver beats in both, cost and error. A budget that failed on an instance is infinitely far from the truth there,
as in the verdict: it is drawn by what it answered, with the count beside it, and is neither on the front nor beats what
is. The initial law costs nothing and is on no axis.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.report import summary
from harness.report.palette import GREY, colours, name_infinite, paper_style
from harness.verdict.contest import Contest
from harness.verdict.judge import Judged, judge
from problems.arrays import Flags, Reals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUDGETS = ("particles", "iterations", "step_size", "cells", "nodes", "samples", "chains", "thinning", "pool_size")
"""Settings that say how much work a method may do: a line is all of its settings but these."""
COSTS = {
    "solve_seconds": ("seconds", "seconds of solving"),
    "gradient_evaluations": ("gradients", "gradient evaluations"),
    "peak_memory": ("memory", "peak memory in bytes"),
}
"""What work is counted in: the frame's column, the name in a file's, and what stands on the axis."""
MARKERS = ("o", "s", "^", "P", "v", "D", "X", "p", "<", ">")


def work_and_precision(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Return one row a problem, dimension, deciding measure and solver, at the last time.

    ``cost`` is a column of ``COSTS``, of which the row has the median; ``line`` is the same for all budgets of a
    method, ``above`` says whether the ``excess`` is told from 0, ``answered`` is how many runs did, of those ``asked``,
    and ``front`` says whether all did and no other such solver is both cheaper and closer. Rows without a cost are left
    out. The labels of the frame are told apart.
    """
    return at_cost(summary.cells(frame), precision(frame, judge(frame)), cost)


def precision(frame: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """Return the table of :func:`work_and_precision` without its costs, of a frame that has been judged."""
    lines = {label: line_of(solver, settings) for label, solver, settings in methods(frame[frame["status"] == "ok"])}
    rows = [row | {"line": lines[row["label"]]} for row in answered(judged)]
    columns = [*summary.PROBLEM, "size", "t", "metric", "label", "line", "excess", "error", "above"]
    return pd.DataFrame(rows, columns=[*columns, "answered", "asked"])


def at_cost(cells: pd.DataFrame, table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Return the table of :func:`precision` with a cost and, by it, the front; see :func:`work_and_precision`.

    ``cells`` has a row a run (``summary.cells``).
    """
    ok = cells[cells["status"] == "ok"]
    costs = ok.groupby([*summary.PROBLEM, "size", "label"], sort=False)[cost].median()
    table = table.merge(costs.rename("cost").astype(float).reset_index(), on=[*summary.PROBLEM, "size", "label"])
    table = table[table["cost"] > 0].reset_index(drop=True)
    front = pd.Series(False, index=table.index)
    for _, group in table.groupby([*summary.PROBLEM, "size", "metric"], sort=False):
        whole = group[group["answered"] == group["asked"]]
        front[whole.index] = on_front(whole["cost"].to_numpy(), np.where(whole["above"], whole["excess"], 0.0))
    return table.assign(front=front)


def methods(rows: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield label, solver and settings of every label."""
    found = rows.drop_duplicates("label")[["label", "solver", "solver_settings"]]
    yield from ((str(label), str(solver), str(settings)) for label, solver, settings in found.to_numpy().tolist())


def line_of(solver: str, settings: str) -> str:
    """Return what all budgets of a method have in common."""
    kept = {name: value for name, value in json.loads(settings).items() if name not in BUDGETS}
    return f"{solver} {json.dumps(kept, sort_keys=True)}"


def answered(judged: Judged) -> Iterator[dict[str, Any]]:
    """Yield how far above its floor each solver is, by each measure that decides about it and has floors."""
    for row in judged.states[judged.states["floored"]].to_dict("records"):
        contest = judged.contests[row["contest"]]
        where = {"problem": contest.problem, "problem_settings": contest.problem_settings, "size": contest.size}
        above = bool(row["told"] and row["mean"] > 0)
        yield (
            where
            | {"t": contest.t, "above": above}
            | counted(contest, row["label"])
            | {name: row[name] for name in ("metric", "label", "excess", "error")}
        )


def counted(contest: Contest, label: str) -> dict[str, int]:
    """Return how many runs of a solver answered, of those that were to."""
    place = contest.labels.index(label)
    answered = int(contest.answered[place].sum())
    return {"answered": answered, "asked": answered + int(contest.failed[place].sum())}


def share(row: Mapping[Any, Any]) -> str:
    """Return what stands beside a mark: how many runs answered, of a solver that failed on some."""
    return f"{row['answered']}/{row['asked']}" if row["answered"] < row["asked"] else ""


def on_front(cost: Reals, error: Reals) -> Flags:
    """Return which of the points (n,) no other one beats: cheaper and closer, or one of the two, the other alike."""
    cheaper, closer = cost[:, None] <= cost, error[:, None] <= error
    strictly = (cost[:, None] < cost) | (error[:, None] < error)
    return np.asarray(~np.any(cheaper & closer & strictly, axis=0))


def draw_work_and_precision(frame: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for every problem, deciding measure and cost that is known of two solvers."""
    titles = summary.titles(frame)
    known, cells = precision(frame, judge(frame)), summary.cells(frame)
    for cost, (name, axis) in COSTS.items():
        if cost not in frame:
            continue
        table = at_cost(cells, known, cost)
        for key, rows in table.groupby([*summary.PROBLEM, "metric"], sort=False):
            problem, settings, metric = (str(part) for part in list[Any](key))
            if rows["label"].nunique() < 2:
                continue
            with paper_style():
                figure = panels(rows, metric, axis, frame)
                figure.suptitle(titles[problem, settings], x=0.01, ha="left", fontweight="bold")
            yield f"{summary.slug(titles[problem, settings])}-{metric}-work-in-{name}", figure


def panels(rows: pd.DataFrame, metric: str, axis: str, frame: pd.DataFrame) -> Figure:
    """Return a figure with a panel a dimension and a common legend."""
    from matplotlib.figure import Figure

    sizes = sorted(rows["size"].unique())
    columns = min(3, len(sizes))
    lines = -(-len(sizes) // columns)
    figure = Figure(figsize=(3.6 * columns + 3.2, 3.2 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    known = frame.drop_duplicates("label")
    known = known[known["label"].isin(rows["label"])]
    shown = colours(dict(zip(known["label"], known["solver"], strict=True)))
    for axes, size in zip(grid, sizes, strict=False):
        panel(axes, rows[rows["size"] == size], shown)
        axes.set(title=f"D = {size}", xlabel=axis)
    for axes in grid[len(sizes) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel(f"{metric} over exact draws")
    entries = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", frameon=False)
    return figure


def panel(axes: Axes, rows: pd.DataFrame, shown: dict[str, str]) -> None:
    """Draw the solvers of one problem and dimension: errors told from 0 on a log axis, the others in a band below.

    Those whose figure is infinite have no place on it, and are named.
    """
    from matplotlib.ticker import NullFormatter

    infinite = ~np.isfinite(rows["excess"])
    name_infinite(axes, rows.loc[infinite, "label"])
    rows = rows[~infinite]
    told = rows[rows["above"] & (rows["excess"] > 0)]
    least = float(told["excess"].min()) if len(told) else 1.0
    most = float(told["excess"].max()) if len(told) else 1.0
    foot = least / max(3.0, (most / least) ** 0.15)
    rows = rows.assign(y=rows["excess"].where(rows["above"] & (rows["excess"] > 0), foot))
    axes.set(xscale="log", yscale="log")
    axes.axhspan(foot / 2, foot * 2 if len(told) == 0 else (foot * least) ** 0.5, color=GREY, alpha=0.15, linewidth=0)
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "bottom", "ha": "right"}
    axes.annotate("at the floor", (0.99, 0.55 * foot), color=GREY, fontsize=7, **where)
    for side in (axes.xaxis, axes.yaxis):
        side.set_minor_formatter(NullFormatter())
    for _, group in rows.groupby("line", sort=False):
        group = group.sort_values("cost")
        axes.plot(group["cost"], group["y"], color=shown[str(group["label"].iloc[0])], linewidth=1.2, zorder=2)
    for place, (label, group) in enumerate(rows.groupby("label", sort=False)):
        mark: dict[str, Any] = {"color": shown[str(label)], "marker": MARKERS[place % len(MARKERS)], "markersize": 5}
        above = bool(group["above"].iloc[0])
        for row in group[group["answered"] < group["asked"]].to_dict("records"):
            beside: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 7}
            axes.annotate(share(row), (row["cost"], row["y"]), color=shown[str(label)], **beside)
        axes.plot(group["cost"], group["y"], linestyle="none", label=str(label), **mark, zorder=3,
                  fillstyle="full" if above else "none")  # fmt: skip
        if above and np.isfinite(group["error"].iloc[0]):
            spread = np.minimum(group["error"], 0.9 * group["y"])
            axes.errorbar(
                group["cost"], group["y"], yerr=[spread, group["error"]], fmt="none", ecolor=shown[str(label)]
            )
    front = rows[rows["front"]].sort_values("cost")
    axes.plot(front["cost"], front["y"], drawstyle="steps-post", color=GREY, linestyle=(0, (1.5, 1.5)), zorder=1)
    axes.set_ylim(bottom=foot / 2)
