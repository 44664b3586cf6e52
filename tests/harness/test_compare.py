"""Two stores side by side: changes beyond their errors are flagged at the rate that is stated, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from false_alarms import is_share, repetitions
from harness.catalogue import catalogue
from harness.compare import compare_figures, compare_statuses, of_two_solvers, print_comparison
from harness.errors import UsageError
from harness.outcome import Measurement, Outcome
from harness.plan import Selection, plan
from harness.provenance import provenance
from harness.store import Store
from harness.suite import Suite
from seeding import numpy_generator


def frame(values: Any, errors: Any = 0.0, **columns: Any) -> pd.DataFrame:
    """Return a frame of one solver with a figure for each seed."""
    values = np.asarray(values, dtype=float)
    base = {
        "problem": "well", "problem_settings": "{}", "solver": "em", "solver_settings": "{}", "label": "em",
        "device": "cpu", "size": 1, "t": 0.5, "metric": "symkl", "status": "ok", "finished": "2025-01-01",
        "solve_seconds": 1.0,
    }  # fmt: skip
    return pd.DataFrame({"seed": np.arange(len(values)), "value": values, "standard_error": errors, **(base | columns)})


def row(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    (found,) = compare_figures(before, after).to_dict("records")
    return {str(key): value for key, value in found.items()}


def test_medians_differences_and_seconds() -> None:
    before = frame([1.0, 2.0, 4.0], solve_seconds=[1.0, 2.0, 3.0])
    after = frame([1.5, 3.0, 6.0], solve_seconds=[5.0, 4.0, 3.0])
    found = row(before, after)
    assert (found["before"], found["after"], found["difference"], found["seeds"]) == (2.0, 3.0, 1.0, 3)
    assert found["seconds_ratio"] == pytest.approx((5 * 2 * 1) ** (1 / 3))
    half = 4.302653 * np.log([5.0, 2.0, 1.0]).std(ddof=1) / np.sqrt(3)
    limits = found["seconds_ratio"] * np.exp([-half, half])
    assert [found["seconds_low"], found["seconds_high"]] == pytest.approx(list(limits))
    assert found["change"] == "worse"
    assert row(before, after.assign(value=before["value"] + 0.5))["half_width"] == 0.0


def test_direction_is_that_of_the_measure() -> None:
    for metric, change in (
        ("symkl", "better"),
        ("elbo", "worse"),
        ("accuracy", "changed"),
        ("log-predictive", "changed"),
    ):
        assert row(frame([2.0] * 3, metric=metric), frame([1.0] * 3, metric=metric))["change"] == change
        assert row(frame([2.0] * 3, metric=metric), frame([2.0] * 3, metric=metric))["change"] == "same"


def test_stored_errors_and_spread_over_seeds_both_count() -> None:
    assert row(frame([1.0], 0.4), frame([2.0], 0.3))["half_width"] == pytest.approx(1.959964 * 0.5)
    assert row(frame([1.0], 0.4), frame([2.0], 0.3))["change"] == "cannot tell"
    stated = row(frame([1.0] * 4, 0.3), frame([1.1] * 4, 0.4))
    assert stated["standard_error"] == pytest.approx(np.sqrt(np.pi / 2) * 0.5 / 2)
    differences = np.array([0.1, 0.2, 0.3, 0.4])
    spread = row(frame(np.zeros(4)), frame(differences))
    assert spread["standard_error"] == pytest.approx(np.sqrt(np.pi / 2) * differences.std(ddof=1) / 2)
    assert spread["half_width"] == pytest.approx(3.182446 * spread["standard_error"])


def test_rounding_is_no_change() -> None:
    assert row(frame([1.0, 3.0]), frame([1.0 + 1e-12, 3.0 + 1e-12]))["change"] == "same"
    # What is zero but for rounding, as of exact answers, and what is the small difference of large terms.
    assert row(frame([1e-31, 2e-31, 2e-31]), frame([5e-16, 5e-16, 5e-16]))["change"] == "same"
    assert row(frame([1e-3]), frame([1e-3 + 1e-11]))["change"] == "same"
    assert row(frame([1e3]), frame([1e3 + 1e-8]))["change"] == "same"
    assert row(frame([1e3] * 2), frame([1e3 + 1e-6] * 2))["change"] == "worse"
    assert row(frame([1e-9] * 2), frame([2e-9] * 2))["change"] == "worse"


def test_infinite_figures_decide() -> None:
    inf = np.inf
    assert row(frame([1.0, 2.0, 3.0]), frame([1.0, 2.0, inf]))["change"] == "worse"
    assert row(frame([inf, inf, 3.0]), frame([inf, 2.0, 3.0]))["change"] == "better"
    assert row(frame([inf, inf]), frame([inf, inf]))["change"] == "same"
    assert row(frame([1.0, inf]), frame([inf, 1.0]))["change"] == "same"
    assert row(frame([1.0], np.inf), frame([2.0]))["change"] == "cannot tell"


def failing(values: Any, **columns: Any) -> pd.DataFrame:
    """Return a frame in which a figure of NaN is a run that failed."""
    found = frame(values, **columns)
    lost = found["value"].isna()
    return found.assign(
        status=np.where(lost, "diverged", "ok"), t=found["t"].mask(lost), metric=found["metric"].mask(lost)
    )


NOT = np.nan
SCATTER = np.array([0.0, 0.02, -0.01, 0.01, 0.03, -0.02, 0.015, -0.005])


def test_a_run_that_failed_is_further_from_the_truth_than_any_that_answered() -> None:
    """Fewer answers are no gain, however good: nobody gets better by answering the easy seeds alone."""
    before = failing(2.0 + SCATTER)
    fewer = 1.0 + SCATTER
    fewer[[2, 4, 6]] = NOT
    found = row(before, failing(fewer))
    assert (found["change"], found["seeds"]) == ("cannot tell", 8)
    assert (found["answered_before"], found["answered_after"]) == (8, 5)
    assert found["difference"] == pytest.approx(-1.0)  # of the five that both answered
    assert row(failing(fewer), before)["change"] == "cannot tell"
    fewer[[0, 1, 3]] = NOT
    assert row(before, failing(fewer))["change"] == "worse"
    assert row(failing(fewer), before)["change"] == "better"


def test_failures_do_not_hide_what_the_answers_tell_the_same_way() -> None:
    after = 2.0 + SCATTER
    after[7] = NOT
    found = row(failing(1.0 + SCATTER), failing(after))
    assert (found["change"], found["answered_after"]) == ("worse", 7)
    assert row(failing(after), failing(1.0 + SCATTER))["change"] == "better"


def test_a_solver_that_fails_everywhere_on_one_side_has_its_rows() -> None:
    """By any measure: of no answer at all none is asked whether it is proper."""
    nowhere = failing([NOT] * 3)
    for metric in ("symkl", "accuracy", "bures-w2"):
        answered = failing([1.0, 1.1, 1.2], metric=metric)
        worse, better = row(answered, nowhere), row(nowhere, answered)
        assert (worse["t"], worse["metric"], worse["before"]) == (0.5, metric, 1.1)
        assert np.isnan([worse["after"], worse["difference"], worse["seconds_ratio"]]).all()
        assert (worse["change"], worse["answered_after"], better["change"]) == ("worse", 0, "better")
    assert row(failing([1.0]), failing([NOT]))["change"] == "cannot tell"
    assert compare_figures(nowhere, nowhere).empty


def test_where_both_failed_neither_is_further_and_what_was_skipped_does_not_count() -> None:
    before, after = failing([1.0, 2.0, NOT, NOT]), failing([1.0, 2.0, NOT, NOT])
    found = row(before, after)
    assert (found["change"], found["seeds"], found["answered_after"]) == ("same", 4, 2)
    skipped = after.assign(status=after["status"].replace("diverged", "skipped"))
    found = row(failing([1.0, 2.0, 3.0, 4.0]), skipped)
    assert (found["change"], found["seeds"], found["answered_before"]) == ("same", 2, 2)


def test_a_cell_that_failed_when_it_last_ran_has_no_figure_of_before() -> None:
    runs = [failing([1.0, 1.0]), failing([NOT, 1.0], finished="2025-02-01")]
    assert row(failing([1.0, 1.0]), pd.concat(runs))["answered_after"] == 1
    assert row(failing([1.0, 1.0]), pd.concat(runs[::-1]))["answered_after"] == 1


@pytest.mark.parametrize("share", [0.1, 0.4])
@repetitions(1000, 20_000)
def test_runs_that_fail_by_chance_raise_no_more_false_alarms(share: float, repetitions: int) -> None:
    """Eight seeds, both sides of the same law of figures and of failures: a change is called in at most 5.5 %."""
    rng = numpy_generator(20250302)
    names = np.repeat([f"well {number}" for number in range(repetitions)], 8)
    sides = []
    for _ in range(2):
        values = rng.standard_normal(repetitions * 8)
        values[rng.random(repetitions * 8) < share] = NOT
        sides.append(failing(values, standard_error=0.1).assign(problem=names, seed=np.tile(np.arange(8), repetitions)))
    called = compare_figures(*sides)["change"].isin(["better", "worse", "changed"])
    assert is_share(int(called.sum()), repetitions, 0.0, 0.055)


def test_seconds_are_of_seeds_that_both_answered_and_say_when_they_are_noisy() -> None:
    before = failing([1.0, 1.0, NOT], solve_seconds=[1.0, 1.0, 60.0])
    after = failing([1.0, 1.0, 1.0], solve_seconds=[2.0, 2.0, 60.0])
    found = row(before, after)
    assert (found["seconds_ratio"], found["noisy"]) == (pytest.approx(2.0), False)
    assert row(before, after.assign(beside=1))["noisy"]
    assert row(before.assign(solve_seconds=0.01), after)["noisy"]


@pytest.mark.parametrize("seeds", [2, 3, 5, 15])
@repetitions(1000, 20_000)
def test_false_alarms_are_at_most_as_rare_as_stated(seeds: int, repetitions: int) -> None:
    """Normal differences of mean 0: a change is called in at most 5 % of cases, and in no fewer than 0.5 %."""
    rng = numpy_generator(20250301)
    names = np.repeat([f"well {number}" for number in range(repetitions)], seeds)
    shared = {"problem": names, "seed": np.tile(np.arange(seeds), repetitions), "standard_error": 0.1}
    before, after = (frame(rng.standard_normal(repetitions * seeds)).assign(**shared) for _ in range(2))
    called = int(compare_figures(before, after)["change"].ne("same").sum())
    assert is_share(called, repetitions, 0.005, 0.05)


def test_a_change_of_four_standard_errors_is_found() -> None:
    rng = numpy_generator(7)
    before = frame(rng.standard_normal(15))
    after = before.assign(value=before["value"] + 1.3 + rng.standard_normal(15))
    assert row(before, after)["change"] == "worse"


def test_cells_match_by_what_they_are_not_by_label_key_or_plan() -> None:
    before = frame([1.0, 2.0]).assign(label="old name", key="a", suite="one")
    after = frame([1.0, 2.0]).assign(label="new name", key="b", suite="two")
    found = row(before, after)
    assert (found["label"], found["seeds"], found["change"]) == ("new name", 2, "same")
    assert compare_figures(before, after.assign(solver_settings='{"h": 1}')).empty
    assert compare_figures(before, after.assign(problem_settings='{"h": 1}')).empty
    assert compare_figures(before, after.assign(device="cuda")).empty
    assert compare_figures(before, after.assign(t=0.9)).empty


def test_the_cell_that_ended_last_counts() -> None:
    older, newer = frame([1.0]), frame([5.0], finished="2025-02-01")
    assert row(frame([1.0]), pd.concat([newer, older]))["after"] == 5.0


def test_seeds_in_common_are_compared() -> None:
    found = row(frame([1.0, 2.0, 3.0]), frame([1.0, 2.0, 3.0]).query("seed > 0"))
    assert (found["before"], found["seeds"]) == (2.5, 2)


def test_statuses() -> None:
    before = frame([1.0, 2.0, 3.0, 4.0]).assign(status=["ok", "ok", "error", "planned"])
    after = frame([1.0, 2.0, 3.0, 4.0, 5.0]).assign(status=["ok", "timeout", "ok", "ok", "ok"])
    found = compare_statuses(before, after).set_index("seed")
    assert found["where"].to_dict() == {0: "both", 1: "both", 2: "both", 3: "after", 4: "after"}
    assert (found.loc[1, "before"], found.loc[1, "after"]) == ("ok", "timeout")
    assert (found.loc[2, "before"], found.loc[2, "after"]) == ("error", "ok")
    swapped = compare_statuses(after, before).set_index("seed")
    assert swapped["where"].to_dict() == {0: "both", 1: "both", 2: "both", 3: "before", 4: "before"}


def write_store(path: Path, plugin: Path, values: list[float], seeds: int = 3, solver: str = "shifted") -> Path:
    suite = Suite.model_validate(
        {"title": "test", "seeds": seeds, "problems": [{"use": "standing"}], "solvers": [{"use": solver}]}
    )
    cells = plan(suite, Selection(), catalogue([plugin]))
    with Store(path) as store:
        store.record_plan("test", "", cells, "wgfbench run test")
        run = store.begin("test", "", provenance(1))
        for cell in cells:
            value = values[cell.seed] if cell.solver.name == solver else 1.0
            outcome = Outcome(
                "ok", measurements=(Measurement(1.0, "symkl", value, 0.001, "test", None),), solve_seconds=2.0
            )
            if np.isnan(value):
                outcome = Outcome("error", "no answer")
            store.record(cell, outcome, run, 0)
    return path


def test_two_stores_are_printed(tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_store(tmp_path / "before.sqlite", plugin, [1.04, 1.06, 1.2, 1.3], seeds=4)
    after = write_store(tmp_path / "after.sqlite", plugin, [1.54, 1.56, np.nan])
    print_comparison(before, after)
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if "shifted" in line and "symkl" in line)
    assert line.split()[:7] == ["standing", "1", "shifted", "1", "symkl", "1.05", "1.55"]
    assert "3/3 → 2/3" in line
    assert "worse" in line
    assert "× 1.0 [1.0, 1.0]" in line
    assert "failed after: 1 runs" in out
    assert "1 cells ended otherwise" in out
    assert "3 cells are only in" in out
    assert "0 better, 1 worse, 2 same at 95%" in out


def test_stores_without_a_common_cell_are_refused(tmp_path: Path, plugin: Path) -> None:
    before = write_store(tmp_path / "before.sqlite", plugin, [1.0, 1.0, 1.0])
    empty = tmp_path / "empty.sqlite"
    with Store(empty):
        pass
    with pytest.raises(UsageError, match="have no cell in common"):
        print_comparison(before, empty)
    with pytest.raises(UsageError, match="there is no store"):
        print_comparison(before, tmp_path / "absent.sqlite")


def test_two_solvers_are_those_that_are_named() -> None:
    """Labels may hold commas; one that presets have with other settings is several, and is never pooled."""
    quick = frame([1.0, 1.0], label="q", solver_settings='{"h": 1}', preset="quick", key=["a", "b"])
    paper = frame([3.0, 3.0], label="q", solver_settings='{"h": 2}', preset="paper", key=["c", "d"])
    other = frame([2.0, 2.0], label="x, y", solver="other", preset="paper", key=["e", "f"])
    store = pd.concat([quick, paper, other], ignore_index=True)
    with pytest.raises(UsageError, match="solver 'q' means 2: name one of 'q · h=1', 'q · h=2'"):
        of_two_solvers(store, store, "q,x, y")
    for name, value in (("q · h=1", 1.0), ("q · h=2", 3.0)):
        before, after, names = of_two_solvers(store, store, f"x, y,{name}")
        assert names == ("x, y", name)
        assert (set(before["value"]), set(after["value"])) == ({2.0}, {value})
    # A label that both presets have with the same settings is one solver.
    twice = pd.concat([quick, quick.assign(preset="paper"), other], ignore_index=True)
    assert of_two_solvers(twice, twice, "q,other")[2] == ("q", "other")
    with pytest.raises(UsageError, match="two solvers are compared, got 1: x, y"):
        of_two_solvers(store, store, "x, y")
