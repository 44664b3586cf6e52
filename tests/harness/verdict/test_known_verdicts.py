"""What this project is known for comes out of the committed figures by itself."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.compare import reference
from harness.report.against_published import against_published
from harness.report.verdict import verdict
from harness.verdict.against import against, meetings
from harness.verdict.judge import judge


@pytest.fixture(scope="module")
def figures() -> pd.DataFrame:
    found = reference()
    cell = found.groupby(["problem", "problem_settings", "label", "size", "seed"], sort=False).ngroup()
    return found.assign(key=cell.astype(str))


def test_networks_are_above_the_exact_jko_filter_by_their_factor_and_below_the_published_ones(
    figures: pd.DataFrame,
) -> None:
    filters = figures[figures["problem"] == "nonlinear-filtering"]
    found = against(judge(filters), "quantile-jko step_size=0.1").set_index("label")
    assert found.loc["icnn-jko", "losses"] == 1
    assert 1.3 < found.loc["icnn-jko", "low"] < 1.9 < found.loc["icnn-jko", "high"] < 2.8
    beside = against_published(filters).set_index(["label", "t"])
    networks = beside.loc[("icnn-jko", 5.0)]
    assert networks["outcome"] == "better"
    assert networks["high"] < 0.15
    # The same method with the same settings gets what was published of it.
    assert beside.loc[("bootstrap-filter particles=50000", 5.0), "outcome"] == "tie"


def test_svgd_as_published_is_told_from_the_posterior_on_all_nine_data_sets(figures: pd.DataFrame) -> None:
    posteriors = figures[figures["problem"] == "logistic-regression"]
    found = meetings(judge(posteriors), "mala").set_index("label")
    assert list(found.loc["svgd (published settings)", "outcome"]) == 9 * ["worse"]
    assert "No solver is told better than mala" in verdict(posteriors, "mala").sentence


def test_exact_steps_of_order_two_are_better_than_those_of_order_one_and_networks_follow_either(
    figures: pd.DataFrame,
) -> None:
    found = against(judge(figures[figures["problem"] == "ornstein-uhlenbeck"]), "gaussian-jko order=1").set_index(
        "label"
    )
    assert found.loc["gaussian-jko order=2", ["wins", "ties", "losses"]].tolist() == [10, 0, 0]  # 4 and 6 of two papers
    assert found.loc["icnn-jko order=1", ["wins", "ties", "losses"]].tolist() == [0, 10, 0]
