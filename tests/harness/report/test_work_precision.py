"""Work and precision: budgets of a method are joined, the front is what nobody beats, floors have a band."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.report.figures import write_figures
from harness.report.summary import cells
from harness.report.work_data import work_data, work_tables
from harness.report.work_precision import draw_work_and_precision, line_of, on_front, work_and_precision
from harness.verdict.judge import judge
from sweeps import sweep

FLOOR = np.array([0.0, 0.02, -0.02, 0.01])


@pytest.fixture
def frame():
    parts = []
    for label, level, seconds, settings in (
        ("em particles=10", 1.0, 1.0, '{"h": 1, "particles": 10}'),
        ("em particles=100", 0.5, 4.0, '{"h": 1, "particles": 100}'),
        ("slow", 0.8, 9.0, '{"h": 1}'),
        ("exact", 0.0, 16.0, "{}"),
    ):
        figures = FLOOR + level * np.array([1.0, 1.05, 0.95, 1.02]) + 1e-3 * np.array([1, -1, 1, -1])
        more = {"solver_settings": settings, "solve_seconds": seconds, "gradient_evaluations": 100 * seconds}
        parts.append(sweep({label: figures}, FLOOR, **more))
    return pd.concat(parts, ignore_index=True)


def test_budgets_are_joined_and_the_front_is_found(frame):
    found = work_and_precision(frame, "solve_seconds").set_index("label")
    assert dict(found["front"]) == {"em particles=10": True, "em particles=100": True, "slow": False, "exact": True}
    assert found.loc["em particles=10", "line"] == found.loc["em particles=100", "line"] != found.loc["slow", "line"]
    assert dict(found["above"]) == {"em particles=10": True, "em particles=100": True, "slow": True, "exact": False}
    assert found.loc["slow", "cost"] == 9.0


def test_a_budget_that_failed_on_an_instance_is_not_on_the_front_and_beats_nobody(frame):
    """The cheapest and closest of all, by three of its four runs."""
    figures = FLOOR + 0.1 * np.array([1.0, 1.05, np.nan, 1.02])
    lossy = sweep({"lossy": figures}, FLOOR, solver_settings="{}", solve_seconds=0.1, gradient_evaluations=10)
    found = work_and_precision(pd.concat([frame, lossy], ignore_index=True), "solve_seconds").set_index("label")
    assert list(found.loc["lossy", ["answered", "asked", "front"]]) == [3, 4, False]
    assert list(found.index[found["front"]]) == ["em particles=10", "em particles=100", "exact"]
    whole = lossy.assign(value=lossy["floor"] + 0.1, status="ok", metric="energy-distance")
    found = work_and_precision(pd.concat([frame, whole], ignore_index=True), "solve_seconds").set_index("label")
    assert list(found.index[found["front"]]) == ["exact", "lossy"]


def test_what_failed_on_an_instance_is_drawn_with_its_count(frame):
    figures = FLOOR + 0.1 * np.array([1.0, 1.05, np.nan, 1.02])
    lossy = sweep({"lossy": figures}, FLOOR, solver_settings="{}", solve_seconds=0.1, gradient_evaluations=10)
    frame = pd.concat([frame, lossy], ignore_index=True)
    (axes,) = next(figure for _, figure in draw_work_and_precision(frame)).axes
    assert [text.get_text() for text in axes.texts if "/" in text.get_text()] == ["3/4"]
    tables = work_tables(cells(frame), judge(frame))
    labels = sorted(set(frame["label"]))
    (view, *_) = work_data(tables, ("well", "{}"), labels)
    shares = {
        labels[label]: share for label, share in zip(view["points"]["label"], view["points"]["share"], strict=True)
    }
    assert shares == {label: "3/4" if label == "lossy" else "" for label in labels}


def test_a_line_is_all_settings_but_the_budget():
    assert line_of("em", '{"particles": 10, "h": 1}') == line_of("em", '{"h": 1, "particles": 20, "iterations": 3}')
    assert line_of("em", '{"h": 1}') != line_of("em", '{"h": 2}')


def test_fronts():
    cost, error = np.array([1.0, 2.0, 3.0, 3.0, 4.0]), np.array([3.0, 2.0, 2.0, 1.0, 1.0])
    assert list(on_front(cost, error)) == [True, True, False, True, False]


def test_there_is_a_figure_for_each_known_cost(frame, tmp_path):
    names = [name for name, _ in draw_work_and_precision(frame)]
    assert names == ["well-energy-distance-work-in-seconds", "well-energy-distance-work-in-gradients"]
    (figure,) = (each for name, each in draw_work_and_precision(frame) if name.endswith("gradients"))
    (axes,) = figure.axes
    assert axes.get_yscale() == axes.get_xscale() == "log"
    assert axes.get_ylim()[0] > 0
    assert any(text.get_text() == "at the floor" for text in axes.texts)


def test_they_are_written_with_the_other_figures(realistic, tmp_path):
    few = realistic[(realistic["size"] == 2) & (realistic["problem"] == "ornstein-uhlenbeck")]
    few = few[few["metric"].isin(["symkl-published", "symkl"]) | few["metric"].isna()].assign(decides=1)
    written = write_figures(few, tmp_path, formats=("png",))
    assert any("work-in-seconds" in path.name for path in written)
