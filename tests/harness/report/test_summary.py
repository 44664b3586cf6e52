import json
import math

import numpy as np
import pandas as pd
import pytest

from harness.report import published, summary
from seeding import numpy_generator

OU = json.dumps({"instance": "mokrov2021", "inverse_temperature": 1.0, "times": [0.5]})
EM = {"particles": 1000, "step_size": 0.001, "dtype": "float32"}


@pytest.fixture
def four_seeds(make_cell, make_frame):
    """Three ok runs with values 3, 1, 8, and one that diverged."""
    rows = []
    for seed, value in enumerate([3.0, 1.0, 8.0]):
        figures = [(0.5, "symkl-published", value, 0.1, value / 10)]
        rows += make_cell(
            "ornstein-uhlenbeck", OU, "euler-maruyama", EM, "em", 6, seed, figures, solve_seconds=seed + 1.0
        )
    rows += make_cell("ornstein-uhlenbeck", OU, "euler-maruyama", EM, "em", 6, 3, [], "diverged", "not finite")
    return make_frame(rows)


def test_numbers_by_hand(four_seeds):
    (row,) = summary.summarise(four_seeds).to_dict("records")
    assert (row["median"], row["q25"], row["q75"]) == (3.0, 2.0, 5.5)
    assert (row["floor"], row["seconds"]) == (0.3, 2.0)
    assert (row["planned"], row["ok"], row["figures"], row["statuses"]) == (4, 3, 3, "diverged 1")


def test_published_figure_stands_beside(four_seeds):
    (row,) = summary.summarise(four_seeds).to_dict("records")
    figures = published.load()
    theirs = figures[(figures["method"] == "EM_sim_1000") & (figures["size"] == 6) & (figures["t"] == 0.5)]
    assert row["published_median"] == theirs["median"].item()
    assert row["published_seconds"] == theirs["seconds"].item() == 0.3473


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("problem_settings", json.dumps({"instance": "random", "inverse_temperature": 1.0})),
        ("problem_settings", json.dumps({"instance": "mokrov2021", "inverse_temperature": 2.0})),
        ("problem_settings", json.dumps({})),
        ("solver_settings", json.dumps(EM | {"particles": 2000})),
        ("solver_settings", json.dumps(EM | {"step_size": 0.01})),
        ("solver", "svgd"),
        ("metric", "symkl"),
        ("size", 13),
        ("t", 0.55),
    ],
)
def test_no_published_figure_where_anything_differs(four_seeds, column, value):
    changed = four_seeds.assign(**{column: four_seeds[column].where(four_seeds[column].isna(), value)})
    assert summary.summarise(changed)["published_median"].isna().all()


def test_group_without_any_ok_run_keeps_its_rows(four_seeds, make_cell, make_frame):
    lost = [
        row
        for seed in range(2)
        for row in make_cell("ornstein-uhlenbeck", OU, "svgd", {}, "svgd", 6, seed, [], "timeout", "killed after 600 s")
    ]
    rows = summary.summarise(pd.concat([four_seeds, make_frame(lost)], ignore_index=True)).set_index("label")
    assert rows.loc["svgd", ["planned", "ok", "figures"]].tolist() == [2, 0, 0]
    assert rows.loc["svgd", "statuses"] == "timeout 2"
    assert math.isnan(rows.loc["svgd", "median"])
    assert rows.loc["svgd", "metric"] == "symkl-published"


def test_everything_failed(four_seeds):
    failed = four_seeds[four_seeds["status"] != "ok"]
    (row,) = summary.summarise(failed).to_dict("records")
    assert (row["planned"], row["ok"], row["figures"]) == (1, 0, 0)
    assert pd.isna(row["metric"])


def test_value_missing_from_an_ok_run_is_counted(four_seeds):
    values = four_seeds["value"].copy()
    values[values == 8.0] = np.nan
    (row,) = summary.summarise(four_seeds.assign(value=values)).to_dict("records")
    assert (row["median"], row["ok"], row["figures"]) == (2.0, 3, 2)


def test_cell_of_two_suites_is_one_run(four_seeds):
    twice = pd.concat([four_seeds, four_seeds.assign(suite="demo")], ignore_index=True)
    pd.testing.assert_frame_equal(summary.summarise(twice), summary.summarise(four_seeds))


def test_quartiles_are_those_of_numpy():
    rng = numpy_generator(5)
    frame = pd.DataFrame({"group": rng.integers(0, 40, 700), "value": rng.standard_cauchy(700)})
    found = summary.quartiles(frame, ["group"], "value").set_index("group")
    for group, values in frame.groupby("group")["value"]:
        expected = np.quantile(values, [0.25, 0.5, 0.75])
        np.testing.assert_allclose(found.loc[group, ["q25", "median", "q75"]].astype(float), expected, rtol=1e-12)
        assert found.loc[group, "figures"] == len(values)


def test_infinite_values_are_not_hidden():
    frame = pd.DataFrame({"group": 0, "value": [1.0, 2.0, 3.0, math.inf, math.inf]})
    (row,) = summary.quartiles(frame, ["group"], "value").to_dict("records")
    assert (row["q25"], row["median"], row["q75"]) == (2.0, 3.0, math.inf)


def test_order_puts_solvers_between_the_bounds(realistic):
    rows = summary.summarise(realistic)
    here = rows[(rows["problem"] == "ornstein-uhlenbeck") & (rows["metric"] == "symkl") & (rows["size"] == 2)]
    labels = here.loc[here["t"] == 0.5, "label"].tolist()
    assert labels[:2] == ["oracle", "oracle particles=1000"]
    assert labels[-1] == "initial"
    sizes = [int(label.partition("=")[2]) for label in labels if label.startswith("euler")]
    assert sizes == [1000, 10000, 50000]


def test_titles_name_what_sets_problems_apart(make_cell, make_frame):
    rows = []
    for separation in (1.0, 2.0):
        settings = json.dumps({"separation": separation, "times": [1.0]})
        rows += make_cell("double-well", settings, "s", {}, "s", 1, 0, [], "error")
    rows += make_cell("ornstein-uhlenbeck", OU, "s", {}, "s", 1, 0, [], "error")
    assert list(summary.titles(make_frame(rows)).values()) == [
        "double-well · separation=1.0",
        "double-well · separation=2.0",
        "ornstein-uhlenbeck · instance=mokrov2021",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.058912, "0.0589"),
        (5.2569, "5.26"),
        (12, "12.0"),
        (99940, "99900"),
        (99960, "1.00e5"),
        (123456, "1.23e5"),
        (0.00099996, "0.00100"),
        (0.00099, "9.90e-4"),
        (-0.5, "-0.500"),
        (0, "0"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "inf"),
        (1.234e-12, "1.23e-12"),
    ],
)
def test_significant(value, text):
    assert summary.significant(value) == text
