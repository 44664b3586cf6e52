"""Figures for a paper of the free energy over time: as it is, and what is left above the exact one at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.report import summary
from harness.report.energy import EnergyCurve, EnergyView, energy_views
from harness.report.palette import GREY, colours, dashes, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "P", "v", "D", "X", "p", "<", ">")
ROUNDING = 1e-9
"""What is left of an energy is not drawn where it is so small a part of it."""


def draw_energies(frame: pd.DataFrame, traces: pd.DataFrame | None) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for every problem and dimension with energies."""
    short = summary.short_titles(frame)
    for key, title in summary.titles(frame).items():
        own = frame[(frame["problem"] == key[0]) & (frame["problem_settings"] == key[1])]
        shown = colours(dict(zip(own["label"], own["solver"], strict=True)))
        for view in energy_views(frame, traces, key):
            with paper_style():
                figure = energy_figure(view, shown)
                figure.suptitle(f"{short[key]}, D = {view.size}", x=0.01, ha="left", fontsize="medium")
            yield f"{summary.slug(title)}-energy-D{view.size}", figure


def energy_figure(view: EnergyView, shown: Mapping[str, str]) -> Figure:
    """Return two panels: the energies over time, and on a logarithmic axis what is left above the last exact one.

    The broad line is exact; lines are what solvers recorded of their steps, marks what their answers have.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.2), layout="constrained")
    plain, decay = figure.subplots(1, 2)
    energies(plain, view, shown, 0.0)
    plain.set(xlabel="time t", ylabel="free energy F")
    last = view.last()
    if last is not None:
        energies(decay, view, shown, last)
        decay.set(xlabel="time t", ylabel=f"F {'-' if last >= 0 else '+'} {abs(last):.6g}", yscale="log")
    entries = {label: handle for handle, label in zip(*plain.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", frameon=False)
    return figure


def energies(axes: Axes, view: EnergyView, shown: Mapping[str, str], above: float) -> None:
    """Draw the energies less ``above``; where that is not 0, what is not above it is left out."""

    def drawn(curve: EnergyCurve, **style: Any) -> None:
        left = curve.f - above
        kept = np.full(len(left), True) if above == 0 else left > ROUNDING * max(1.0, abs(above))
        if kept.any():
            error = curve.error[kept] if curve.error.any() else None
            axes.errorbar(curve.t[kept], left[kept], yerr=error, elinewidth=0.8, **style)

    exact = view.curve if len(view.curve.t) else view.measured
    drawn(exact, color=GREY, alpha=0.35, linewidth=6, label="exact")
    for place, one in enumerate(view.series):
        colour = shown[one.label]
        drawn(one.steps, color=colour, linestyle=dashes(shown)[one.label], linewidth=1.2, label=one.label)
        marks = {"marker": MARKERS[place % len(MARKERS)], "markersize": 5, "linestyle": "none"}
        drawn(one.measured, color=colour, label=None if len(one.steps.t) else one.label, **marks)
