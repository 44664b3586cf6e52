"""Densities in the plane: what the page holds of them, and the figure."""

import base64
import json

import numpy as np
import pandas as pd
import pytest

from harness.report import densities, densities_figures, draws_and_steps, draws_and_steps_figures, page

PROBLEM = ("spreading", "{}")
TIMES = (0.25, 1.0)
NODES = 61


def gaussian(box, deviation):
    x, y = np.linspace(box[0], box[2], NODES), np.linspace(box[1], box[3], NODES)
    square = x[None, :] ** 2 + y[:, None] ** 2
    return np.exp(-square / (2 * deviation**2)) / (2 * np.pi * deviation**2)


def box_of(t):
    return np.array([-4.0, -4.0, 4.0, 4.0]) * np.sqrt(t)


def row(solver, label, t, density, settings="{}"):
    return {
        "key": f"{label}", "suite": "s", "preset": "", "problem": PROBLEM[0], "problem_settings": PROBLEM[1],
        "solver": solver, "solver_settings": settings, "label": label, "size": 2, "seed": 0, "device": "cpu", "t": t,
        "share": 1.0, "points": np.full((4, 2), t, dtype="f4"), "box": None if density is None else box_of(t),
        "density": None if density is None else density.astype("f4"),
    }  # fmt: skip


@pytest.fixture
def projections():
    rows = []
    for t in TIMES:
        sampled = json.dumps({"particles": 100})
        rows.append(row("oracle", "oracle particles=100", t, None, sampled))
        rows.append(row("oracle", "oracle", t, gaussian(box_of(t), np.sqrt(t))))
        wide = gaussian(box_of(t), 1.2 * np.sqrt(t))
        wide[0, 0] = np.nan
        rows.append(row("jko", "jko", t, wide))
        rows.append(row("em", "em", t, None))
        rows.append(row("initial", "initial", t, gaussian(box_of(t), 0.1)))
    return pd.DataFrame(rows)


def unpacked(grid):
    steps = np.frombuffer(base64.b64decode(grid["z"]), dtype="<u2").reshape(NODES, NODES)
    return np.where(steps == densities.STEPS + 1, np.nan, steps / densities.STEPS * grid["peak"])


def test_the_page_holds_a_row_for_every_solver_and_a_column_for_every_time(projections):
    found = densities.plane_data(projections, {"em": 0, "jko": 1})
    assert found["t"] == list(TIMES)
    np.testing.assert_allclose(found["boxes"], [box_of(t) for t in TIMES])
    assert [series["label"] for series in found["series"]] == [0, 1]
    assert found["series"][0]["density"] == [None, None]
    assert found["top"] == pytest.approx(1 / (2 * np.pi * TIMES[0]), rel=1e-4)
    for place, t in enumerate(TIMES):
        exact = gaussian(box_of(t), np.sqrt(t))
        np.testing.assert_allclose(unpacked(found["truth"][place]), exact, rtol=1e-4, atol=2e-5 * exact.max())
        # a Gaussian's region that holds the mass m ends at (1 - m) of its peak
        np.testing.assert_allclose(
            found["levels"][place], exact.max() * np.array([0.01, 0.05, 0.2, 0.5, 0.8]), rtol=0.1
        )
        fit = unpacked(found["series"][1]["density"][place])
        assert np.isnan(fit[0, 0])
        expected = gaussian(box_of(t), 1.2 * np.sqrt(t))
        np.testing.assert_allclose(fit[1:], expected[1:], rtol=1e-4, atol=2e-5 * exact.max())
    json.dumps(found, allow_nan=False)


def test_without_the_exact_density_there_is_no_view(projections):
    particles = projections["solver_settings"] != "{}"
    assert densities.plane_view(projections[particles | (projections["solver"] != "oracle")]) is None
    assert densities.plane_view(projections[projections["solver"] == "oracle"]) is None
    assert densities.plane_view(projections.drop(columns=["box", "density"])) is None
    assert densities.plane_view(pd.DataFrame()) is None


def test_so_many_times_stand_side_by_side():
    assert densities.side_by_side_times([0.5, 1.0]) == [0.5, 1.0]
    times = densities.side_by_side_times([0.1 * k for k in range(1, 31)])
    assert (len(times), times[0], times[-1]) == (densities.MOST_TIMES, 0.1, 3.0)


def test_draws_are_over_the_exact_density_where_it_is_kept(projections):
    found = draws_and_steps.draws_and_steps_data(None, projections, PROBLEM, ["em", "jko"])
    assert [view["exact"] for view in found["draws"]] == [True, True]
    view = found["draws"][1]
    np.testing.assert_allclose(view["contours"]["z"], gaussian(box_of(1.0), 1.0) * 2 * np.pi, rtol=5e-3, atol=1e-9)
    np.testing.assert_allclose(view["levels"], [0.01, 0.05, 0.2, 0.5, 0.8], rtol=0.1)
    assert view["names"] is None
    assert len(found["planes"]["series"]) == 2


def test_the_page_and_the_figure(projections, make_cell, make_frame):
    rows = [
        line
        for solver in ("oracle", "jko", "em")
        for line in make_cell(*PROBLEM, solver, {}, solver, 2, 0, [(1.0, "l1", 0.1, 0.01, 0.05)], solve_seconds=1.0)
    ]
    frame = make_frame(rows)
    assert page.page(frame, projections=projections).count('class="detail planes"') == 1
    without = projections.assign(density=None, box=None)
    assert page.page(frame, projections=without).count('class="detail planes"') == 0
    drawn = dict(draws_and_steps_figures.plot_draws_and_steps(frame, None, projections))
    figure = drawn["spreading-densities-D2"]
    panels = np.reshape(figure.axes[:6], (3, 2))
    assert [axes.get_title() for axes in panels[0]] == ["t = 0.25", "t = 1"]
    assert [axes.get_ylabel().split("\n")[0] for axes in panels[:, 0]] == ["exact", "em", "jko"]
    np.testing.assert_allclose(panels[2, 1].get_images()[0].get_array()[1:], gaussian(box_of(1.0), 1.2)[1:], rtol=1e-5)
    assert not panels[1, 1].get_images()
    tops = [axes.get_images()[0].norm.vmax for axes in panels[[0, 2]].ravel()]
    np.testing.assert_allclose(tops, 1 / (2 * np.pi * TIMES[0]), rtol=1e-6)
    low, high = panels[0, 0].get_xlim()
    assert (low, high) == (pytest.approx(-4 - 4 / 60), pytest.approx(4 + 4 / 60))
    assert len({axes.get_xlim() for axes in panels.ravel()}) == 1


def test_axes_of_curves_are_common_unless_the_law_spreads_far():
    def view(t, width):
        x = np.linspace(-4 * width, 4 * width, 101)
        return t, np.stack([x, np.exp(-((x / width) ** 2) / 2) / width], 1), [("jko", np.stack([x, 0 * x], 1))]

    near = densities_figures.densities_figure([view(1.0, 1.0), view(2.0, 2.0)], {"jko": "#000000"})
    assert len({axes.get_xlim() for axes in near.axes}) == 1
    far = densities_figures.densities_figure([view(1.0, 1.0), view(2.0, 9.0)], {"jko": "#000000"})
    assert [axes.get_xlim()[1] for axes in far.axes] == [pytest.approx(4), pytest.approx(36)]
