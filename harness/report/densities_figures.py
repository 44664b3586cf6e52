"""Figures for a paper of densities over time: curves over the exact one on the line, rows of maps in the plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.report.densities import NAMES, PlaneView
from harness.report.exact_density import MASSES, ExactDensity
from harness.report.palette import GREY, dashes
from problems.arrays import Reals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 4
SCALE = ("#ffffff", "#dae8f3", "#9ec8e2", "#5697c8", "#205c9a", "#082654")
"""Colours of a density from 0 up, those of the page: lightness alone tells the order."""
COMMON = 4
"""Panels have axes in common where the widest law is at most so many times as wide as the narrowest."""


def densities_figure(views: list[tuple[float, Reals, list[tuple[str, Reals]]]], shown: dict[str, str]) -> Figure:
    """Return a panel for each time with the density of each solver over the exact one, which is shaded.

    Densities are pairs of place and value, (n, 2).
    """
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(views))
    lines = -(-len(views) // columns)
    figure = Figure(figsize=(3.2 * columns + 2.2, 2.6 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    ends = np.array([[truth[0, 0], truth[-1, 0], truth[:, 1].max()] for _, truth, _ in views])
    widths = ends[:, 1] - ends[:, 0]
    together = widths.max() <= COMMON * widths.min() and ends[:, 2].max() <= COMMON * ends[:, 2].min()
    for axes, (t, truth, fits) in zip(grid, views, strict=False):
        axes.fill_between(truth[:, 0], truth[:, 1], color=GREY, alpha=0.3, linewidth=0, label="exact")
        for label, points in fits:
            style = {"color": shown[label], "linestyle": dashes(shown)[label], "linewidth": 1.1}
            axes.plot(points[:, 0], points[:, 1], label=label, **style)
        low, high = (ends[:, 0].min(), ends[:, 1].max()) if together else (truth[0, 0], truth[-1, 0])
        axes.set(title=f"t = {t:g}", xlabel="x", xlim=(low, high))
        # Exact density decides the height: a fit that has collapsed would flatten every other.
        axes.set_ylim(0, 1.25 * (ends[:, 2].max() if together else truth[:, 1].max()))
    for axes in grid[::columns]:
        axes.set_ylabel("density")
    for axes in grid[len(views) :]:
        axes.set_visible(False)
    entries = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", frameon=False)
    return figure


def plane_figure(view: PlaneView, shown: Mapping[str, str]) -> Figure:
    """Return a row of maps for the truth and for each solver, a column a time, on one scale of colours.

    Colours go by the root of the density. Lines are at the densities where the exact regions of highest density end;
    what has draws alone is shown by these over the exact lines.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns, lines = len(view.times), len(view.rows) + 1
    tall = max((one.y[-1] - one.y[0]) / (one.x[-1] - one.x[0]) for one in view.exact)
    figure = Figure(figsize=(1.9 * columns + 1.6, (1.6 * min(tall, 1.6) + 0.2) * lines + 0.9), layout="constrained")
    widths = [one.x[-1] - one.x[0] for one in view.exact]
    together = bool(max(widths) <= COMMON * min(widths))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=together or "col", sharey=together or "col")
    norm, scale = PowerNorm(0.5, 0.0, view.top()), LinearSegmentedColormap.from_list("densities", SCALE)
    labels = ["exact", *(row.label for row in view.rows)]
    for line, label in enumerate(labels):
        for column, exact in enumerate(view.exact):
            axes = grid[line, column]
            density = exact.density if line == 0 else view.rows[line - 1].densities[column]
            draws = None if line == 0 else view.rows[line - 1].draws[column]
            if density is not None:
                style: dict[str, Any] = {"cmap": scale, "norm": norm, "interpolation": "bilinear"}
                image = axes.imshow(density, origin="lower", extent=extent(exact), **style)
                if line == 0 and column == 0:
                    figure.colorbar(image, ax=grid, location="right", shrink=0.6, label="density", extend="max")
            elif draws is not None:
                axes.scatter(draws[:, 0], draws[:, 1], s=2, color=shown[label], alpha=0.6, linewidths=0)
            lined = exact.density if density is None else np.nan_to_num(density)
            if lined.max() > exact.levels()[0]:
                axes.contour(exact.x, exact.y, lined, levels=distinct(exact.levels()), colors=GREY, linewidths=0.5)
            # Where a grid ends within common axes, what lies beyond is not known to be empty.
            sides = (exact.x[-1] - exact.x[0], exact.y[-1] - exact.y[0])
            edge: dict[str, Any] = {"fill": False, "edgecolor": GREY, "linewidth": 0.5, "linestyle": ":"}
            axes.add_patch(Rectangle((exact.x[0], exact.y[0]), *sides, **edge))
            axes.set(aspect="equal", facecolor="white")
            axes.grid(False)
            if line == 0:
                axes.set_title(f"t = {view.times[column]:g}", fontsize="small")
        grid[line, 0].set_ylabel(f"{label}\n{NAMES[1]}", fontsize="small")
    if together:
        ends = np.array([extent(exact) for exact in view.exact])
        grid[0, 0].set(xlim=(ends[:, 0].min(), ends[:, 1].max()), ylim=(ends[:, 2].min(), ends[:, 3].max()))
    for axes in grid[-1]:
        axes.set_xlabel(NAMES[0], fontsize="small")
    masses = ", ".join(f"{100 * mass:g}" for mass in sorted(MASSES))
    figure.supxlabel(f"lines: densities at which regions end that hold {masses} % of the exact one", fontsize="small")
    return figure


def extent(exact: ExactDensity) -> tuple[float, float, float, float]:
    """Return the edges of the map of a grid: half a node beyond the first and the last."""
    x, y = exact.x, exact.y
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    return float(x[0] - half_x), float(x[-1] + half_x), float(y[0] - half_y), float(y[-1] + half_y)


def distinct(levels: list[float]) -> list[float]:
    """Return levels, rising, each once."""
    return sorted(set(levels))
