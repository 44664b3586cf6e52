"""Draws beside the truth, and series over the steps: what the page and the figures show of them."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.report import draws_and_steps, draws_and_steps_figures, figures, page
from seeding import numpy_generator

PROBLEM = ("warming", json.dumps({"instance": "a"}))
FITS = {"oracle": "oracle", "oracle particles=200": "oracle", "em n=200": "em", "jko": "jko", "initial": "initial"}


def columns(label, size, seed):
    settings = json.dumps({"particles": 200 if "200" in label else None})
    return {
        "key": f"{label} {size} {seed}", "suite": "s", "preset": "", "problem": PROBLEM[0],
        "problem_settings": PROBLEM[1], "solver": FITS[label], "solver_settings": settings, "label": label,
        "size": size, "seed": seed, "device": "cpu",
    }  # fmt: skip


@pytest.fixture(scope="module")
def projections():
    rng = numpy_generator(3)
    return pd.DataFrame(
        columns(label, size, 0)
        | {"t": t, "share": 2 / size, "points": (place + rng.standard_normal((40, 2))).astype(np.float32)}
        for place, label in enumerate(FITS)
        for size in (2, 13)
        for t in (0.5, 1.0)
    )


@pytest.fixture(scope="module")
def curves():
    """Normal densities on the line, a standard deviation wider for each solver; exact draws have a rough one."""
    x = np.linspace(-5, 5, 201)
    return pd.DataFrame(
        columns(label, 1, 0) | {"t": t, "share": 1.0, "points": np.stack([x, normal(x, place + 1)], 1).astype("f4")}
        for place, label in enumerate(FITS)
        for t in (0.5, 1.0)
    )


def normal(x, deviation):
    return np.exp(-0.5 * (x / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


@pytest.fixture(scope="module")
def traces():
    rows = []
    for size in (2, 13):
        for seed in range(5):
            for step in range(1, 31):
                base = columns("jko", size, seed) | {"along": "steps", "step": step}
                rows.append(base | {"name": "seconds", "value": 0.1 * size + 0.01 * seed})
                rows.append(base | {"name": "objective", "value": -float(step + seed)})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def frame(make_cell, make_frame):
    rows = []
    for label, solver in FITS.items():
        for size in (2, 13):
            values = [(t, "symkl", 0.1 * size, 0.01, 0.05) for t in (0.5, 1.0)]
            settings = {"particles": 200 if "200" in label else None}
            rows += make_cell(*PROBLEM, solver, settings, label, size, 0, values, solve_seconds=1.0)
    return make_frame(rows)


LABELS = ["em n=200", "jko", "initial"]
NOTHING: dict = {"steps": [], "draws": [], "densities": [], "planes": None}


def test_medians_and_quartiles_by_step(traces):
    views = draws_and_steps.draws_and_steps_data(traces, None, PROBLEM, LABELS)["steps"]
    assert [(view["name"], view["size"]) for view in views] == [
        ("objective", 2), ("objective", 13), ("seconds", 2), ("seconds", 13),
    ]  # fmt: skip
    (series,) = views[3]["series"]
    assert LABELS[series["label"]] == "jko"
    assert series["seeds"] == 5
    assert series["step"] == list(range(1, 31))
    assert series["median"] == [1.32] * 30
    assert (series["q25"][0], series["q75"][0]) == (1.31, 1.33)
    assert views[0]["series"][0]["median"] == [-float(step + 2) for step in range(1, 31)]


def test_a_cell_of_two_plans_counts_once(traces):
    twice = pd.concat([traces, traces.assign(suite="other")], ignore_index=True)
    assert draws_and_steps.draws_and_steps_data(twice, None, PROBLEM, LABELS) == draws_and_steps.draws_and_steps_data(
        traces, None, PROBLEM, LABELS
    )


def test_long_series_are_thinned_and_uneven_ones_kept():
    base = columns("jko", 2, 0) | {"along": "steps", "name": "residual"}
    short = columns("jko", 2, 1) | {"along": "steps", "name": "residual"}
    rows = [base | {"step": step, "value": 1 / step} for step in range(1, 5001)]
    rows += [short | {"step": step, "value": 3 / step} for step in range(1, 3)]
    ((view),) = draws_and_steps.draws_and_steps_data(pd.DataFrame(rows), None, PROBLEM, LABELS)["steps"]
    (series,) = view["series"]
    assert len(series["step"]) <= draws_and_steps.MOST_STEPS
    assert (series["step"][0], series["step"][-1]) == (1, 5000)
    assert series["median"][0] == 2
    assert series["median"][-1] == pytest.approx(1 / 5000)


def test_draws_stand_beside_those_of_the_oracle(projections):
    views = draws_and_steps.draws_and_steps_data(None, projections, PROBLEM, LABELS)["draws"]
    assert [(view["size"], view["t"]) for view in views] == [(2, 0.5), (2, 1), (13, 0.5), (13, 1)]
    view = views[2]
    assert view["share"] == pytest.approx(2 / 13, rel=1e-4)
    exact = projections[(projections["label"] == "oracle") & (projections["size"] == 13)]["points"].iloc[0]
    np.testing.assert_allclose(view["truth"]["x"], exact[:, 0], rtol=1e-3)
    assert [LABELS[series["label"]] for series in view["series"]] == LABELS
    assert np.shape(view["contours"]["z"]) == (draws_and_steps.CONTOUR_NODES, draws_and_steps.CONTOUR_NODES)
    assert np.max(view["contours"]["z"]) == 1


def test_without_exact_draws_there_is_nothing_to_compare_with(projections):
    without = projections[projections["solver"] != "oracle"]
    assert draws_and_steps.draws_and_steps_data(None, without, PROBLEM, LABELS) == NOTHING
    assert draws_and_steps.draws_and_steps_data(None, None, PROBLEM, LABELS) == NOTHING
    assert draws_and_steps.draws_and_steps_data(None, projections, ("warming", "{}"), LABELS) == NOTHING


def test_what_filters_say_of_each_observation_is_no_series_over_the_steps():
    rows = [
        columns(label, 1, 0) | {"along": along, "name": name, "step": k, "value": float(k)}
        for label, along, name in (
            ("jko", "observations", "observation_time"),
            ("jko", "observations", "evaluations"),
            ("jko", "steps", "seconds"),
            ("em n=200", "steps", "posterior_odds"),
        )
        for k in (1, 2)
    ]
    views = draws_and_steps.draws_and_steps_data(pd.DataFrame(rows), None, PROBLEM, LABELS)["steps"]
    found = {(view["name"], LABELS[series["label"]]) for view in views for series in view["series"]}
    assert found == {("seconds", "jko"), ("posterior_odds", "em n=200")}


def test_densities_stand_over_the_exact_one(curves, projections):
    both = pd.concat([curves, projections], ignore_index=True)
    found = draws_and_steps.draws_and_steps_data(None, both, PROBLEM, LABELS)
    assert {view["size"] for view in found["draws"]} == {2, 13}
    assert [view["t"] for view in found["densities"]] == [0.5, 1]
    view = found["densities"][1]
    x = np.array(view["truth"]["x"], dtype=float)
    np.testing.assert_allclose(view["truth"]["y"], normal(x, 1), rtol=2e-3)
    assert [LABELS[series["label"]] for series in view["series"]] == LABELS
    np.testing.assert_allclose(view["series"][1]["y"], normal(x, 4), rtol=2e-3)


def test_exact_draws_are_no_exact_density(curves):
    without = curves[curves["label"] != "oracle"]
    assert draws_and_steps.draws_and_steps_data(None, without, PROBLEM, LABELS) == NOTHING


def test_the_smoothed_density_is_one_and_flat_for_points_on_a_line():
    points = numpy_generator(0).standard_normal((500, 2)) * [3.0, 0.5]
    x, y, density = draws_and_steps.smoothed(points)
    assert density.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1, abs=0.02)
    for few in (np.outer(np.arange(5.0), [1, 2]), np.zeros((9, 2)), np.eye(2)):
        assert draws_and_steps.smoothed(few)[2].max() == 0


def test_the_page_has_what_there_is(frame, traces, projections, curves):
    bare = page.page(frame)
    assert 'class="detail draws"' not in bare
    assert 'class="detail steps"' not in bare
    full = page.page(frame, traces=traces, projections=projections)
    assert full.count('class="detail draws"') == 1
    assert full.count('class="detail steps"') == 1
    assert 'class="detail densities"' not in full
    assert page.page(frame, traces=traces).count('class="detail draws"') == 0
    assert page.page(frame, projections=curves).count('class="detail densities"') == 1


def test_figures(frame, traces, projections, tmp_path):
    drawn = dict(draws_and_steps_figures.plot_draws_and_steps(frame, traces, projections))
    name = "warming-instance-a"
    assert list(drawn) == [
        *(f"{name}-draws-D{size}-t{t}" for size in (2, 13) for t in ("0.5", "1")),
        f"{name}-objective-per-step",
        f"{name}-seconds-per-step",
    ]
    panels = {axes.get_title(): axes for axes in drawn[f"{name}-draws-D13-t1"].axes if axes.get_visible()}
    assert list(panels) == ["exact draws", *LABELS]
    theirs = projections[(projections["label"] == "jko") & (projections["size"] == 13) & (projections["t"] == 1)]
    np.testing.assert_allclose(panels["jko"].collections[-1].get_offsets(), theirs["points"].iloc[0])
    lines = [axes.get_lines()[0] for axes in drawn[f"{name}-seconds-per-step"].axes]
    np.testing.assert_allclose(lines[1].get_ydata(), 1.32)
    assert drawn[f"{name}-seconds-per-step"].axes[0].get_ylim()[0] == 0
    few = {"traces": traces[traces["name"] == "seconds"], "projections": projections[projections["size"] == 2]}
    paths = figures.write_figures(frame[frame["size"] == 2], tmp_path, ("png",), **few)
    assert {f"{name}-draws-D2-t1.png", f"{name}-seconds-per-step.png"} <= {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_figure_of_densities_has_a_panel_a_time(frame, curves):
    ((name, figure),) = draws_and_steps_figures.plot_draws_and_steps(frame, None, curves)
    assert name == "warming-instance-a-densities"
    assert [axes.get_title() for axes in figure.axes] == ["t = 0.5", "t = 1"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert list(lines) == LABELS
        x, y = lines["jko"].get_data()
        np.testing.assert_allclose(y, normal(x, 4), rtol=1e-5)
        np.testing.assert_allclose(axes.collections[0].get_paths()[0].vertices[:, 1].max(), normal(0, 1), rtol=1e-5)
