"""Beside published figures nobody is better by what failed, or by what lies below exact draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.compare import reference
from harness.report.against_published import against_published, print_against_published

LABEL = "bootstrap-filter particles=100"
OTHER = "bootstrap-filter particles=1000"


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    """Return the committed SymKL of two filters at one time, a row a seed, with their floors."""
    found = reference()
    found = found[found["label"].isin([LABEL, OTHER]) & found["metric"].eq("symkl") & found["t"].eq(5.0)]
    found = found[found["problem"] == "nonlinear-filtering"]
    assert len(found) == 30
    assert found["floor"].notna().all()
    return found.assign(key=found["label"] + found["seed"].astype(str)).reset_index(drop=True)


@pytest.fixture(scope="module")
def figures(committed: pd.DataFrame) -> pd.DataFrame:
    return committed[committed["label"] == LABEL].reset_index(drop=True)


def scaled(figures: pd.DataFrame, factor: float, floor: float = 0.0) -> pd.DataFrame:
    """Return figures of the same relative scatter about a multiple of what was published, over a floor of them."""
    (row,) = against_published(figures).to_dict("records")
    value = factor * row["published"] * np.exp(0.01 * np.sin(np.arange(len(figures))))
    return figures.assign(value=value, floor=floor * value)


def outcome(figures: pd.DataFrame) -> str:
    return str(against_published(figures)["outcome"].item())


def failing(figures: pd.DataFrame, number: int) -> pd.DataFrame:
    lost = figures.index < number
    gone = {name: figures[name].mask(lost) for name in ("t", "metric", "value", "floor")}
    return figures.assign(status=figures["status"].mask(lost, "diverged"), **gone)


def test_with_failed_runs_nothing_is_better_or_a_tie(figures: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    better, worse = scaled(figures, 0.1), scaled(figures, 10.0)
    assert (outcome(better), outcome(worse), outcome(figures)) == ("better", "worse", "tie")
    for whole in (better, figures):
        assert outcome(failing(whole, 2)) == "cannot tell"
    assert outcome(failing(worse, 2)) == "worse"
    assert outcome(better.assign(value=better["value"].mask(better["seed"] == 0, np.inf))) == "cannot tell"
    n = len(figures)
    (found,) = against_published(failing(better, 2)).to_dict("records")
    assert (found["answered"], found["asked"]) == (n - 2, n)
    print_against_published(failing(better, 2))
    out = capsys.readouterr().out
    assert f"{n - 2}/{n} answered" in out
    assert f"cannot be better: 2 of {n} failed" in out
    assert "0 better" not in out
    assert "1 cannot tell" in out


def test_a_solver_that_failed_everywhere_has_its_row(committed: pd.DataFrame, figures: pd.DataFrame) -> None:
    other = committed[committed["label"] == OTHER].reset_index(drop=True)
    frame = pd.concat([figures, failing(other, len(other))], ignore_index=True)
    found = against_published(frame).set_index("label")
    assert found.loc[OTHER, "outcome"] == "no answer"
    assert (found.loc[OTHER, "answered"], found.loc[OTHER, "asked"]) == (0, len(other))
    skipped = frame.assign(status=frame["status"].replace("diverged", "skipped"))
    assert list(against_published(skipped)["label"]) == [LABEL]


def test_figures_below_their_own_floor_are_no_gain(figures: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(scaled(figures, 0.1, floor=0.9)) == "better"
    assert outcome(scaled(figures, 0.1, floor=1.1)) == "BELOW"
    assert outcome(scaled(figures, 10.0, floor=1.1)) == "worse"
    print_against_published(scaled(figures, 0.1, floor=1.1))
    out = " ".join(capsys.readouterr().out.split())
    assert "1 BELOW" in out
    assert "symkl decides nothing of these answers" in out
    assert "No exact draws" not in out
    print_against_published(scaled(figures, 0.1, floor=np.nan))
    assert f"No exact draws are beside {LABEL}" in " ".join(capsys.readouterr().out.split())
