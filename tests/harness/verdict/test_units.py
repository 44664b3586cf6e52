"""A verdict is the same whatever the unit of length, and the rounding of closed forms decides nothing in any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.compare import compare_figures
from harness.verdict.judge import Judged, judge, outcomes
from harness.verdict.leaders import leaders
from harness.verdict.units import units
from sweeps import sweep

FLOOR = np.array([0.0, 0.01, -0.01, 0.005, -0.005])
NEAR = FLOOR + np.array([0.10, 0.11, 0.09, 0.12, 0.10])
FAR = FLOOR + np.array([0.30, 0.34, 0.27, 0.35, 0.31])
EXACT = FLOOR + np.array([0.002, -0.003, 0.001, 0.003, -0.002])
START = np.array([1.0, 1.2, 0.9, 1.1, 1.0])
ROUNDED = np.array([1.1e-16, 2.2e-16, 1.3e-16, 1.1e-16, 2.0e-16])
CLOSED = {"standard_error": 0.0, "floor_standard_error": 0.0, "sample_size": pd.NA}
TINY = (1.0, 1e-6, 1e-12, 1e9)


def drawn(unit: float, **solvers: np.ndarray) -> pd.DataFrame:
    figures = {name: unit * values for name, values in solvers.items()}
    return sweep(figures, unit * FLOOR, standard_error=0.01 * unit, floor_standard_error=0.01 * unit)


def closed(unit: float, **solvers: np.ndarray) -> pd.DataFrame:
    return sweep({name: unit * values for name, values in solvers.items()}, 0.0, metric="w2", **CLOSED)


def divergence(**solvers: np.ndarray) -> pd.DataFrame:
    return sweep(solvers, 0.0, metric="kl", decides=2, **CLOSED)


def together(*frames: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame.astype({"sample_size": "Int64"}) for frame in frames], ignore_index=True)


def says(judged: Judged, unit: float) -> list[tuple[object, ...]]:
    """Return all that a verdict says, lengths in units."""
    rows = [tuple(row) for row in outcomes(judged.pairs)[["one", "other", "metric", "outcome"]].itertuples(index=False)]
    for row in judged.standings.to_dict("records"):
        excess = row["excess"] / (1.0 if row["metric"] == "kl" else unit)
        rows.append((row["label"], row["metric"], row["state"], row["rank"], row["leads"], f"{excess:.9g}"))
    return rows


@pytest.mark.parametrize("start", [True, False])
def test_draws_are_judged_alike_in_every_unit(start: bool) -> None:
    found = []
    for unit in TINY:
        solvers = {"near": NEAR, "far": FAR, "exact": EXACT} | ({"initial": START} if start else {})
        frame = drawn(unit, **solvers)
        found.append((says(judge(frame), unit), leaders(frame)["label"].tolist()))
    assert found[1:] == 3 * found[:1]
    assert [row[3] for row in found[0][0][:3]] == ["better", "worse", "worse"]


def test_closed_forms_are_judged_alike_in_every_unit_beside_the_initial_law_and_a_divergence() -> None:
    found = []
    for unit in TINY:
        lengths = closed(unit, near=NEAR - FLOOR, far=FAR - FLOOR, exact=ROUNDED, sharp=np.zeros(5), initial=START)
        found.append(says(judge(together(lengths, divergence(initial=START))), unit))
    assert found[1:] == 3 * found[:1]
    told = {row[:2]: row[3] for row in found[0][:6]}
    assert told["near", "far"] == "better"
    assert told["exact", "sharp"] == "same"


def test_an_answer_that_is_far_off_is_no_unit() -> None:
    frame = drawn(1.0, near=NEAR, far=FAR, off=1e13 * START)
    assert units(frame, np.full(len(frame), True)).max() < 1
    assert outcomes(judge(frame).pairs).set_index(["one", "other"]).loc[("near", "far"), "outcome"] == "better"


def test_rounding_decides_nothing_where_the_initial_law_is_the_truth() -> None:
    lengths = closed(1.0, one=ROUNDED, other=5 * ROUNDED, sharp=np.zeros(5), initial=3 * ROUNDED)
    for frame in (lengths, together(lengths, divergence(initial=ROUNDED))):
        assert set(outcomes(judge(frame).pairs)["outcome"]) == {"same"}


def test_rounding_decides_nothing_without_an_initial_law() -> None:
    assert set(outcomes(judge(closed(1.0, one=ROUNDED, other=5 * ROUNDED)).pairs)["outcome"]) == {"same"}


def test_divergences_have_no_unit() -> None:
    frame = together(divergence(one=ROUNDED, other=5 * ROUNDED, initial=1e-3 * START), drawn(1e-12, one=NEAR))
    found = outcomes(judge(frame).pairs)
    assert found[["metric", "outcome"]].to_numpy().tolist() == [["kl", "same"]]


@pytest.mark.parametrize("unit", TINY)
def test_changes_between_two_stores_are_told_alike_in_every_unit(unit: float) -> None:
    before, after = (
        sweep({"em": unit * values, "initial": unit * START}, unit * FLOOR, standard_error=0.01 * unit,
              floor_standard_error=0.01 * unit, finished="")
        for values in (FAR, NEAR)
    )  # fmt: skip
    found = compare_figures(before, after).set_index("label")
    assert dict(found["change"]) == {"em": "better", "initial": "same"}
