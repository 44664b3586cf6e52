"""A contest: the solvers of one problem in one dimension, on the same instances, at the last time that was asked for.

Runs that failed are no gap in it. An instance on which a solver ended without an answer counts as infinitely far from
the truth, so that nobody wins by answering the easy ones alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.measure import CATALOGUE
from harness.outcome import FAILED, NOT_RUN
from harness.verdict.deciding import places
from harness.verdict.excess import noise, stated_error
from harness.verdict.units import units
from problems.arrays import Flags, Reals

BOUNDS = ("oracle", "initial")
PLACE = ["problem", "problem_settings", "size"]
CELL = ["label", "solver", "seed", "status", "solve_seconds"]
FIGURE = ["t", "metric", "value", "standard_error", "floor", "floor_standard_error", "sample_size"]


@dataclass(frozen=True)
class Scores:
    """Excesses by one measure (solvers, instances), NaN where there is none, with what is known of their noise.

    ``floored`` says of each solver whether exact draws are known beside it: of others the excess is the figure itself,
    less nothing, and says which of two is better but not whether either is exact. ``measured`` says which solvers have
    a figure at all, ``noises`` (solvers, 2) are seen and stated noise (``harness.verdict.excess``), ``errors``
    (solvers, instances) are stated, of figure and floor together, and ``drawn`` says of each solver whether its answers
    are draws, which vary by more than that. ``unit`` is what rounding is measured by (``harness.verdict.units``).
    """

    metric: str
    excess: Reals
    floored: Flags
    noises: Reals
    measured: Flags
    errors: Reals
    drawn: Flags
    unit: float = 1.0


@dataclass(frozen=True)
class Contest:
    """The solvers of a problem, by label, and their scores by the measures that decide, in order.

    ``failed`` (solvers, instances) says where a solver ended without an answer, ``answered`` where with one.
    ``not_run`` counts the other runs by label and status, of solvers that take no part, too; ``awaited`` are the
    solvers, bounds among them, of which runs are planned that the store does not have yet.
    """

    problem: str
    problem_settings: str
    size: int
    t: float
    labels: tuple[str, ...]
    solvers: tuple[str, ...]
    scores: tuple[Scores, ...]
    answered: Flags
    failed: Flags
    seconds: Reals
    not_run: Mapping[str, Mapping[str, int]]
    awaited: frozenset[str]

    @property
    def place(self) -> tuple[str, str, int]:
        """Which contest it is: problem, settings and dimension."""
        return self.problem, self.problem_settings, self.size

    @property
    def comparable(self) -> Flags:
        """Which solvers (n,) can be compared with each of the others: none while runs are still to come."""
        return sharing(self.answered | self.failed) & (not self.awaited)


def sharing(known: Flags) -> Flags:
    """Return which solvers share two instances or more with each that has any, by ``known`` (solvers, instances)."""
    some = known.any(axis=1)
    shared = known.astype(int) @ known.T.astype(int)
    return np.asarray(some & ((shared > 1) | ~some).all(axis=1))


def contests(frame: pd.DataFrame, *, every_time: bool = False) -> Iterator[Contest]:
    """Yield the contests of a frame such as ``harness.load`` gives, its labels told apart, in the frame's order.

    They are held at the last time that was measured, or at ``every_time``. Cells that were skipped or are still to run
    take no part, nor do bounds: they are what the others are laid beside.
    """
    takes_part = ~frame["solver"].isin(BOUNDS) & ~frame["status"].isin(NOT_RUN)
    idle, awaited = not_run(frame), awaited_solvers(frame)
    deciding = places(frame)
    frame = frame.assign(place=deciding, unit=units(frame, deciding > 0))
    frame = frame.loc[takes_part, [name for name in (*PLACE, *CELL, *FIGURE, "place", "unit") if name in frame]]
    for place, rows in frame.groupby(PLACE, sort=False):
        problem, settings, size = list[Any](place)
        own = idle.get(place, {}), awaited.get(place, frozenset())
        times = np.unique(rows["t"].to_numpy(dtype=float, na_value=np.nan))
        times = times[~np.isnan(times)]
        for t in times if every_time else times[-1:] if len(times) else [np.nan]:
            yield contest(str(problem), str(settings), int(size), float(t), rows, *own)


def not_run(frame: pd.DataFrame) -> dict[Any, dict[str, dict[str, int]]]:
    """Return how many runs have no answer that nothing failed in, by problem, label and status."""
    rows = frame.loc[frame["status"].isin(NOT_RUN), [*PLACE, "label", "status", "seed"]].drop_duplicates()
    found: dict[Any, dict[str, dict[str, int]]] = {}
    for (*place, label, status), seeds in rows.groupby([*PLACE, "label", "status"], sort=False)["seed"]:
        found.setdefault(tuple(place), {}).setdefault(str(label), {})[str(status)] = len(seeds)
    return found


def awaited_solvers(frame: pd.DataFrame) -> dict[Any, frozenset[str]]:
    """Return the solvers, bounds among them, that have runs still to come, by problem."""
    rows = frame.loc[frame["status"].eq("planned"), [*PLACE, "solver"]].drop_duplicates()
    return {place: frozenset(solvers) for place, solvers in rows.groupby(PLACE, sort=False)["solver"]}


def contest(
    problem: str,
    settings: str,
    size: int,
    t: float,
    rows: pd.DataFrame,
    idle: Mapping[str, Mapping[str, int]],
    awaited: frozenset[str],
) -> Contest:
    """Return the contest of these rows, all of one problem in one dimension, at the time ``t``."""
    cells = rows.drop_duplicates(["label", "seed"], keep="last")
    labels, seeds = pd.Index(cells["label"].unique()), pd.Index(np.sort(cells["seed"].unique()))
    at = labels.get_indexer(pd.Index(cells["label"])), seeds.get_indexer(pd.Index(cells["seed"]))
    shape = len(labels), len(seeds)
    answered, failed = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    answered[at] = cells["status"].eq("ok")
    failed[at] = cells["status"].isin(FAILED)
    seconds = np.full(shape, np.nan)
    seconds[at] = cells["solve_seconds"].to_numpy(dtype=float, na_value=np.nan)
    deciding = rows[rows["t"].eq(t) & rows["place"].gt(0) & rows["value"].notna()]
    deciding = deciding[deciding["status"].eq("ok") & deciding["metric"].notna()]
    order = deciding.groupby("metric")["place"].min().sort_values(kind="stable").index
    scores = [
        scored(str(metric), deciding[deciding["metric"] == metric], labels, seeds, answered, failed)
        for metric in order
    ]  # fmt: skip
    solvers = cells.drop_duplicates("label")["solver"].astype(str)
    return Contest(
        problem, settings, size, t, tuple(map(str, labels)), tuple(solvers), tuple(scores), answered, failed, seconds,
        idle, awaited,
    )  # fmt: skip


def scored(
    metric: str,
    rows: pd.DataFrame,
    labels: pd.Index[Any],
    seeds: pd.Index[Any],
    answered: Flags,
    failed: Flags,
) -> Scores:
    """Return the scores of solvers by one measure; a failed run counts as infinite by it where others decide so."""
    at = labels.get_indexer(pd.Index(rows["label"])), seeds.get_indexer(pd.Index(rows["seed"]))
    value, error, floor, floor_error = (np.full(answered.shape, np.nan) for _ in range(4))
    for array, name in (
        (value, "value"),
        (error, "standard_error"),
        (floor, "floor"),
        (floor_error, "floor_standard_error"),
    ):
        if name in rows:
            array[at] = rows[name].to_numpy(dtype=float, na_value=np.nan)
    sign = -1.0 if metric in CATALOGUE and CATALOGUE[metric].better == "higher" else 1.0
    unit = float(rows["unit"].iloc[0])
    # An instance without exact draws, of a solver that has them on others, is left out.
    floored = ~np.isnan(floor).all(axis=1)
    with np.errstate(invalid="ignore"):
        excess = sign * np.where(floored[:, None], np.where(value == floor, 0.0, value - floor), value)
    errors = np.hypot(stated_error(error), stated_error(floor_error))
    errors = np.where(np.isnan(excess), np.nan, errors)
    noises: Reals = np.array([noise(*each, unit) for each in zip(excess, errors, sign * floor, strict=True)])
    measured: Flags = np.asarray(~np.isnan(excess).all(axis=1))
    takes_part = measured | ~answered.any(axis=1)
    excess = np.where(failed & takes_part[:, None], np.inf, excess)
    drawn = np.zeros(len(labels), dtype=bool)
    if "sample_size" in rows:
        drawn[np.unique(at[0][rows["sample_size"].notna().to_numpy(dtype=bool)])] = True
    return Scores(metric, excess, floored, noises, measured, errors, drawn, unit)
