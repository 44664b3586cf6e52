"""The store as one tidy frame, from which the page, the tables, the figures and the exports are made."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import unknown
from harness.store import Store

QUERY = """
SELECT plans.key, plans.suite, plans.preset, problem, problem_settings, solver, solver_settings, label, size, seed,
    coalesce(status, 'planned') AS status, reason, traceback, t, metric, value, standard_error, estimator, sample_size,
    decides,
    solve_seconds, setup_seconds, measure_seconds, wall_seconds, cpu_seconds, peak_memory, gradient_evaluations,
    beside, diagnostics, finished, device, cells.run, started, "commit", dirty, machine, threads, versions,
    arithmetic, argv, rerun, evaluation, coalesce(cells.data, '') AS data,
    runs.code, replaced
FROM plans
LEFT JOIN cells ON cells.key = plans.key
LEFT JOIN runs ON runs.run = cells.run
LEFT JOIN measurements ON measurements.key = plans.key
WHERE plans.suite = coalesce(?, plans.suite) AND plans.preset = coalesce(?, plans.preset)
    AND (replaced IS NULL OR ?)
ORDER BY plans.suite, plans.preset, problem, size, label, seed, t, metric
"""
# Rows are joined by key: a cell that several plans hold has its traces and its draws in each.
BESIDE = """
SELECT plans.key, plans.suite, plans.preset, problem, problem_settings, solver, solver_settings, label, size, seed,
    device, evaluation, coalesce(cells.data, '') AS data, replaced, {columns}
FROM plans
JOIN cells ON cells.key = plans.key
JOIN {table} ON {table}.key = plans.key
WHERE plans.suite = coalesce(?, plans.suite) AND plans.preset = coalesce(?, plans.preset)
    AND (replaced IS NULL OR ?) AND status = 'ok'
ORDER BY plans.suite, plans.preset, problem, size, label, seed, {order}
"""
INSTANCE = ["suite", "preset", "problem", "problem_settings", "size", "seed", "t", "metric", "sample_size", "device"]
INSTANCE += ["evaluation", "data"]


def load(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return one row per cell, time and measure, and one for each cell that has no figure.

    ``floor`` and ``floor_standard_error`` are what the same estimator reported for exact draws, as many as the cell's
    particles, on the same instance; NaN where there is no oracle. A cell that has not run yet has the status
    ``planned``. ``suite`` and ``preset`` keep the rows of one; a suite goes by its key, its name, its title or its
    file. With ``everything`` come the rows that have been ``replaced``, by newer ones or since the suite was edited.

    Raises ``UsageError`` for a file that is not a store, or when it knows no such suite or preset.
    """
    frame = queried(path, QUERY, suite, preset, everything)
    frame[["sample_size", "decides"]] = frame[["sample_size", "decides"]].astype("Int64")
    return with_floors(frame, everything=everything)


def with_floors(frame: pd.DataFrame, *, everything: bool = False) -> pd.DataFrame:
    """Return a frame with ``floor`` and ``floor_standard_error``, by the oracle's rows in it; see :func:`load`."""
    oracle = frame["solver"].eq("oracle") & frame["metric"].notna()
    given = ["value", "standard_error", *(["replaced"] if everything else [])]
    floors = frame.loc[oracle, [*INSTANCE, *given]].rename(
        columns={"value": "floor", "standard_error": "floor_standard_error"}
    )
    if everything:  # where several remain, the floor of today
        floors = floors.sort_values("replaced", na_position="first", kind="stable").drop_duplicates(INSTANCE)
        floors = floors.drop(columns="replaced")
    return frame.merge(floors, on=INSTANCE, how="left", validate="many_to_one")


def load_traces(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return what solvers noted of their steps and of observations: a row per cell, trace ``name`` and ``step``.

    ``along`` is "steps" or, for what a filter noted of each observation that it took in, "observations"; ``step``
    counts either, 1, 2, …

    Raises ``UsageError`` as :func:`load` does.
    """
    query = BESIDE.format(table="traces", columns="along, name, series", order="along, name")
    rows = queried(path, query, suite, preset, everything)
    series = [json.loads(text) for text in rows.pop("series")]
    lengths = [len(values) for values in series]
    table = rows.loc[rows.index.repeat(lengths)].reset_index(drop=True)
    steps = [np.arange(1, length + 1) for length in lengths]
    return table.assign(
        step=np.concatenate([np.empty(0, dtype=int), *steps]),
        value=np.array(list(itertools.chain.from_iterable(series)), dtype=float),
    )


def load_projections(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Return draws of answers in the plane of the truth's principal axes, one row per cell and time.

    ``points`` holds an array (n, 2) of float32, in one dimension of pairs (x, density), ``share`` the part of the
    truth's variance that lies in the plane; ``density`` is that of an answer in two dimensions that has one, float32
    [y, x] on a grid over ``box``, an array of the lowest x and y and the highest; see ``harness.projection``. Raises
    ``UsageError`` as :func:`load` does.
    """
    columns = "t, share, points, box, density"
    query = BESIDE.format(table="projections", columns=columns, order="t")
    rows = queried(path, query, suite, preset, everything)
    points = [np.frombuffer(stored, dtype="<f4").astype(np.float32).reshape(-1, 2) for stored in rows["points"]]
    boxes = [None if stored is None else np.frombuffer(stored, dtype="<f8") for stored in rows["box"]]
    densities = [None if stored is None else square(stored) for stored in rows["density"]]
    found = {"points": points, "box": boxes, "density": densities}
    return rows.assign(**{name: pd.Series(values, index=rows.index, dtype=object) for name, values in found.items()})


def square(stored: bytes) -> NDArray[np.float32]:
    """Return the square array (n, n) that was stored row by row in float32."""
    values = np.frombuffer(stored, dtype="<f4").astype(np.float32)
    return values.reshape(2 * [math.isqrt(len(values))])


def queried(path: str | Path, query: str, suite: str | None, preset: str | None, everything: bool) -> pd.DataFrame:
    """Return the rows of a query for a suite or for all, for a preset or for all, the replaced ones only if asked.

    Raises ``UsageError`` for a file that is not a store, or when it knows no such suite or preset.
    """
    with reading(path, suite, preset) as (connection, key):
        return pd.read_sql_query(query, connection, params=(key, preset, everything))


def queried_rows(
    path: str | Path, query: str, suite: str | None, preset: str | None, everything: bool
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the names of the columns and the rows of a query as they come; see :func:`queried`."""
    with reading(path, suite, preset) as (connection, key):
        cursor = connection.execute(query, (key, preset, everything))
        return [column[0] for column in cursor.description], cursor.fetchall()


@contextmanager
def reading(path: str | Path, suite: str | None, preset: str | None) -> Iterator[tuple[sqlite3.Connection, str | None]]:
    """Open a store to read it, and find the key of a suite in it.

    Raises ``UsageError`` for a file that is not a store, or when it knows no such suite or preset.
    """
    with Store(Path(path), create=False, reading=True) as store, store.guarded():
        if suite is not None:
            suite = store.named(suite)
            if preset is not None and preset not in store.presets(suite):
                raise unknown(f"preset of suite {suite!r} in the store {str(path)!r}:", preset, store.presets(suite))
        yield store.connection, suite
