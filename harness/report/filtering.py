"""Figures of filtering for a paper: posterior bands over time, and SymKL over instances beside published figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.catalogue import catalogue, import_target, make
from harness.report import published, summary
from harness.report.draws_and_steps import of_problem
from harness.report.draws_and_steps_figures import solver_colours
from harness.report.palette import GREY, colours, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from problems.observations import Observations

BANDS = (("posterior_q05", "posterior_q95", 0.2), ("posterior_q25", "posterior_q75", 0.4))
NEEDED = {"observation_time", "posterior_q50", *(name for low, high, _ in BANDS for name in (low, high))}
MOST_COLUMNS = 3
PROBLEM = ["problem", "problem_settings"]


def draw_filtering(frame: pd.DataFrame, traces: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure: the bands of every filter on the first instance, and SymKL at the last time.

    ``frame`` and ``traces`` are those of ``harness.load`` and ``harness.frame.load_traces``; problems without
    observations give no figure.
    """
    for key, title in summary.titles(frame).items():
        rows = of_problem(traces, key)
        if rows.empty:
            continue
        rows = rows[rows["along"] == "observations"]
        for number, own in rows.groupby("size", sort=True):
            size, seed = int(str(number)), int(own["seed"].min())
            first = own[own["seed"] == seed]
            found = [(str(label), bands_of(group)) for label, group in first.groupby("label", sort=False)]
            filters = {label: bands for label, bands in found if bands is not None}
            if not filters:
                continue
            name = summary.slug(f"{title}-D{size}")
            with paper_style():
                yield (
                    f"{name}-posterior-over-time",
                    bands_figure(filters, solver_colours(own), observed(*key, size, seed)),
                )
            same = frame[PROBLEM].eq(list(key)).all(axis=1) & frame["size"].eq(size) & frame["metric"].eq("symkl")
            scores = frame[same & np.isfinite(frame["value"])].drop_duplicates(["key", "t"])
            scores = scores[scores["t"] == scores["t"].max()]
            if len(scores):
                theirs = published.comparable(published.load(published.FOLDER), *key)
                with paper_style():
                    yield f"{name}-symkl-over-instances", scores_figure(scores, theirs[theirs["metric"] == "symkl"])


def bands_of(traces: pd.DataFrame) -> pd.DataFrame | None:
    """Return a row for each observation that a cell took in, or ``None`` where it has no posterior quantiles."""
    if not set(traces["name"]) >= NEEDED:
        return None
    return traces.pivot(index="step", columns="name", values="value")


def observed(problem: str, settings: str, size: int, seed: int) -> Observations:
    """Return the observations of an instance, built again as it was in the sweep."""
    from harness.streams import stream  # torch, which a report without filters does without

    family = make("problem", import_target(catalogue().target("problem", problem)), json.loads(settings))
    found: Observations = family.build(size, seed, stream("problem", problem, size, seed)).observations
    return found


def bands_figure(filters: Mapping[str, pd.DataFrame], shown: Mapping[str, str], observations: Observations) -> Figure:
    """Return a panel for each filter: median, central 50 and 90 % at each observation, hidden path, observations."""
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(filters))
    lines = -(-len(filters) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.3 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (label, bands) in zip(grid, filters.items(), strict=False):
        bands = bands.groupby("observation_time").last()  # of several at one time, the posterior given all of them
        for low, high, opacity in BANDS:
            axes.fill_between(bands.index, bands[low], bands[high], color=shown[label], alpha=opacity, linewidth=0)
        axes.plot(bands.index, bands["posterior_q50"], color=shown[label], linewidth=1.2, label="posterior median")
        if observations.hidden is not None:
            states = observations.hidden.states[:, 0].numpy()
            axes.plot(observations.hidden.times, states, color="black", linewidth=0.9, label="hidden path")
        if observations.values.shape[1:] == (1,):
            values = observations.values[:, 0].numpy()
            axes.plot(observations.times, values, "x", color=GREY, markersize=4, label="observations")
        axes.set_title(label, fontsize="small")
    for axes in grid[len(filters) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize="x-small")
    figure.supxlabel("time", fontsize="small")
    return figure


def scores_figure(scores: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Return a box for each solver over its instances; published quartiles and range beside the same method."""
    from matplotlib.figure import Figure

    shown = colours(dict(zip(scores["label"], scores["solver"], strict=True)))
    labels = [label for label in shown if (scores.loc[scores["label"] == label, "value"] > 0).all()]
    extra = [str(label) for label in theirs["label"].unique() if label not in labels]
    boxes: list[dict[str, Any]] = []
    paints: list[str] = []
    for place, label in enumerate([*labels, *extra]):
        ours = scores.loc[scores["label"] == label, "value"]
        if len(ours):
            q25, median, q75 = ours.quantile([0.25, 0.5, 0.75])
            boxes.append(box(place - 0.18, q25, median, q75, ours.min(), ours.max()))
            paints.append(shown[label])
        for row in theirs[theirs["label"] == label].to_dict("records"):
            boxes.append(box(place + 0.18, row["q25"], row["median"], row["q75"], row["min"], row["max"]))
            paints.append(GREY)
    figure = Figure(figsize=(1.2 + 0.62 * (len(labels) + len(extra)), 3.4), layout="constrained")
    axes = figure.subplots()
    positions = [each.pop("place") for each in boxes]
    drawn = axes.bxp(boxes, positions=positions, widths=0.3, showfliers=False, patch_artist=True)
    for patch, paint in zip(drawn["boxes"], paints, strict=True):
        patch.set(facecolor=paint, alpha=0.6)
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels) + len(extra)), [*labels, *extra], rotation=40, ha="right", fontsize="x-small")
    axes.set_ylabel(f"SymKL at t = {scores['t'].iloc[0]:g}")
    if len(theirs):
        axes.plot([], [], "s", color=GREY, alpha=0.6, label=published.SOURCE)
        axes.legend(fontsize="x-small")
    return figure


def box(place: float, q25: float, median: float, q75: float, least: float, most: float) -> dict[str, Any]:
    """Return one box as Matplotlib's ``bxp`` takes it; whiskers span all instances."""
    return {"place": place, "q1": q25, "med": median, "q3": q75, "whislo": least, "whishi": most, "label": ""}
