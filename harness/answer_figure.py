"""The figure of one answer: its density or its draws over the truth, and its error against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from harness.instance import Instance
from harness.places import line_places
from harness.projection import curve, projected
from harness.report.palette import GREY, HUES, paper_style
from harness.streams import stream
from problems.arrays import Reals
from problems.laws import Density, Law
from solvers.estimates import Estimate, Particles
from solvers.solver import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = 500
MOST_PANELS = 4


def answer_figure(instance: Instance, label: str, solution: Solution, errors: pd.DataFrame | None) -> Figure:
    """Return panels of the first times and the last, four at most, and one of ``errors`` by their first measure."""
    from matplotlib.figure import Figure

    times = shown_times(solution.times)
    with paper_style():
        count = len(times) + (errors is not None and len(errors) > 0)
        figure = Figure(figsize=(3.1 * count + 0.4, 3.0), layout="constrained")
        panels = figure.subplots(1, count, squeeze=False).ravel()
        for axes, t in zip(panels, times, strict=False):
            estimate = solution.estimates[solution.times.index(t)]
            law = None if instance.problem.truth is None else instance.problem.truth(t)
            if instance.problem.flow.dim == 1:
                on_the_line(axes, estimate, law, t, label, instance)
            else:
                in_the_plane(axes, estimate, law, t, label, instance)
            axes.set_title(f"t = {t:g}", fontsize="medium")
        if errors is not None and len(errors):
            against_time(panels[-1], errors, label)
        panels[0].legend(frameon=False, fontsize="small")
        figure.suptitle(f"{label} on {instance.component.label}, D = {instance.dim}", x=0.01, ha="left")
    return figure


def shown_times(times: Sequence[float]) -> list[float]:
    """Return the times that get a panel: all of a few, else some from the first to the last."""
    if len(times) <= MOST_PANELS:
        return list(times)
    return [times[round(place)] for place in np.linspace(0, len(times) - 1, MOST_PANELS)]


def on_the_line(axes: Axes, estimate: Estimate, law: Law | None, t: float, label: str, instance: Instance) -> None:
    """Draw the density of an answer over the true one; where it has none, or no truth is known, a histogram."""
    places = None if law is None else line_places(law)
    if law is not None and places is not None and isinstance(law, Density):
        values = law.log_prob(places[:, None]).exp()
        axes.fill_between(places.numpy(), values.numpy(), color=GREY, alpha=0.3, linewidth=0, label="exact")
        axes.set_xlim(float(places[0]), float(places[-1]))
    found = None if law is None or places is None else curve(estimate, law, t)
    if found is not None:
        points = np.frombuffer(found.points, dtype="<f4").reshape(-1, 2)
        axes.plot(points[:, 0], points[:, 1], color=HUES[0], label=label)
    else:
        draws = estimate.sample(DRAWN, drawing(instance, t)).double().numpy()[:, 0]
        axes.hist(draws, bins="auto", density=True, histtype="step", color=HUES[0], label=label)
    axes.set(xlabel="x", ylabel="density", ylim=(0, None))


def in_the_plane(axes: Axes, estimate: Estimate, law: Law | None, t: float, label: str, instance: Instance) -> None:
    """Draw points of an answer over as many of the truth, in its principal axes or in those that the problem names.

    Where no truth is known, the first two coordinates are shown.
    """
    names = ("first principal axis", "second principal axis") if instance.problem.flow.dim > 2 else ("x₁", "x₂")
    view = instance.problem.view
    if law is None:
        draws = estimate.sample(DRAWN, drawing(instance, t)).double().numpy()[:, :2]
        names = ("x₁", "x₂")
    else:
        if view is not None:
            names = view.names
        exact = law.sample(DRAWN, drawing(instance, t, "projection of the truth")).double()
        truth = points_of(projected(Particles(exact), law, t, drawing(instance, t), view).points)
        axes.scatter(truth[:, 0], truth[:, 1], s=5, color=GREY, alpha=0.5, linewidths=0, label="exact draws")
        draws = points_of(projected(estimate, law, t, drawing(instance, t), view).points)
    axes.scatter(draws[:, 0], draws[:, 1], s=5, color=HUES[0], alpha=0.7, linewidths=0, label=label)
    axes.set(xlabel=names[0], ylabel=names[1], aspect="equal")


def against_time(axes: Axes, errors: pd.DataFrame, label: str) -> None:
    """Draw the first measure of a table against time, with bars of two standard errors, over its floor."""
    name = errors["measure"].iloc[0]
    rows = errors[errors["measure"] == name].sort_values("t")
    axes.plot(rows["t"], rows["floor"], color=GREY, linestyle="--", label="floor")
    bars = 2 * rows["standard_error"]
    axes.errorbar(rows["t"], rows["value"], yerr=bars, color=HUES[0], marker="o", markersize=4, label=label)
    if (rows["value"] > 0).all():
        axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel="time t", ylabel=str(name))
    axes.legend(frameon=False, fontsize="small")


def drawing(instance: Instance, t: float, purpose: str = "projection") -> torch.Generator:
    """Return a random stream that draws for plots, by default the one of the plots of a sweep."""
    return stream(purpose, instance.component.formerly()[0], instance.dim, instance.seed, t)


def points_of(stored: bytes) -> Reals:
    """Return stored pairs as an array (n, 2)."""
    return np.frombuffer(stored, dtype="<f4").astype(np.float64).reshape(-1, 2)
