"""Colours of solvers, a hue for each method and a shade for each of its settings; the style of figures for a paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Paul Tol's bright and vibrant schemes, which stay apart for colour-blind readers, on white and on black.
HUES = ("#4477AA", "#EE7733", "#228833", "#AA3377", "#009988", "#EE6677", "#33A0C8", "#B8A02E", "#8866CC", "#997744")
GREY = "#7a848e"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (9, 2, 2, 2)))
BOUNDS = {"oracle": "#7C8794", "initial": "#A9A095"}


def colours(solvers: Mapping[str, str]) -> dict[str, str]:
    """Return a colour ``#rrggbb`` for every label, given the solver of each label in the order to be shaded."""
    methods = sorted(set(solvers.values()) - BOUNDS.keys())
    hues = BOUNDS | {method: HUES[place % len(HUES)] for place, method in enumerate(methods)}
    result = {}
    for method in dict.fromkeys(solvers.values()):
        labels = [label for label, solver in solvers.items() if solver == method]
        for place, label in enumerate(labels):
            result[label] = shade(hues[method], place / (len(labels) - 1) if len(labels) > 1 else 0.5)
    return result


def dashes(labels: Iterable[str]) -> dict[str, Any]:
    """Return a style of line for every label, so that lines are told apart without their colours too."""
    return {label: DASHES[place % len(DASHES)] for place, label in enumerate(labels)}


def shade(colour: str, place: float) -> str:
    """Return a colour from lighter (``place`` 0) through itself (½) to darker (1)."""
    end, weight = (255, 1 - 2 * place) if place < 0.5 else (0, 2 * place - 1)
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(channel + (end - channel) * 0.42 * weight):02x}" for channel in channels)


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw with Matplotlib as in a paper; its settings are afterwards as they were."""
    import matplotlib
    import seaborn

    style: dict[Any, Any] = {"axes.edgecolor": "#555555", "axes.linewidth": 0.7, "grid.color": "#e3e6ea"}
    with (
        seaborn.axes_style("whitegrid", style),
        seaborn.plotting_context("paper"),
        matplotlib.rc_context({"pdf.fonttype": 42}),
    ):
        yield


def name_infinite(axes: Axes, labels: Iterable[str]) -> None:
    """Name the solvers whose figures are infinite, which have no place on the axes."""
    names = "\n".join(dict.fromkeys(labels))
    if names:
        axes.annotate(f"infinite:\n{names}", (0.02, 0.98), color=GREY, fontsize=7, xycoords="axes fraction", va="top")
