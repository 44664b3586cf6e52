"""Data for the plots of draws, densities and steps: fit and truth together, and the traces of a solver's steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.report.densities import plane_data, side_by_side_times, stored_density
from harness.report.exact_density import ExactDensity, exact_density, in_own_coordinates
from harness.report.plots import number, numbers
from harness.report.summary import label_place, quartiles
from problems.arrays import Reals

SMOOTHING = 0.6
"""Bandwidth over Scott's, which is right for one Gaussian and too wide for several."""
CONTOUR_NODES = 40
MOST_STEPS = 200
"""A longer series is thinned to about so many steps, the first and the last among them."""


def of_problem(table: pd.DataFrame | None, problem: tuple[str, str]) -> pd.DataFrame:
    """Return the rows of one problem, each cell once however many plans hold it; empty where there is no table."""
    if table is None:
        return pd.DataFrame()
    rows = table[(table["problem"] == problem[0]) & (table["problem_settings"] == problem[1])]
    return rows.drop_duplicates([name for name in ("key", "t", "along", "name", "step") if name in rows])


def draws_and_steps_data(
    traces: pd.DataFrame | None,
    projections: pd.DataFrame | None,
    problem: tuple[str, str],
    labels: Sequence[str],
    data: str | None = None,
) -> dict[str, Any]:
    """Return the draws, densities and steps that the page shows of a problem, as plain JSON values.

    ``labels`` are the problem's solvers, which series refer to by place, ``data`` is where its data set may lie.
    """
    place = {label: number for number, label in enumerate(labels)}
    steps = [
        {
            "name": name,
            "size": size,
            "series": [
                {"label": place[label], "seeds": seeds} | {column: numbers(rows[column]) for column in rows}
                for label, seeds, rows in series
                if label in place
            ],
        }
        for name, size, series in step_views(of_problem(traces, problem))
    ]
    draws: list[dict[str, Any]] = []
    rows = of_problem(projections, problem)
    for size, t, share, truth, fits in draw_views(rows):
        own = in_own_coordinates(size, share)
        exact = exact_density(*problem, size, truth, data) if own else stored_density(rows, size, t)
        view: dict[str, Any] = {"size": size, "t": number(t), "share": number(share), "truth": coordinates(truth)}
        view |= {"own": own, "names": list(exact.names) if own and exact else None, "exact": exact is not None}
        view["contours"] = contours(truth, exact)
        view["levels"] = numbers(np.array(exact.levels()) / max(exact.density.max(), 1e-300), 4) if exact else None
        series = [{"label": place[label], **coordinates(points)} for label, points in fits if label in place]
        draws.append(view | {"series": series})
    densities: list[dict[str, Any]] = [
        {
            "t": number(t),
            "truth": coordinates(truth),
            "series": [{"label": place[label], **coordinates(points)} for label, points in fits if label in place],
        }
        for t, truth, fits in density_views(rows)
    ]
    shown = side_by_side_times([view["t"] for view in densities if view["series"]]) if densities else []
    densities = [view for view in densities if view["t"] in shown]
    views: dict[str, list[dict[str, Any]]] = {"steps": steps, "draws": draws, "densities": densities}
    found: dict[str, Any] = {name: [view for view in some if view["series"]] for name, some in views.items()}
    return found | {"planes": plane_data(rows, place)}


def step_views(rows: pd.DataFrame) -> Iterator[tuple[str, int, list[tuple[str, int, pd.DataFrame]]]]:
    """Yield every trace of every dimension with its series: label, seeds, and medians and quartiles by step.

    What filters say of each observation is left out.
    """
    if rows.empty:
        return
    for key, group in rows[rows["along"] == "steps"].groupby(["name", "size"], sort=True):
        name, size = (str(part) for part in key)
        series = []
        for _, own in sorted(
            group.groupby(["solver", "label"], sort=False), key=lambda item: label_place(*map(str, item[0]))
        ):
            summary = quartiles(own, ["step"], "value").sort_values("step", ignore_index=True)
            kept = np.unique(np.linspace(0, len(summary) - 1, min(len(summary), MOST_STEPS)).round().astype(int))
            seeds = int(own["key"].nunique())
            series.append((str(own["label"].iloc[0]), seeds, summary.iloc[kept][["step", "median", "q25", "q75"]]))
        yield name, int(size), series


