"""The energy over time: when steps were, whose energies they are, and how they stand to the exact one."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.report import energy, energy_figures, page
from problems.porous_medium import PorousMedium
from seeding import generator

TIMES = [0.001, 0.005, 0.025]
SETTINGS = json.dumps({"times": TIMES, "instance": "fan2022", "exponent": 2.0, "coefficient": 1.0})
PROBLEM = ("porous-medium", SETTINGS)


def exact(t):
    return PorousMedium(times=tuple(TIMES)).build(1, 0, generator()).free_energy(t)


def series(label, settings, values, name="free_energy", seed=0):
    return [
        {"key": f"{label} {seed}", "suite": "s", "preset": "", "problem": PROBLEM[0], "problem_settings": PROBLEM[1],
         "solver": label, "solver_settings": json.dumps(settings), "label": label, "size": 1, "seed": seed,
         "device": "cpu", "along": "steps", "name": name, "step": step, "value": value}
        for step, value in enumerate(values, 1)
    ]  # fmt: skip


@pytest.fixture
def frame(make_cell, make_frame):
    rows = []
    for solver, settings, above in (("oracle", {}, 0.0), ("blob", {"particles": 100}, 0.01), ("initial", {}, 1.0)):
        for seed in (0, 1):
            figures = [(t, "free-energy", exact(t) + above + seed, 0.001 * above, exact(t)) for t in TIMES]
            rows += make_cell(*PROBLEM, solver, settings, solver, 1, seed, figures, solve_seconds=1.0)
    rows += make_cell(*PROBLEM, "jko", {"step_size": 0.001}, "jko", 1, 0, [(0.025, "l1", 0.01, 0, 0)], solve_seconds=1)
    return make_frame(rows)


@pytest.fixture
def traces():
    rows = series("jko", {"step_size": 0.001}, [exact(0.001 * step) + 0.02 for step in range(26)])
    return pd.DataFrame(rows + series("jko", {"step_size": 0.001}, [9.0] * 26, seed=1))


@pytest.mark.parametrize(
    ("settings", "values", "clock", "times"),
    [
        ({"step_size": 0.005}, [5, 4, 3, 2, 1], (), [0.005, 0.01, 0.015, 0.02, 0.025]),
        ({"step_size": 0.005}, [6, 5, 4, 3, 2, 1], (), [0, 0.005, 0.01, 0.015, 0.02, 0.025]),
        ({"step_size": 0.005}, [3, 2, 1], (0.0, 0.001, 0.025), [0.0, 0.001, 0.025]),
        ({}, [2, np.nan, 1], (0.1, 0.2, 0.3), [0.1, 0.3]),
    ],
)
def test_steps_are_where_the_solver_says_or_of_one_size(settings, values, clock, times):
    rows = pd.DataFrame(series("s", settings, values) + series("s", settings, clock, name="time"))
    found = energy.stepped(rows, TIMES)
    np.testing.assert_allclose(found.t, times)
    np.testing.assert_array_equal(found.f, [value for value in values if np.isfinite(value)])


@pytest.mark.parametrize("settings", [{}, {"step_size": None}, {"step_size": 0.01}])
def test_steps_of_unknown_times_are_left_out(settings):
    assert energy.stepped(pd.DataFrame(series("s", settings, [5, 4, 3, 2, 1])), TIMES) is None


def test_energies_are_those_of_one_instance_beside_the_exact_curve(frame, traces):
    (view,) = energy.energy_views(frame, traces, PROBLEM)
    assert (view.size, [one.label for one in view.series]) == (1, ["blob", "jko"])
    blob, jko = view.series
    np.testing.assert_allclose(blob.measured.f, [exact(t) + 0.01 for t in TIMES])
    np.testing.assert_allclose(blob.measured.error, 1e-5)
    np.testing.assert_allclose(jko.steps.t, np.arange(26) * 0.001)
    np.testing.assert_allclose(view.curve.f, [exact(t) for t in view.curve.t])
    assert (view.curve.t[0], view.curve.t[-1]) == (0, 0.025)
    assert (np.diff(view.curve.f) < 0).all()
    np.testing.assert_allclose(view.measured.f, [exact(t) for t in TIMES])
    assert view.last() == pytest.approx(exact(0.025))


def test_without_the_problem_the_oracle_is_exact_and_without_that_the_lowest_is_last(frame, traces):
    unknown = ("not-here", SETTINGS)
    frame = frame.assign(problem="not-here")
    (view,) = energy.energy_views(frame, traces.assign(problem="not-here"), unknown)
    assert len(view.curve.f) == 0
    assert view.last() == pytest.approx(exact(0.025))
    (view,) = energy.energy_views(frame[frame["solver"] != "oracle"], traces.assign(problem="not-here"), unknown)
    assert view.last() == pytest.approx(exact(0.025) + 0.01)
    assert list(energy.energy_views(frame[frame["metric"] != "free-energy"], None, unknown)) == []


def test_the_page_holds_them(frame, traces):
    (view,) = energy.energy_data(frame, traces, PROBLEM, ["blob", "jko", "initial"])
    assert [series["label"] for series in view["series"]] == [0, 1]
    np.testing.assert_allclose(view["series"][1]["steps"]["f"], [exact(0.001 * k) + 0.02 for k in range(26)], rtol=1e-8)
    assert view["last"] == pytest.approx(exact(0.025), rel=1e-10)
    json.dumps(view, allow_nan=False)
    assert page.page(frame, traces=traces).count('class="detail energy"') == 1
    assert page.page(frame[frame["metric"] != "free-energy"]).count('class="detail energy"') == 0


def test_the_figure_shows_energies_and_their_decay(frame, traces):
    ((name, figure),) = energy_figures.draw_energies(frame, traces)
    assert name.endswith("energy-D1")
    plain, decay = figure.axes
    assert (plain.get_yscale(), decay.get_yscale()) == ("linear", "log")
    lines = {container.get_label(): container.lines[0] for container in decay.containers}
    np.testing.assert_allclose(lines["jko"].get_ydata()[-1], 0.02)
    assert lines["exact"].get_ydata().min() > 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["exact", "blob", "jko"]
