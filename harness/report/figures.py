"""Figures for a paper, PNG and PDF: error against dimension and error against wall-clock, one for each measure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.measure import CATALOGUE
from harness.report import published as published_figures
from harness.report import tables
from harness.report.palette import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"size": "dimension D", "seconds": "median solve time in seconds"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")


def write_figures(frame: pd.DataFrame, folder: str | Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write the figures of every problem and measure and return their paths.

    Lines are medians over the ok runs, bars quartiles; dashes are floors, open diamonds published figures.
    Matplotlib's settings are left as they were.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in draw(frame):
        for suffix in formats:
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, dpi=200, bbox_inches="tight")
            written.append(path)
    return written


def draw(frame: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for every problem, measure and kind; one panel for each time."""
    import matplotlib
    import seaborn

    published = published_figures.load()
    rows = tables.summary(frame, published)
    others = tables.unmatched(rows, published)
    titles = tables.titles(rows)
    style = {"axes.edgecolor": "#555555", "axes.linewidth": 0.7, "grid.color": "#e3e6ea", "pdf.fonttype": 42}
    for key, group in rows.dropna(subset=["median"]).groupby([*tables.PROBLEM, "metric"], sort=False):
        problem, problem_settings, metric = key
        extra = others[(others["problem_settings"] == problem_settings) & (others["metric"] == metric)]
        title = titles[problem, problem_settings]
        for kind in KINDS:
            with (
                seaborn.axes_style("whitegrid"),
                seaborn.plotting_context("paper"),
                matplotlib.rc_context(style),
            ):
                figure = panels(group, extra, metric, kind)
                figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
            yield f"{slug(title)}-{metric}-vs-{'dimension' if kind == 'size' else 'seconds'}", figure


def slug(title: str) -> str:
    """Return a title as a file name."""
    return re.sub(r"[^A-Za-z0-9.=]+", "-", title).strip("-")


def panels(rows: pd.DataFrame, others: pd.DataFrame, metric: str, kind: str) -> Figure:
    """Return a figure with one panel a time and a common legend."""
    from matplotlib.figure import Figure

    times = sorted(rows["t"].unique())
    shown = colours(dict(zip(rows["label"], rows["solver"], strict=True)))
    columns = min(4, len(times))
    lines = -(-len(times) // columns)
    figure = Figure(figsize=(3.4 * columns + 2.6, 3.1 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, time in zip(grid, times, strict=False):
        panel(axes, rows[rows["t"] == time], others[others["t"].round(9) == round(time, 9)], kind, shown)
        axes.set(title=f"t = {time:g}", xlabel=KINDS[kind], ylabel="")
        scale(axes, rows, metric, kind)
    for axes in grid[len(times) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel(metric)
    entries = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside right center", frameon=False)
    return figure


def panel(axes: Axes, rows: pd.DataFrame, others: pd.DataFrame, kind: str, shown: dict[str, str]) -> None:
    """Draw the solvers of one problem, measure and time."""
    import seaborn

    markers = {label: MARKERS[place % len(MARKERS)] for place, label in enumerate(shown)}
    for label, group in rows.groupby("label", sort=False):
        group = group.sort_values("size")
        colour = shown[str(label)]
        style: dict[str, Any] = {"color": colour, "marker": markers[str(label)], "markersize": 5, "linewidth": 1.2}
        seaborn.lineplot(data=group, x=kind, y="median", label=str(label), ax=axes, legend=False, sort=False, **style)
        spread = [group["median"] - group["q25"], group["q75"] - group["median"]]
        axes.errorbar(group[kind], group["median"], yerr=spread, fmt="none", ecolor=colour, elinewidth=1, alpha=0.7)
        theirs = group[group["published_median"].notna()]
        if len(theirs):
            place = "size" if kind == "size" else "published_seconds"
            diamonds(axes, theirs[place], theirs["published_median"], colour, f"{label}, {published_figures.SOURCE}")
    for label, group in others.groupby("label", sort=False):
        diamonds(axes, group[kind], group["median"], "#333333", f"{label}, {published_figures.SOURCE}")
    if kind == "size":
        floors(axes, rows)


def diamonds(axes: Axes, x: pd.Series, y: pd.Series, colour: str, label: str) -> None:
    """Mark published figures."""
    axes.plot(x, y, linestyle="none", marker="D", markersize=6, fillstyle="none", color=colour, label=label)


def floors(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the floor of every number of particles as a dashed line."""
    for size, group in rows[rows["floor"] > 0].groupby("sample_size", sort=True):
        line = group.groupby("size")["floor"].median()
        axes.plot(line.index, line, linestyle=(0, (4, 2)), linewidth=0.9, color="#8a939c", zorder=0.5)
        axes.annotate(f"floor {size}", (line.index[-1], line.iloc[-1]), (3, 0), textcoords="offset points",
                      fontsize=6, color="#8a939c", va="center")  # fmt: skip


def scale(axes: Axes, rows: pd.DataFrame, metric: str, kind: str) -> None:
    """Take logarithmic axes where the values are positive, and a tick for every dimension that was run."""
    from matplotlib.ticker import NullLocator

    higher = metric in CATALOGUE and CATALOGUE[metric].higher_is_better
    if not higher and (rows["median"] > 0).any():
        axes.set_yscale("log", nonpositive="mask")
    if kind == "seconds" and (rows["seconds"] > 0).any():
        axes.set_xscale("log")
    if kind == "size":
        sizes = sorted(rows["size"].unique())
        if len(sizes) > 1:
            axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