def draw_views(rows: pd.DataFrame) -> Iterator[tuple[int, float, float, Reals, list[tuple[str, Reals]]]]:
    """Yield dimension, time, share of variance, exact draws (n, 2) and each solver's draws, where there are exact ones.

    Exact draws are those of the oracle, of the one that is no set of particles if it ran.
    """
    if rows.empty:
        return
    for key, group in rows[rows["size"] > 1].groupby(["size", "t"], sort=True):
        size, t = (float(str(part)) for part in key)
        exact = group[group["solver"] == "oracle"]
        if exact.empty:
            continue
        sampled = [json.loads(settings).get("particles") is not None for settings in exact["solver_settings"]]
        truth = exact.iloc[int(np.argmin(sampled))]
        yield int(size), t, float(truth["share"]), np.asarray(truth["points"], dtype=float), fits_of(group)


def density_views(rows: pd.DataFrame) -> Iterator[tuple[float, Reals, list[tuple[str, Reals]]]]:
    """Yield time, exact density and each solver's density on the line, as (x, density) pairs (n, 2)."""
    if rows.empty:
        return
    for t, group in rows[rows["size"] == 1].groupby("t", sort=True):
        exact = group[group["solver"] == "oracle"]
        sampled = np.array([json.loads(settings).get("particles") is not None for settings in exact["solver_settings"]])
        exact = exact[~sampled.astype(bool)]
        if len(exact):
            yield float(str(t)), np.asarray(exact["points"].iloc[0], dtype=float), fits_of(group)


def fits_of(rows: pd.DataFrame) -> list[tuple[str, Reals]]:
    """Return label and points (n, 2) of every solver but the oracle, in order."""
    others = rows[rows["solver"] != "oracle"].drop_duplicates("label")
    return [
        (str(row["label"]), np.asarray(row["points"], dtype=float))
        for row in sorted(others.to_dict("records"), key=lambda row: label_place(row["solver"], row["label"]))
    ]


def smoothed(points: Reals) -> tuple[Reals, Reals, Reals]:
    """Return x, y and the kernel density [y, x] of points (n, 2) in the plane, on a grid around them.

    The density is flat zero for points that have none, being all on one line.
    """
    from scipy.stats import gaussian_kde

    low, high = points.min(0), points.max(0)
    margin = 0.1 * (high - low)
    x, y = (np.linspace(low[axis] - margin[axis], high[axis] + margin[axis], CONTOUR_NODES) for axis in (0, 1))
    if np.linalg.matrix_rank(points - points.mean(0)) < 2:
        return x, y, np.zeros((CONTOUR_NODES, CONTOUR_NODES))
    density = gaussian_kde(points.T, lambda kde: SMOOTHING * kde.scotts_factor())
    places = np.stack(np.meshgrid(x, y)).reshape(2, -1)
    return x, y, density(places).reshape(CONTOUR_NODES, CONTOUR_NODES)


def contours(points: Reals, exact: ExactDensity | None = None) -> dict[str, Any]:
    """Return the exact density for the page, or the smoothed one of points (n, 2)."""
    x, y, density = (exact.x, exact.y, exact.density) if exact else smoothed(points)
    return {
        "x": numbers(x, 4),
        "y": numbers(y, 4),
        "z": [numbers(row, 3) for row in density / max(density.max(), 1e-300)],
    }


def coordinates(points: Reals) -> dict[str, Any]:
    """Return points (n, 2) for the page."""
    return {"x": numbers(points[:, 0], 4), "y": numbers(points[:, 1], 4)}
