"""Draws over the exact density of two coordinates: its grid, the regions drawn, and problems that are not here."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from harness.report import draws_and_steps, draws_and_steps_figures, exact_density
from problems.problem import View
from seeding import numpy_generator

PROBLEM = ("in-a-view", "{}")
COVARIANCE = np.array([[1.0, 0.6], [0.6, 2.0]])


class InAView:
    """Stands for a problem whose first two of three coordinates are N(0, COVARIANCE)."""

    precision = torch.from_numpy(np.linalg.inv(COVARIANCE))
    view = View((0, 1), ("w₁", "w₂"), lambda x: -0.5 * (x @ InAView.precision * x).sum(1) - 1e5)


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(
        exact_density, "_built", lambda problem, settings, size: InAView if problem == PROBLEM[0] else None
    )


def draws(seed, n=400):
    return numpy_generator(seed).multivariate_normal(np.zeros(2), COVARIANCE, n)


@pytest.fixture
def projections():
    base = {"suite": "s", "preset": "", "problem": PROBLEM[0], "problem_settings": PROBLEM[1], "size": 3, "seed": 0}
    rows = []
    for place, (label, shift) in enumerate([("oracle", 0.0), ("svgd", 0.5), ("initial", 50.0)]):
        points = (draws(place) + shift).astype(np.float32)
        rows.append(base | {"key": label, "solver": label, "label": label, "solver_settings": "{}", "device": "cpu",
                            "t": 1.0, "share": 1.0, "points": points})  # fmt: skip
    return pd.DataFrame(rows)


def test_grid_density_and_its_regions(built):
    exact = exact_density.exact_density(*PROBLEM, 3, draws(0, 4000))
    cell = (exact.x[1] - exact.x[0]) * (exact.y[1] - exact.y[0])
    assert exact.names == ("w₁", "w₂")
    assert exact.density.sum() * cell == pytest.approx(1)
    peak = 1 / (2 * np.pi * np.sqrt(np.linalg.det(COVARIANCE)))
    assert exact.density.max() == pytest.approx(peak, rel=0.01)
    # of a Gaussian in the plane the region that holds the mass m ends at (1 - m) times the peak
    np.testing.assert_allclose(exact.levels(), peak * (1 - np.array(exact_density.MASSES)), rtol=0.05, atol=1e-4)
    # rows are y: the wider coordinate
    spread = [np.average(axis**2, weights=exact.density.sum(over)) for axis, over in ((exact.x, 0), (exact.y, 1))]
    np.testing.assert_allclose(spread, [1, 2], rtol=0.02)


def test_page_and_figure_are_drawn_over_it(built, projections, make_cell, make_frame):
    (view,) = draws_and_steps.draws_and_steps_data(None, projections, PROBLEM, ["svgd", "initial"])["draws"]
    assert (view["own"], view["names"]) == (True, ["w₁", "w₂"])
    assert np.shape(view["contours"]["z"]) == (exact_density.NODES, exact_density.NODES)
    rows = [
        row
        for solver in ("oracle", "svgd", "initial")
        for row in make_cell(*PROBLEM, solver, {}, solver, 3, 0, [(1.0, "symkl", 0.1, 0.01, 0.05)], solve_seconds=1.0)
    ]
    ((name, figure),) = draws_and_steps_figures.plot_draws_and_steps(make_frame(rows), None, projections)
    assert name == "in-a-view-draws-D3-t1"
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[2] == "initial\n400 of 400 outside"
    assert titles[0].startswith("exact draws")
    assert figure.get_supxlabel() == "lines: regions that hold 20, 50, 80, 95, 99 % of the exact density"
    assert [axes.get_xlabel() for axes in figure.axes] == ["w₁"] * 3
    assert figure.axes[0].get_ylabel() == "w₂"
    for axes in figure.axes:
        assert max(np.abs(axes.get_xlim())) < 10


def test_without_the_problem_lines_are_smoothed_and_nothing_is_called_exact(projections, make_cell, make_frame):
    (view,) = draws_and_steps.draws_and_steps_data(None, projections, PROBLEM, ["svgd", "initial"])["draws"]
    assert view["names"] is None
    assert np.shape(view["contours"]["z"]) == (draws_and_steps.CONTOUR_NODES, draws_and_steps.CONTOUR_NODES)
    frame = make_frame(make_cell(*PROBLEM, "svgd", {}, "svgd", 3, 0, [(1.0, "symkl", 0.1, 0.01, 0.05)]))
    ((_, figure),) = draws_and_steps_figures.plot_draws_and_steps(frame, None, projections)
    assert figure.get_supxlabel() == "two coordinates of the problem"


def test_only_draws_in_own_coordinates_rebuild_their_problem(monkeypatch, projections):
    def refuse(*_):
        raise AssertionError("not to be built")

    monkeypatch.setattr(exact_density, "_built", refuse)
    for share, size in ((0.9, 3), (1.0, 2)):
        (view,) = draws_and_steps.draws_and_steps_data(
            None, projections.assign(share=share, size=size), PROBLEM, ["svgd"]
        )["draws"]
        assert view["names"] is None


def test_problems_that_are_and_are_not_here():
    settings = json.dumps({"data": "breast-cancer"})
    assert exact_density._built("logistic-regression", settings, 31).view is None
    assert exact_density.exact_density("logistic-regression", settings, 31, draws(1)) is None
    assert exact_density.exact_density("logistic-regression", settings, 7, draws(1)) is None
    assert exact_density.exact_density("logistic-regression", json.dumps({"data": "no-such-data"}), 3, draws(1)) is None
    assert exact_density.exact_density("no-such-problem", "{}", 3, draws(1)) is None
