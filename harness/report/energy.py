"""The free energy over time: of each solver's answers, at every step where it recorded that, and of the true law.

All of it is of instance 0: the energies of other instances are other curves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from harness.report.draws_and_steps import MOST_STEPS, of_problem
from harness.report.exact_density import exact_energy
from harness.report.plots import numbers
from harness.report.summary import label_place
from problems.arrays import Reals

METRIC, TRACE, CLOCK = "free-energy", "free_energy", "time"
INSTANCE = 0
CURVE = 121
"""Times at which an exact energy is drawn as a curve: denser at first, where it falls fastest."""
BOUNDS = ("oracle", "initial")
DIGITS = 9
"""Of an energy on the page: what is left above the last value is a small part of it."""


@dataclass(frozen=True)
class EnergyCurve:
    """Energies ``f`` at times ``t``, both (n,), with their standard errors, 0 where they have none."""

    t: Reals
    f: Reals
    error: Reals

    @staticmethod
    def of(t: Sequence[float] | Reals, f: Sequence[float] | Reals, error: Sequence[float] | Reals = ()) -> EnergyCurve:
        """Return the finite energies of a sequence: times, energies and errors, (n,) each."""
        times, values = np.asarray(t, dtype=float), np.asarray(f, dtype=float)
        errors = np.nan_to_num(np.asarray(error, dtype=float)) if len(error) else np.zeros(len(values))
        kept = np.isfinite(values)
        return EnergyCurve(times[kept], values[kept], errors[kept])

    def data(self) -> dict[str, Any]:
        """Return the curve for the page."""
        return {"t": numbers(self.t), "f": numbers(self.f, DIGITS), "error": numbers(self.error, 2)}


EMPTY = EnergyCurve.of((), ())


@dataclass
class Energies:
    """What one solver says of the energy: ``steps`` that it recorded, and ``measured`` answers."""

    label: str
    steps: EnergyCurve = EMPTY
    measured: EnergyCurve = EMPTY


@dataclass
class EnergyView:
    """The energies in one dimension; of the true law a ``curve``, or ``measured`` values of the oracle."""

    size: int
    curve: EnergyCurve = EMPTY
    measured: EnergyCurve = EMPTY
    series: list[Energies] = field(default_factory=list)

    def last(self) -> float | None:
        """Return the exact energy at the last time, above which the decay is drawn; the lowest one without it."""
        for exact in (self.curve, self.measured):
            if len(exact.f):
                return float(exact.f[-1])
        values = [curve.f for one in self.series for curve in (one.steps, one.measured)]
        return float(np.concatenate(values).min()) if values else None


def energy_views(frame: pd.DataFrame, traces: pd.DataFrame | None, problem: tuple[str, str]) -> Iterator[EnergyView]:
    """Yield the energies of a problem, dimension by dimension, where some solver has any."""
    rows = frame[(frame["metric"] == METRIC) & (frame["status"] == "ok") & (frame["seed"] == INSTANCE)]
    rows = rows[(rows["problem"] == problem[0]) & (rows["problem_settings"] == problem[1])]
    rows = rows.drop_duplicates(["key", "t"])
    steps = of_problem(traces, problem)
    if not steps.empty:
        wanted = steps["name"].isin([TRACE, CLOCK]) & (steps["along"] == "steps") & (steps["seed"] == INSTANCE)
        steps = steps[wanted & ~steps["solver"].isin(BOUNDS)]
        steps = steps[steps["key"].isin(steps.loc[steps["name"] == TRACE, "key"])]
    sizes = {int(size) for table in (rows, steps) if not table.empty for size in table["size"].unique()}
    for size in sorted(sizes):
        view = EnergyView(size)
        here = rows[rows["size"] == size]
        exact = here[(here["solver"] == "oracle") & here["sample_size"].isna()].drop_duplicates("t").sort_values("t")
        view.measured = EnergyCurve.of(
            exact["t"].to_numpy(), exact["value"].to_numpy(), exact["standard_error"].to_numpy()
        )
        found: dict[tuple[str, str], Energies] = {}
        for key, own in here[~here["solver"].isin(BOUNDS)].groupby(["solver", "label"], sort=False):
            solver, label = map(str, list(key))
            own = own.drop_duplicates("t").sort_values("t")
            measured = EnergyCurve.of(own["t"].to_numpy(), own["value"].to_numpy(), own["standard_error"].to_numpy())
            found[solver, label] = Energies(label, measured=measured)
        for key, own in steps[steps["size"] == size].groupby(["solver", "label"], sort=False) if len(steps) else ():
            solver, label = map(str, list(key))
            curve = stepped(own[own["key"] == own["key"].iloc[0]], json.loads(problem[1]).get("times"))
            if curve is not None:
                found.setdefault((solver, label), Energies(label)).steps = curve
        for key in sorted(found, key=lambda pair: label_place(*pair)):
            if len(found[key].steps.f) + len(found[key].measured.f):
                view.series.append(found[key])
        if view.series:
            view.curve = exact_curve(problem, size, view)
            yield view


def stepped(rows: pd.DataFrame, times: Sequence[float] | None) -> EnergyCurve | None:
    """Return the energies of one cell's steps over time, or ``None`` where it is not known when they were.

    The cell says so itself, or has steps of one size; the value before the first step may be among them.
    """
    values = rows[rows["name"] == TRACE].sort_values("step")["value"].to_numpy(dtype=float)
    clock = rows[rows["name"] == CLOCK].sort_values("step")["value"].to_numpy(dtype=float)
    settings: Mapping[str, Any] = json.loads(rows["solver_settings"].iloc[0])
    if len(clock) != len(values):
        size = settings.get("step_size")
        if not isinstance(size, int | float) or not times:
            return None
        first = len(values) - round(max(times) / size)
        if first not in (0, 1):
            return None
        clock = size * np.arange(1 - first, len(values) + 1 - first)
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_STEPS)).round().astype(int))
    return EnergyCurve.of(clock[kept], values[kept])


def exact_curve(problem: tuple[str, str], size: int, view: EnergyView) -> EnergyCurve:
    """Return the energy of the true law from the start to the last time that is shown, empty where it is not known."""
    curves = [curve for one in view.series for curve in (one.steps, one.measured)]
    last = max(float(curve.t.max()) for curve in curves if len(curve.t))
    times = last * np.linspace(0, 1, CURVE) ** 2
    return EnergyCurve.of(times, exact_energy(*problem, size, times.tolist()))


def energy_data(
    frame: pd.DataFrame, traces: pd.DataFrame | None, problem: tuple[str, str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the energies that the page shows of a problem; ``labels`` are its solvers, referred to by place."""
    place = {label: number for number, label in enumerate(labels)}
    return [
        {
            "size": view.size,
            "last": None if (last := view.last()) is None else numbers([last], 12)[0],
            "curve": view.curve.data(),
            "measured": view.measured.data(),
            "series": [
                {"label": place[one.label], "steps": one.steps.data(), "measured": one.measured.data()}
                for one in view.series
                if one.label in place
            ],
        }
        for view in energy_views(frame, traces, problem)
    ]
