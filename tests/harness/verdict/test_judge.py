"""Who is better: paired over instances, above floors, with failures counted, and told to be unknown where it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.errors import UsageError
from harness.verdict.against import against, apart_from, baseline_of, meetings, why_apart, without_floor
from harness.verdict.judge import judge
from seeding import numpy_generator
from sweeps import sweep

FLOOR = np.array([0.0, 0.1, -0.1, 0.05, -0.05])
ABOVE = FLOOR + np.array([1.0, 1.1, 0.9, 1.2, 1.0])
FURTHER = FLOOR + np.array([3.0, 3.4, 2.7, 3.5, 3.1])
EXACT = FLOOR + np.array([0.02, -0.03, 0.01, 0.03, -0.02])


def outcome(frame: pd.DataFrame, label: str, baseline: str) -> str:
    found = meetings(judge(frame), baseline).set_index("label")
    return str(found.loc[label, "outcome"])


def states(frame: pd.DataFrame) -> dict[str, str]:
    return dict(judge(frame).standings.set_index("label")["state"])


def test_states_and_ranks() -> None:
    found = judge(sweep({"exact": EXACT, "near": ABOVE, "far": FURTHER}, FLOOR)).standings.set_index("label")
    assert dict(found["state"]) == {"exact": "at", "near": "above", "far": "above"}
    assert dict(found["rank"]) == {"exact": 1, "near": 2, "far": 3}
    assert list(found.index[found["leads"]]) == ["exact"]
    assert found.loc["near", "excess"] == pytest.approx(1.04, abs=0.02)


def test_below_the_floor_is_no_evidence() -> None:
    below = FLOOR - np.array([1.0, 1.1, 0.9, 1.2, 1.0])
    frame = sweep({"below": below, "exact": EXACT, "near": ABOVE}, FLOOR)
    assert states(frame)["below"] == "below"
    assert outcome(frame, "below", "exact") == "tie"
    assert outcome(frame, "below", "near") == "tie"
    standings = judge(frame).standings.set_index("label")
    assert not standings.loc["below", "leads"]
    assert np.isnan(standings.loc["below", "rank"])
    assert standings.loc["exact", "rank"] == 1


def test_below_the_floor_comes_first_against_nobody() -> None:
    """Of solvers that win and lose as often, whose factor would be the least."""
    below = FLOOR - np.array([1.0, 1.1, 0.9, 1.2, 1.0])
    judged = judge(sweep({"exact": EXACT, "below": below, "also exact": EXACT[::-1]}, FLOOR))
    assert list(against(judged, "exact")["label"]) == ["also exact", "below"]


def test_no_win_over_what_is_at_its_floor() -> None:
    lower = EXACT - 0.2 + np.array([0.01, -0.01, 0.0, 0.01, -0.01])
    frame = sweep({"lower": lower, "exact": EXACT}, FLOOR, standard_error=0.0, floor_standard_error=0.0)
    assert outcome(frame, "lower", "exact") == "tie"


def test_figures_of_no_proper_measure_decide_nothing() -> None:
    frame = sweep({"one": ABOVE, "other": FURTHER}, FLOOR, decides=0)
    judged = judge(frame)
    assert judged.pairs.empty
    assert list(judged.standings["state"]) == ["none", "none"]
    assert list(apart_from(judged, "one")) == ["other"]
    assert why_apart(judged, "one", "other") == "no measure that decides in common"


def test_why_nothing_decides() -> None:
    def why(one: dict[str, object], other: dict[str, object], floor: object = FLOOR) -> str:
        frame = pd.concat([sweep({"one": ABOVE}, FLOOR, **one), sweep({"other": FURTHER}, floor, **other)])
        judged = judge(frame.reset_index(drop=True))
        assert list(apart_from(judged, "one")) == ["other"]
        return why_apart(judged, "one", "other")

    assert why({}, {"problem": "another"}) == "no problem in common"
    assert why({}, {"metric": "w2"}) == "no measure that decides in common"
    assert why({}, {}, np.nan) == "exact draws are beside one of them alone"
    halves = FLOOR.copy(), FLOOR.copy()
    halves[0][2:], halves[1][:2] = np.nan, np.nan
    frame = pd.concat([sweep({"one": ABOVE}, halves[0]), sweep({"other": FURTHER}, halves[1])])
    judged = judge(frame.reset_index(drop=True))
    assert why_apart(judged, "one", "other") == "no instance in common that has exact draws beside it"


def test_old_stores_are_judged_by_estimators() -> None:
    kernel = {"metric": "symkl", "decides": pd.NA, "estimator": "Scott KDE by quadrature on 512 cells"}
    assert judge(sweep({"one": ABOVE, "other": FURTHER}, FLOOR, **kernel)).pairs.empty
    density = kernel | {"estimator": "J, 8192 draws a side"}
    assert outcome(sweep({"one": ABOVE, "other": FURTHER}, FLOOR, **density), "one", "other") == "better"


def test_kinds_of_answers_meet_in_the_measure_that_both_have() -> None:
    particles = sweep({"particles": FURTHER}, FLOOR, decides=2)
    density = [
        sweep({"density": ABOVE / 100}, 0.0, metric="symkl", standard_error=1e-4, floor_standard_error=0.0),
        sweep({"density": ABOVE}, FLOOR, decides=2),
    ]
    judged = judge(pd.concat([particles, *density], ignore_index=True))
    (row,) = meetings(judged, "particles").to_dict("records")
    assert (row["metric"], row["outcome"]) == ("energy-distance", "better")
    assert judged.standings.set_index("label").loc["density", "metric"] == "symkl"


def test_one_instance_cannot_tell() -> None:
    frame = sweep({"one": ABOVE[:1], "other": FURTHER[:1]}, FLOOR[:1])
    assert outcome(frame, "one", "other") == "cannot tell"
    assert states(frame) == {"one": "", "other": ""}
    assert judge(frame).standings["rank"].isna().all()


def test_the_same_figures_are_no_comparison() -> None:
    frame = sweep({"one": ABOVE, "same": ABOVE + 1e-12}, FLOOR)
    assert outcome(frame, "one", "same") == "same"
    assert judge(frame).pairs["same"].all()


def test_failed_runs_count_against_a_solver() -> None:
    nan = np.nan
    never = sweep({"fails": [nan] * 5, "near": ABOVE}, FLOOR)
    assert outcome(never, "fails", "near") == "worse"
    at_times = sweep({"fails": np.where(np.arange(5) < 2, nan, EXACT), "near": ABOVE}, FLOOR)
    assert outcome(at_times, "fails", "near") == "tie"
    found = judge(at_times).standings.set_index("label").loc["fails"]
    assert (found["answered"], found["asked"]) == (3, 5)


def test_a_solver_is_beaten_that_fails_on_most_and_is_exact_on_the_rest() -> None:
    floor = np.tile(FLOOR, 2)[:8]
    fails = np.where(np.arange(8) < 6, np.nan, floor + 0.01 * np.arange(8))
    frame = sweep({"fails": fails, "whole": floor + 0.01 * np.arange(8)[::-1]}, floor)
    assert outcome(frame, "whole", "fails") == "better"
    few = frame.assign(status="ok", metric="energy-distance", value=frame["value"].fillna(frame["floor"]))
    assert outcome(few, "whole", "fails") == "tie"


def test_seconds_are_paired_over_what_both_answered() -> None:
    """One that runs out of time on the hard instances is as fast as the other, not cheaper."""
    seconds = np.array([1.0, 1.0, 50.0, 60.0, 70.0])
    frame = sweep({"hasty": np.where(np.arange(5) < 2, ABOVE, np.nan), "near": ABOVE}, FLOOR)
    frame["solve_seconds"] = np.tile(seconds, 2)
    judged = judge(frame)
    assert meetings(judged, "near")["seconds"].item() == 1.0
    assert meetings(judged, "hasty")["seconds"].item() == 1.0
    never = sweep({"never": [np.nan] * 5, "near": ABOVE}, FLOOR)
    assert np.isnan(meetings(judge(never), "near")["seconds"].item())


def test_infinite_figures_are_the_furthest() -> None:
    assert outcome(sweep({"infinite": np.full(5, np.inf), "far": FURTHER}, FLOOR), "infinite", "far") == "worse"
    both = sweep({"infinite": np.full(5, np.inf), "too": np.full(5, np.inf)}, FLOOR)
    assert outcome(both, "infinite", "too") == "same"


def test_ratios_decide_far_above_the_floor_whatever_the_instance() -> None:
    scale = np.array([1e-6, 1e-4, 1e-2, 1.0, 1e2])
    frame = sweep({"one": 2.2 * scale, "other": scale}, 0.0, standard_error=0.0, floor_standard_error=0.0)
    (row,) = against(judge(frame), "other").to_dict("records")
    assert row["losses"] == 1
    assert row["factor"] == pytest.approx(2.2, rel=1e-3)


def test_higher_is_better_where_the_measure_says_so() -> None:
    frame = sweep({"one": -ABOVE, "other": -FURTHER}, np.nan, metric="elbo")
    assert outcome(frame, "one", "other") == "better"


def test_without_exact_draws_figures_are_compared_as_they_are() -> None:
    frame = sweep({"one": ABOVE, "other": FURTHER}, np.nan)
    judged = judge(frame)
    assert outcome(frame, "one", "other") == "better"
    assert len(without_floor(judged)) == 1
    assert set(judged.standings["state"]) == {""}


def test_the_last_time_decides() -> None:
    early, late = sweep({"one": ABOVE, "other": FURTHER}, FLOOR, t=0.5), sweep({"one": FURTHER, "other": ABOVE}, FLOOR)
    assert outcome(pd.concat([early, late], ignore_index=True), "one", "other") == "worse"


def test_comparisons_are_corrected_for_their_number() -> None:
    rng = numpy_generator(3)
    one = rng.standard_normal((60, 3)) * 0.1 + 1
    frames = [
        sweep({"a": one[place], "b": rng.standard_normal(3) * 0.1 + 1}, 0.0, standard_error=0.0, size=place + 1)
        for place in range(60)
    ]
    found = meetings(judge(pd.concat(frames, ignore_index=True)), "a")
    assert (found["adjusted"] >= 0.05).all()
    assert set(found["outcome"]) == {"tie"}


def test_baselines_are_found_by_label_or_solver() -> None:
    judged = judge(sweep({"em particles=1": ABOVE, "em particles=2": FURTHER, "jko": EXACT}, FLOOR))
    assert baseline_of(judged, "jko") == "jko"
    assert baseline_of(judged, "em particles=2") == "em particles=2"
    assert baseline_of(judged, None) == "em particles=1"
    with pytest.raises(UsageError, match="means 2 solvers: name one of 'em particles=1', 'em particles=2'"):
        baseline_of(judged, "em")
    with pytest.raises(UsageError, match="unknown baseline 'jkoo'; did you mean 'jko'"):
        baseline_of(judged, "jkoo")
    with pytest.raises(UsageError, match="'oracle' is a bound"):
        baseline_of(judged, "oracle")


def test_seeds_that_would_do() -> None:
    frame = sweep({"one": [1.0, 1.6, 0.7], "other": [1.5, 1.2, 1.6]}, 0.0, standard_error=0.0)
    (row,) = meetings(judge(frame), "other").to_dict("records")
    assert row["outcome"] == "tie"
    assert 3 < row["seeds_needed"] < 50
