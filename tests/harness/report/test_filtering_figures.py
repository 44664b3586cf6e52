"""Figures of filtering: bands and boxes show the numbers that they are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.catalogue import all_settings
from harness.report import figures as drawing
from harness.report.filtering import draw_filtering
from problems.nonlinear_filtering import NonlinearFiltering, published_path
from seeding import generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.one_dimensional.chang_cooper import ChangCooper

SETTINGS = json.dumps(all_settings(NonlinearFiltering()), sort_keys=True)


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return scores and traces of two filters on two published instances."""
    scores, traces = [], []
    for seed in (0, 1):
        problem = NonlinearFiltering().build(1, seed, torch.Generator())
        for place, solver in enumerate((ChangCooper(cells=200), GaussianJKO(step_size=0.1))):
            solution = solver.solve(problem, generator(0), torch.device("cpu"))
            cell = {"problem": "nonlinear-filtering", "problem_settings": SETTINGS, "size": 1, "seed": seed}
            cell |= {"solver": solver.name, "label": solver.name, "key": f"{solver.name} {seed}"}
            scores.append(cell | {"t": 5.0, "metric": "symkl", "value": 10.0 ** (-3 * place - seed - 1)})
            cell["along"] = "observations"
            for name, series in solution.assimilated.items():
                traces += [cell | {"name": name, "step": step + 1, "value": value} for step, value in enumerate(series)]
    return pd.DataFrame(scores), pd.DataFrame(traces)


def test_bands_and_boxes_hold_the_figures(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    scores, traces = tables
    figures = dict(draw_filtering(scores, traces))
    assert list(figures) == [
        "nonlinear-filtering-instance-mokrov2021-D1-posterior-over-time",
        "nonlinear-filtering-instance-mokrov2021-D1-symkl-over-instances",
    ]
    bands = figures["nonlinear-filtering-instance-mokrov2021-D1-posterior-over-time"]
    panels = {axes.get_title(): axes for axes in bands.axes if axes.get_visible()}
    assert set(panels) == {"chang-cooper", "gaussian-jko"}
    values, hidden = published_path(0)
    for label, axes in panels.items():
        lines = {line.get_label(): line for line in axes.lines}
        own = traces[traces["label"].eq(label) & traces["seed"].eq(0)].set_index(["name", "step"])["value"]
        assert list(lines["posterior median"].get_ydata()) == own["posterior_q50"].tolist()
        assert list(lines["hidden path"].get_ydata()) == hidden.states[:, 0].tolist()
        assert list(lines["observations"].get_ydata()) == values[:, 0].tolist()
    boxes = figures["nonlinear-filtering-instance-mokrov2021-D1-symkl-over-instances"].axes[0]
    ticks = [tick.get_text() for tick in boxes.get_xticklabels()]
    assert ticks[:2] == ["chang-cooper", "gaussian-jko"]
    assert {"bootstrap-filter particles=1000", "icnn-jko"} <= set(ticks)
    heights = {tuple(patch.get_path().vertices[:, 1].round(12)) for patch in boxes.patches}
    assert any(0.0325 in height and 0.0775 in height for height in heights)  # the quartiles of 0.1 and 0.01
    assert any(0.0132976 in height and 0.0245797 in height for height in heights)  # published, of ICNN-JKO


def test_problems_without_observations_give_no_figure(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    scores, traces = tables
    assert list(draw_filtering(scores, traces[traces["name"] == "log_evidence"])) == []


def test_a_cell_of_two_plans_counts_once(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    scores, traces = (pd.concat([table, table.assign(suite="other")], ignore_index=True) for table in tables)
    (once, _), (twice, _) = (dict(draw_filtering(*each)).values() for each in (tables, (scores, traces)))
    for ours, theirs in zip(once.axes, twice.axes, strict=True):
        assert [line.get_ydata().tolist() for line in ours.lines] == [
            line.get_ydata().tolist() for line in theirs.lines
        ]


def test_they_are_written_beside_the_others(
    tables: tuple[pd.DataFrame, pd.DataFrame], make_cell: Any, make_frame: Any, tmp_path: Path
) -> None:
    traces = tables[1].assign(solver_settings="{}")
    rows: list[Any] = []
    for label in ("chang-cooper", "gaussian-jko"):
        for seed in (0, 1):
            figures = [(5.0, "symkl", 0.1 + seed, 0.0, 0.0)]
            rows += make_cell("nonlinear-filtering", SETTINGS, label, {}, label, 1, seed, figures, solve_seconds=1.0)
    paths = drawing.write_figures(make_frame(rows), tmp_path, ("png",), traces=traces)
    names = {path.stem.removeprefix("nonlinear-filtering-instance-mokrov2021-") for path in paths}
    assert {"D1-posterior-over-time", "D1-symkl-over-instances"} <= names
    assert not any("posterior" in name and name.endswith("per-step") for name in names)
