"""Figures for a paper, PNG and PDF: error against dimension (or time) and against wall-clock, for each measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.measure import CATALOGUE
from harness.report import published as published_figures
from harness.report import summary
from harness.report.apart import apart, relabelled
from harness.report.draws_and_steps_figures import plot_draws_and_steps
from harness.report.energy_figures import draw_energies
from harness.report.filtering import draw_filtering
from harness.report.palette import GREY, colours, name_infinite, paper_style
from harness.report.work_precision import draw_work_and_precision

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALONG = {"size": "dimension D", "t": "time t", "seconds": "median solve time in seconds"}
NAMES = {"size": "dimension", "t": "time", "seconds": "seconds"}
MARKERS = ("o", "s", "^", "P", "v", "D", "X", "p", "<", ">")
OPEN = ("D", "s", "o", "^", "v", "p")
DASHES = ((4, 2), (1.5, 1.5), (5, 1.5, 1, 1.5), (8, 2))
PUBLISHED = "#8a4b0f"


def write_figures(
    frame: pd.DataFrame,
    folder: str | Path,
    formats: Sequence[str] = ("png", "pdf"),
    *,
    traces: pd.DataFrame | None = None,
    projections: pd.DataFrame | None = None,
    data: str | None = None,
) -> list[Path]:
    """Write the figures of every problem and measure, of steps, draws, energies and filters, and return their paths.

    ``data`` is the folder where data sets may lie. Lines are medians over the ok runs, bars quartiles; dashes are
    floors, open marks published figures. Matplotlib's settings are left as they were.
    """
    labels = apart(frame)
    frame = relabelled(frame, labels)
    traces, projections = (None if table is None else relabelled(table, labels) for table in (traces, projections))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    filters = iter(()) if traces is None else draw_filtering(frame, traces)
    details = chain(plot_draws_and_steps(frame, traces, projections, data), draw_energies(frame, traces))
    for name, figure in chain(draw(frame), draw_work_and_precision(frame), details, filters):
        for suffix in formats:
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, dpi=200)
            written.append(path)
    return written


def draw(frame: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for every problem, measure and horizontal axis."""
    published = published_figures.load()
    rows = summary.summarise(frame, published)
    others = summary.unmatched(rows, published)
    titles = summary.titles(rows)
    # The oracle's rows are the floors, which are drawn as such.
    drawn = rows[rows["median"].notna() & (rows["solver"] != "oracle")]
    for key, group in drawn.groupby([*summary.PROBLEM, "metric"], sort=False):
        problem, problem_settings, metric = (str(part) for part in key)
        theirs = others[(others["problem_settings"] == problem_settings) & (others["metric"] == metric)]
        title = titles[problem, problem_settings]
        if not finite(group).any():
            continue
        for along in directions(group):
            with paper_style():
                figure = panels(group, theirs, metric, along)
                figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
            yield f"{summary.slug(title)}-{metric}-vs-{NAMES[along]}", figure


def directions(rows: pd.DataFrame) -> list[str]:
    """Return the horizontal axes of errors: dimensions, or times of a single dimension, and seconds."""
    first = ["size"] if rows["size"].nunique() > 1 else ["t"] if rows["t"].nunique() > 1 else []
    return [*first, *(["seconds"] if (rows["seconds"] > 0).any() else [])]


def panels(rows: pd.DataFrame, others: pd.DataFrame, metric: str, along: str) -> Figure:
    """Return a figure with one panel a time, or one for all times along them, and a common legend."""
    from matplotlib.figure import Figure

    times: list[float | None] = [None] if along == "t" else sorted(rows["t"].unique())
    shown = colours(dict(zip(rows["label"], rows["solver"], strict=True)))
    columns = min(3, len(times))
    lines = -(-len(times) // columns)
    figure = Figure(figsize=(3.6 * columns + 3.2, 3.2 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, time in zip(grid, times, strict=False):
        here = rows if time is None else rows[rows["t"] == time]
        theirs = others if time is None else others[others["t"].round(9) == round(time, 9)]
        panel(axes, here, theirs, along, shown)
        axes.set(title="" if time is None else f"t = {time:g}", xlabel=ALONG[along], ylabel="")
        if finite(here).any():
            scale(axes, rows[finite(rows)], metric, along)
        else:
            axes.set_xticks([])
    for axes in grid[len(times) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel(metric)
    entries = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = sorted(entries, key=lambda name: (name.startswith("floor"), ", published (" in name))
    figure.legend([entries[name] for name in names], names, loc="outside right upper", frameon=False)
    return figure


def finite(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which medians have a place on an axis."""
    return rows["median"].abs() < np.inf


def panel(axes: Axes, rows: pd.DataFrame, others: pd.DataFrame, along: str, shown: dict[str, str]) -> None:
    """Draw the solvers of one problem and measure."""
    import seaborn

    name_infinite(axes, rows.loc[~finite(rows), "label"])
    rows = rows[finite(rows)]
    if along != "seconds":
        floors(axes, rows, along)
    markers = {label: MARKERS[place % len(MARKERS)] for place, label in enumerate(shown)}
    for label, group in rows.groupby("label", sort=False):
        group = group.sort_values(["size", "t"])
        colour = shown[str(label)]
        style: dict[str, Any] = {"color": colour, "marker": markers[str(label)], "markersize": 5, "linewidth": 1.2}
        style |= {"label": str(label), "legend": False, "sort": False, "estimator": None}
        seaborn.lineplot(data=group, x=along, y="median", ax=axes, **style)
        spread = [group["median"] - group["q25"], group["q75"] - group["median"]]
        axes.errorbar(group[along], group["median"], yerr=spread, fmt="none", ecolor=colour, elinewidth=1, alpha=0.7)
        theirs = group[group["published_median"].notna()]
        if len(theirs):
            place = "published_seconds" if along == "seconds" else along
            name = f"the same solvers, {theirs['published_source'].iloc[0]}"
            open_marks(axes, theirs[place], theirs["published_median"], colour, "D", name)
    for number, (label, group) in enumerate(others.groupby("label", sort=False)):
        name = f"{label}, {group['source'].iloc[0]}"
        open_marks(axes, group[along], group["median"], PUBLISHED, OPEN[number % len(OPEN)], name)


def open_marks(axes: Axes, x: pd.Series[Any], y: pd.Series[Any], colour: str, marker: str, label: str) -> None:
    """Mark published figures."""
    axes.plot(x, y, linestyle="none", marker=marker, markersize=7, fillstyle="none", color=colour, label=label)


def floors(axes: Axes, rows: pd.DataFrame, along: str) -> None:
    """Draw the floor of every number of particles as a dashed line."""
    for number, (size, group) in enumerate(rows[rows["floor"] > 0].groupby("sample_size", sort=True)):
        line = group.groupby(along)["floor"].median()
        style = (0, DASHES[number % len(DASHES)])
        axes.plot(line.index, line, linestyle=style, linewidth=1.1, color=GREY, label=f"floor, {size} particles")


def scale(axes: Axes, rows: pd.DataFrame, metric: str, along: str) -> None:
    """Take logarithmic axes where the values are positive, and a tick for every dimension that was run."""
    from matplotlib.ticker import NullLocator

    lower = metric not in CATALOGUE or CATALOGUE[metric].better == "lower"
    if lower and (rows["median"] > 0).any():
        axes.set_yscale("log", nonpositive="mask")
    if along == "seconds":
        axes.set_xscale("log")
    elif along == "size":
        sizes = sorted(rows["size"].unique())
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
