"""A verdict from the few columns of a store is that from its whole frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.database import insert
from harness.errors import UsageError
from harness.frame import load
from harness.report.verdict import verdict
from harness.store import Store
from harness.verdict.stored import load_deciding
from sweeps import sweep

FLOOR = np.array([0.0, 0.1, -0.1, 0.05, -0.05])


def figures(**columns: object) -> pd.DataFrame:
    found = {
        "oracle": FLOOR,
        "near": FLOOR + np.array([1.0, 1.1, 0.9, 1.2, 1.0]),
        "far": FLOOR + np.array([3.0, 3.4, np.nan, 3.5, 3.1]),
    }
    return sweep(found, np.nan, **columns)


def written(path: Path, decides: int | None) -> Path:
    parts = [
        figures(t=0.5),
        figures(t=1.0),
        figures(metric="symkl", decides=0, estimator="Scott KDE by quadrature on 9 cells"),
        sweep({"idle": np.full(5, np.nan)}, np.nan).assign(status="skipped", reason="too hard"),
    ]
    frame = pd.concat(parts, ignore_index=True).assign(preset="", finished="2025-01-01")
    if decides is None:
        frame["decides"] = None
    cells = frame.drop_duplicates("key")
    with Store(path) as store, store.transaction():
        for table, rows in (
            ("plans", cells[["suite", "preset", "key", "problem", "problem_settings", "solver", "solver_settings"]]),
            ("cells", cells[["key", "status", "reason", "solve_seconds", "finished"]]),
            (
                "measurements",
                frame.loc[
                    frame["metric"].notna(),
                    ["key", "t", "metric", "value", "standard_error", "estimator", "sample_size", "decides"],
                ],
            ),
        ):
            if table == "plans":
                rows = rows.assign(**{name: cells[name] for name in ("label", "size", "seed", "device", "evaluation")})
            insert(store.connection, table, rows.astype(object).to_dict("records"))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("decides", [1, None])
def test_the_verdict_is_that_of_the_whole_frame(tmp_path: Path, decides: int | None) -> None:
    path = written(tmp_path / "store.sqlite", decides)
    found = verdict(load_deciding(path), "near")
    assert found == verdict(load(path), "near")
    assert [label for label, _ in found.rows] == ["far", "near"]
    assert found.legend.startswith("excess over as many exact draws ± standard error, by energy-distance")
    ((_, (far,)), (_, (near,))) = found.rows
    assert far is not None
    assert near is not None
    assert (far.state, far.rank, far.ok) == ("above", "1", "4/5 ok")
    assert near.leads
    assert found.notes[0] == "not in the verdict: idle, none of its cells was run (skipped 5); too hard"


def test_a_suite_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path / "store.sqlite", 1)
    with pytest.raises(UsageError, match="unknown suite"):
        load_deciding(path, "made-upp")
