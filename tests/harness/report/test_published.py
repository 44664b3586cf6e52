import json
from pathlib import Path

import pandas as pd
import pytest

from harness.report import published


def test_every_method_has_a_counterpart_here():
    frame = published.load()
    assert frame[["problem", "method", "solver", "label", "metric", "median", "source"]].notna().all().all()
    assert set(frame["problem"]) == {
        "ornstein-uhlenbeck",
        "gaussian-mixture",
        "nonlinear-filtering",
        "logistic-regression",
        "porous-medium",
    }


@pytest.mark.parametrize(
    ("method", "label", "settings", "metric"),
    [
        ("EM_sim_1000", "euler-maruyama particles=1000", {"particles": 1000, "step_size": 0.001}, "symkl-published"),
        (
            "EM_ProxRec_400",
            "proximal-recursion particles=400",
            {"particles": 400, "step_size": 1e-3, "regularisation": 0.05},
            "symkl-published",
        ),
        ("variational", "primal-dual-jko", {}, "symkl"),
        ("bbf_50000", "bootstrap-filter particles=50000", {"particles": 50000}, "symkl"),
        ("ICNN_jko", "icnn-jko", {}, "symkl"),
        ("dual_jko", "dual-jko reference=published", {"reference": "published", "step_size": 0.1}, "symkl-published"),
    ],
)
def test_counterparts(method, label, settings, metric):
    other = published.counterpart(method)
    assert (other.label, other.settings, other.metric) == (label, settings, metric)


def test_dual_jko_was_normalised_with_the_truth_but_in_filtering_by_quadrature():
    frame = published.load()
    metrics = frame[frame["method"] == "dual_jko"].groupby("problem")["metric"].unique()
    assert {problem: list(found) for problem, found in metrics.items()} == {
        "nonlinear-filtering": ["symkl"],
        "ornstein-uhlenbeck": ["symkl-published"],
    }


def test_unknown_method():
    with pytest.raises(ValueError, match="no published method 'EM_sim'"):
        published.counterpart("EM_sim")


def test_figures_of_known_rows():
    frame = published.load().set_index(["problem", "method", "size", "t"]).sort_index()
    row = frame.loc[("ornstein-uhlenbeck", "EM_ProxRec_1000", 1, 0.1)].squeeze()
    assert (row["median"], row["q25"], row["q75"], row["runs"], row["seconds"]) == (
        0.00797622,
        0.00661718,
        0.0112071,
        15,
        23.41,
    )
    row = frame.loc[("nonlinear-filtering", "bbf_50000", 1, 5.0)].squeeze()
    assert (row["median"], row["seconds"]) == (0.00426188, 15.9204)
    row = frame.loc[("gaussian-mixture", "ICNN_jko", 2, 4.0)].squeeze()
    assert row["median"] == 0.0557961


def test_figures_of_the_second_paper_have_its_name_and_say_what_was_read_off_a_plot():
    frame = published.load()
    theirs = frame[frame["source"].str.startswith(published.FAN)].set_index(["problem", "size"])
    printed = theirs.loc[("ornstein-uhlenbeck", 2)].squeeze()
    assert (printed["metric"], printed["t"], printed["runs"], printed["source"]) == (
        "symkl-gaussian",
        0.9,
        15,
        "published (Fan et al. 2022)",
    )
    assert printed["median"] == pytest.approx(10**-3.34)
    read = theirs.loc[("porous-medium", 6)].squeeze()
    assert (read["median"], read["t"], read["metric"]) == (3.65, 0.001, "free-energy")
    assert theirs.loc["gaussian-mixture"]["t"].isna().all()
    assert theirs["source"].str.endswith("read off a plot").sum() == 8
    assert set(frame.loc[~frame.index.isin(frame.index[-14:]), "source"]) == {published.SOURCE}


def test_the_two_papers_are_kept_apart():
    frame = published.load()
    instance = {"instance": "fan2022", "inverse_temperature": 1.0, "truth": "stationary"}
    for problem, count in (("ornstein-uhlenbeck", 6), ("gaussian-mixture", 6)):
        theirs = published.comparable(frame, problem, json.dumps(instance))
        assert len(theirs) == count
        assert theirs["source"].str.startswith(published.FAN).all()
    assert published.comparable(frame, "porous-medium", json.dumps({"instance": "fan2022"})).empty


def test_sources_in_words():
    first = pd.Series([published.SOURCE, None])
    second = pd.Series([published.FAN + published.READ_OFF, published.FAN])
    assert published.sources(first, second) == "published (Mokrov et al. 2021); published (Fan et al. 2022)"
    assert published.sources(pd.Series([None])) == published.SOURCE
    assert published.marked("0.32", second[0]) == "~0.32"
    assert published.marked("0.32", published.FAN) == "0.32"


def test_released_runs_go_before_the_printed_table():
    frame = published.load()
    german = frame[frame["problem_settings"] == json.dumps({"data": "german", **published.RELEASED_MODEL})]
    accuracy = german[german["metric"] == "accuracy"].set_index("method")["median"]
    assert accuracy.to_dict() == {"ICNN_jko": 0.67, "SVGD": 0.65}
    log = german[german["metric"] == "log-predictive"].set_index("method")["median"]
    assert log["ICNN_jko"] == -0.59861


def test_only_the_published_instances_are_comparable():
    frame = published.load()
    settings = {"instance": "mokrov2021", "inverse_temperature": 1.0, "times": [0.5]}
    assert len(published.comparable(frame, "ornstein-uhlenbeck", json.dumps(settings))) == 960
    for other in (settings | {"instance": "random"}, {"times": [0.5]}):
        assert published.comparable(frame, "ornstein-uhlenbeck", json.dumps(other)).empty
    assert published.comparable(frame, "logistic-regression", json.dumps({"data": "breast-cancer"})).empty
    released = {"data": "german", "intercept": False, "prior_shape": 1.0, "prior_rate": 100.0}
    assert len(published.comparable(frame, "logistic-regression", json.dumps(released))) == 4
    for other in ({"prior_rate": 0.01}, {"intercept": True}):
        assert published.comparable(frame, "logistic-regression", json.dumps(released | other)).empty


def test_no_duplicates():
    frame = published.load()
    assert not frame.duplicated(["problem", "problem_settings", "method", "size", "t", "metric"]).any()


def test_copies_are_those_of_the_source():
    source = Path(__file__).parents[3] / "../shared/published"
    if not source.is_dir():
        pytest.skip(f"the source of the copies is not here: {source}")
    for copy in published.FOLDER.glob("*.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(copy), pd.read_csv(source / copy.name))


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ornstein_uhlenbeck_seconds\.csv"):
        published.load(tmp_path)
