"""Published figures of the logistic regressions beside ours: in the tables of each, in one table, in the terminal."""

import json
import re

import pytest

from harness.report import page, published, summary, tables
from harness.report.side_by_side import side_by_side


def settings(data, **more):
    return json.dumps(
        {"times": [10.0], "data": data, "intercept": False, "prior_shape": 1.0, "prior_rate": 100.0} | more
    )


FOUND = {"svgd": (0.66, -0.601), "mala": (0.68, -0.598), "oracle": (0.685, -0.597), "initial": (0.5, -0.7)}


@pytest.fixture(scope="module")
def frame(make_cell, make_frame):
    rows = []
    for data, size in (("german", 25), ("banana", 3), ("breast-cancer", 31)):
        for solver, (accuracy, log_predictive) in FOUND.items():
            for seed in range(3):
                figures = [
                    (t, metric, value + 0.001 * seed - 0.1 * (t < 10), 0.01, value)
                    for metric, value in (("accuracy", accuracy), ("log-predictive", log_predictive))
                    for t in (5.0, 10.0)
                ]
                for label in (solver, f"{solver} particles=100") if solver == "oracle" else (solver,):
                    rows += make_cell("logistic-regression", settings(data), solver, {}, label, size, seed, figures,
                                      solve_seconds=1.0)  # fmt: skip
    return make_frame(rows)


@pytest.fixture(scope="module")
def summarised(frame):
    theirs = published.load()
    rows = summary.summarise(frame, theirs)
    return rows, summary.unmatched(rows, theirs), theirs


def test_figures_of_the_same_solver_stand_beside_ours(summarised):
    """Whatever the dimension and time: the published ones name neither."""
    rows = summarised[0]
    german = rows[(rows["problem_settings"] == settings("german")) & (rows["label"] == "svgd")]
    assert set(german["published_median"]) == {0.65, -0.6}
    assert len(german) == 4
    assert rows.loc[rows["label"] == "mala", "published_median"].isna().all()
    assert rows.loc[rows["problem_settings"] == settings("breast-cancer"), "published_median"].isna().all()


def test_figures_of_methods_that_were_not_run_get_lines_of_their_own(summarised):
    others = summarised[1]
    assert set(others["label"]) == {"icnn-jko"}
    banana = others[(others["problem_settings"] == settings("banana")) & (others["metric"] == "accuracy")]
    assert banana[["size", "t", "median"]].to_numpy().tolist() == [[3, 5, 0.56132], [3, 10, 0.56132]]
    assert settings("breast-cancer") not in set(others["problem_settings"])


def test_one_table_of_all_data_sets(summarised):
    accuracy, log_predictive = side_by_side(*summarised)
    assert (accuracy["metric"], log_predictive["metric"]) == ("accuracy", "log-predictive")
    assert accuracy["columns"] == ["oracle", "mala", "svgd", "initial"]
    assert accuracy["published_columns"] == ["icnn-jko"]
    lines = {line["label"]: line for line in accuracy["lines"]}
    assert list(lines) == ["data=german", "data=banana", "data=breast-cancer"]
    german = lines["data=german"]
    assert german["note"] == "D = 25, t = 10"
    assert [cell["median"] for cell in german["cells"]] == ["0.686", "0.681", "0.661", "0.501"]
    assert [cell["published"] for cell in german["cells"]] == ["", "", "0.650", ""]
    assert [cell["leads"] for cell in german["cells"]] == [False, False, False, False]  # not proper
    assert german["published"] == ["0.670"]
    assert lines["data=breast-cancer"]["published"] == ["–"]
    assert lines["data=banana"]["published"] == ["0.561"]


def test_without_published_figures_there_is_no_such_table(frame, realistic):
    theirs = published.load()
    other = frame[frame["problem_settings"] == settings("breast-cancer")]
    for each in (other, realistic):
        rows = summary.summarise(each, theirs)
        assert side_by_side(rows, summary.unmatched(rows, theirs), theirs) == []
    assert 'id="side-by-side"' not in page.page(other)


def test_the_page_shows_both(frame):
    text = page.page(frame)
    section = text[text.index('id="side-by-side"') : text.index('id="problem-0"')]
    assert section.count("<table") == 2
    assert 'href="#side-by-side"' in text
    cells = re.findall(r'<span class="value">0\.661 .*?</span>.*?publ\. 0\.650', section)
    assert len(cells) == 1
    german = text[text.index('id="problem-0"') : text.index('id="problem-1"')]
    assert "publ. 0.650" in german
    assert re.search(r'<tr class="published"><th scope="row">icnn-jko', german)


def test_the_terminal_shows_both(frame):
    block = next(tables.blocks(frame, ["accuracy"]))
    assert block.title.startswith("logistic-regression · data=german")
    row = block.rows[(block.rows["solver"] == "svgd") & (block.rows["t"] == "10")].iloc[0]
    assert (row["median"], row["published"]) == ("0.661", "0.650")
