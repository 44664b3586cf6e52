"""Densities over time in the plane: the exact one and each solver's, on the grids that the truth decided."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report.exact_density import ExactDensity
from harness.report.plots import number, numbers
from harness.report.summary import label_place
from problems.arrays import Reals

MOST_TIMES = 6
"""So many times stand side by side, the first and the last among them."""
STEPS = 65534
"""Steps between 0 and the highest value of a grid on the page; one more stands for a value that is not there."""
NAMES = ("x₁", "x₂")


@dataclass(frozen=True)
class PlaneRow:
    """What one solver gives at the times of a view: a density [y, x] or ``None``, and draws (n, 2)."""

    label: str
    densities: list[Reals | None]
    draws: list[Reals | None]


@dataclass(frozen=True)
class PlaneView:
    """The exact densities in the plane at some times, and a row for each solver."""

    times: list[float]
    exact: list[ExactDensity]
    rows: list[PlaneRow]

    def top(self) -> float:
        """Return the highest exact density, where the colours end."""
        return float(max(density.density.max() for density in self.exact))


def side_by_side_times(times: Sequence[float]) -> list[float]:
    """Return the times that are shown side by side, at most ``MOST_TIMES``."""
    places = np.linspace(0, len(times) - 1, min(len(times), MOST_TIMES)).round().astype(int)
    return [times[place] for place in places]


def stored_density(rows: pd.DataFrame, size: int, t: float) -> ExactDensity | None:
    """Return the exact density in two dimensions as the oracle's cell keeps it, or ``None`` where it keeps none."""
    if size != 2 or "density" not in rows:
        return None
    exact = rows[(rows["solver"] == "oracle") & (rows["size"] == 2) & (rows["t"] == t) & rows["density"].notna()]
    for row in exact.to_dict("records"):
        if json.loads(row["solver_settings"]).get("particles") is None:
            low_x, low_y, high_x, high_y = (float(value) for value in row["box"])
            density = np.nan_to_num(np.asarray(row["density"], dtype=float))
            x, y = np.linspace(low_x, high_x, density.shape[1]), np.linspace(low_y, high_y, density.shape[0])
            return ExactDensity(NAMES, x, y, density)
    return None


def plane_view(rows: pd.DataFrame) -> PlaneView | None:
    """Return the densities in the plane that projections of one problem hold, ``None`` where no exact one is there."""
    if rows.empty or "density" not in rows:
        return None
    rows = rows[rows["size"] == 2]
    found = {float(t): stored_density(rows, 2, float(t)) for t in sorted(rows["t"].unique())}
    exact = {t: density for t, density in found.items() if density is not None and density.density.max() > 0}
    times = side_by_side_times(list(exact)) if exact else []
    others = rows[~rows["solver"].isin(["oracle", "initial"])]
    series = []
    for key, own in sorted(
        others.groupby(["solver", "label"], sort=False), key=lambda item: label_place(*map(str, item[0]))
    ):
        at = {float(row["t"]): row for row in own.drop_duplicates("t").to_dict("records")}
        densities = [array_of(at.get(t), "density") for t in times]
        series.append(PlaneRow(str(list(key)[1]), densities, [array_of(at.get(t), "points") for t in times]))
    return PlaneView(times, [exact[t] for t in times], series) if times and series else None


def array_of(row: Mapping[Any, Any] | None, column: str) -> Reals | None:
    """Return the array (n,) that a row holds, or ``None`` without the row or the array."""
    if row is None or row[column] is None or (isinstance(row[column], float) and np.isnan(row[column])):
        return None
    return np.asarray(row[column], dtype=float)


def plane_data(rows: pd.DataFrame, place: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the densities in the plane for the page; ``place`` is that of each label. Draws are not repeated here."""
    view = plane_view(rows)
    if view is None:
        return None
    series = [
        {"label": place[row.label], "density": [None if grid is None else packed(grid) for grid in row.densities]}
        for row in view.rows
        if row.label in place
    ]
    if not series:
        return None
    return {
        "t": numbers(view.times),
        "boxes": [numbers([one.x[0], one.y[0], one.x[-1], one.y[-1]]) for one in view.exact],
        "levels": [numbers(one.levels(), 4) for one in view.exact],
        "top": number(view.top()),
        "truth": [packed(one.density) for one in view.exact],
        "series": series,
    }


def packed(density: Reals) -> dict[str, Any]:
    """Return a grid (ny, nx) as its highest value and, row by row, 16 bits a node in base 64."""
    peak = float(np.nanmax(density, initial=0.0))
    steps = np.nan_to_num(np.round(density / (peak or 1.0) * STEPS), nan=STEPS + 1)
    return {"peak": number(peak), "z": base64.b64encode(steps.astype("<u2").tobytes()).decode("ascii")}
