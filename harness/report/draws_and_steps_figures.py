"""Figures for a paper of draws, densities and steps: fits and truth together, and the traces of solvers' steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import summary
from harness.report.densities import plane_view, stored_density
from harness.report.densities_figures import densities_figure, plane_figure
from harness.report.draws_and_steps import density_views, draw_views, of_problem, smoothed, step_views
from harness.report.exact_density import MASSES, ExactDensity, exact_density, in_own_coordinates
from harness.report.palette import GREY, colours, dashes, paper_style
from problems.arrays import Reals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 4


def plot_draws_and_steps(
    frame: pd.DataFrame,
    traces: pd.DataFrame | None,
    projections: pd.DataFrame | None,
    data: str | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for the draws of every dimension and time, densities, and every trace."""
    short = summary.short_titles(frame)
    for key, title in summary.titles(frame).items():
        name = summary.slug(title)
        rows = of_problem(projections, key)
        for size, t, share, truth, fits in draw_views(rows):
            own = in_own_coordinates(size, share)
            exact = exact_density(*key, size, truth, data) if own else stored_density(rows, size, t)
            with paper_style():
                figure = draws_figure(truth, fits, solver_colours(rows), size, share, exact)
                figure.suptitle(f"{short[key]}\nD = {size}, t = {t:g}", x=0.01, ha="left", fontsize="medium")
            yield f"{name}-draws-D{size}-t{t:g}", figure
        densities = [view for view in density_views(rows) if view[2]]
        if densities:
            with paper_style():
                figure = densities_figure(densities, solver_colours(rows))
                figure.suptitle(short[key], x=0.01, ha="left", fontsize="medium")
            yield f"{name}-densities", figure
        plane = plane_view(rows)
        if plane is not None:
            with paper_style():
                figure = plane_figure(plane, solver_colours(rows))
                figure.suptitle(short[key], x=0.01, ha="left", fontsize="medium")
            yield f"{name}-densities-D2", figure
        rows = of_problem(traces, key)
        by_name: dict[str, list[tuple[int, list[tuple[str, int, pd.DataFrame]]]]] = {}
        for trace, size, series in step_views(rows):
            by_name.setdefault(trace, []).append((size, series))
        for trace, sizes in by_name.items():
            with paper_style():
                figure = steps_figure(trace, sizes, solver_colours(rows))
                figure.suptitle(short[key], x=0.01, ha="left", fontsize="medium")
            yield f"{name}-{summary.slug(trace)}-per-step", figure


def solver_colours(rows: pd.DataFrame) -> dict[str, str]:
    """Return a colour for every label of a table."""
    pairs = sorted(set(zip(rows["solver"], rows["label"], strict=True)), key=lambda pair: summary.label_place(*pair))
    return colours({str(label): str(solver) for solver, label in pairs})


def draws_figure(
    truth: Reals,
    fits: list[tuple[str, Reals]],
    shown: dict[str, str],
    size: int,
    share: float,
    exact: ExactDensity | None = None,
) -> Figure:
    """Return a panel of exact draws (n, 2) and one for each solver, over the lines of the smoothed exact draws.

    With the exact density the lines are the edges of its regions of highest density, and panels end where its grid
    does: draws outside of it are not seen, but counted in the panel's title.
    """
    from matplotlib.figure import Figure

    panels = [("exact draws", truth, GREY), *((label, points, shown[label]) for label, points in fits)]
    columns = min(MOST_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.7 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    x, y, density = (exact.x, exact.y, exact.density) if exact else smoothed(truth)
    for axes, (label, points, colour) in zip(grid, panels, strict=False):
        if density.max() > 0:
            levels = exact.levels() if exact else density.max() * np.linspace(0.05, 0.95, 7)
            axes.contour(x, y, density, levels=levels, colors=GREY, linewidths=0.6)
        axes.scatter(points[:, 0], points[:, 1], s=3, color=colour, alpha=0.5, linewidths=0, label=label)
        axes.set_title(label, fontsize="small")
        axes.set_aspect("equal", adjustable="box")
        if exact:
            axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
            inside = (points >= [x[0], y[0]]) & (points <= [x[-1], y[-1]])
            outside = int((~inside.all(1)).sum())
            if outside:
                axes.set_title(f"{label}\n{outside} of {len(points)} outside", fontsize="small")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if exact:
        masses = ", ".join(f"{100 * mass:g}" for mass in sorted(MASSES))
        figure.supxlabel(f"lines: regions that hold {masses} % of the exact density", fontsize="small")
        for axes in grid:
            axes.set_xlabel(exact.names[0])
        for axes in grid[::columns]:
            axes.set_ylabel(exact.names[1])
    elif in_own_coordinates(size, share):
        figure.supxlabel("two coordinates of the problem", fontsize="small")
    elif size > 2:
        figure.supxlabel(f"principal axes of the truth, {100 * share:.0f} % of its variance", fontsize="small")
    return figure


def steps_figure(
    trace: str, sizes: list[tuple[int, list[tuple[str, int, pd.DataFrame]]]], shown: dict[str, str]
) -> Figure:
    """Return a panel for each dimension with a line for each solver, quartiles shaded."""
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(sizes))
    lines = -(-len(sizes) // columns)
    figure = Figure(figsize=(3.0 * columns + 2.2, 2.6 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (size, series) in zip(grid, sizes, strict=False):
        for label, seeds, rows in series:
            style = {"color": shown[label], "linestyle": dashes(shown)[label], "linewidth": 1.2}
            axes.plot(rows["step"], rows["median"], label=label, **style)
            if seeds > 1:
                axes.fill_between(rows["step"], rows["q25"], rows["q75"], color=shown[label], alpha=0.2, linewidth=0)
        axes.set(title=f"D = {size}", xlabel="step", ylabel=f"{trace} of a step")
        from_zero(axes)
    for axes in grid[len(sizes) :]:
        axes.set_visible(False)
    entries = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", frameon=False)
    return figure


def from_zero(axes: Axes) -> None:
    """Start the vertical axis at zero where nothing lies below, logarithmic over more than two decades."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() < 0:
        return
    if values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
