"""The verdict in words: a row a solver, a column a problem, all against a baseline, and a sentence to quote."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.errors import UsageError
from harness.report.page import page
from harness.report.verdict import verdict
from harness.report.verdict_printed import print_verdict
from sweeps import sweep

FLOOR = np.array([0.0, 0.1, -0.1, 0.05, -0.05])
NEAR = FLOOR + np.array([1.0, 1.1, 0.9, 1.2, 1.0])
FAR = FLOOR + np.array([3.0, 3.4, 2.7, 3.5, 3.1])
EXACT = FLOOR + np.array([0.02, -0.03, 0.01, 0.03, -0.02])
ALIKE = np.array([0.3, 0.2, -0.1, 0.25, -0.15])
BELOW = FLOOR - np.array([1.0, 1.1, 0.9, 1.2, 1.0])


def problems(solvers, count=2, **columns):
    return pd.concat([sweep(solvers, FLOOR, size=size + 1, **columns) for size in range(count)], ignore_index=True)


def test_the_sentence_can_be_quoted():
    found = verdict(problems({"base": FAR, "mine": NEAR, "bad": 3 * FAR}), "base")
    assert found.sentence.startswith("mine is better than base on 2 of 2 problems (excess × 0.3")
    assert found.sentence.endswith("paired over 5 instances at a false discovery rate of 5%; 1 worse.")
    assert found.baseline == "base"
    assert [row[:4] for row in found.against] == [("mine", "2", "0", "0"), ("bad", "0", "0", "2")]


def test_nobody_is_better():
    found = verdict(problems({"base": NEAR, "bad": FAR}), "base")
    assert found.sentence.startswith("No solver is told better than base, paired over 5 instances")


def test_one_seed_cannot_tell():
    found = verdict(sweep({"base": NEAR[:1], "mine": FAR[:1]}, FLOOR[:1]))
    assert "cannot be told" in found.sentence
    assert found.against[0][-1] == "cannot tell: 1 seed, three or more would do"


def test_states_have_words_and_below_is_no_win():
    found = verdict(problems({"below": BELOW, "exact": EXACT, "far": FAR}, 1), "exact")
    entries = {label: entry for label, (entry,) in found.rows}
    assert [entries[label].state for label in ("below", "exact", "far")] == ["BELOW", "at floor", "above"]
    assert [entries[label].leads for label in ("below", "exact", "far")] == [False, True, False]
    assert any(
        note.startswith("below exact draws in energy-distance, no evidence for it: below") for note in found.notes
    )


def test_what_cannot_be_judged_is_said():
    without = verdict(sweep({"base": NEAR, "mine": FAR}, np.nan))
    assert any("no exact draws beside well D = 1" in note for note in without.notes)
    mute = verdict(sweep({"base": NEAR, "mine": FAR}, FLOOR, metric="mine", decides=0))
    assert any("no measure that decides was taken on well D = 1" in note for note in mute.notes)
    assert mute.sentence.startswith("Nothing can be said")
    with pytest.raises(UsageError, match="unknown baseline 'bse'; did you mean 'base'"):
        verdict(sweep({"base": NEAR, "mine": FAR}, FLOOR), "bse")


def without(frame, label, status, seeds, reason=None):
    """Return the frame with some runs of a solver ended in another status, without figures."""
    gone = frame["label"].eq(label) & frame["seed"].isin(seeds)
    frame = frame.assign(reason=None, metric=frame["metric"].astype(object))
    frame.loc[gone, ["status", "reason"]] = status, reason
    frame.loc[gone, ["t", "value", "floor", "solve_seconds"]] = np.nan
    frame.loc[gone, "metric"] = None
    return frame


def test_the_sentence_hides_no_loss_and_its_factor_is_of_answers():
    """Better on two problems, no answer on the third; from the other side better on one, worse on two."""
    lost = {"base": FAR, "mine": np.full(5, np.nan)}
    frame = pd.concat([problems({"base": FAR, "mine": NEAR}), sweep(lost, FLOOR, size=3)], ignore_index=True)
    frame.loc[frame["label"].eq("mine"), "solve_seconds"] = 0.5
    found = verdict(frame, "base")
    assert found.sentence.startswith(
        "mine is better than base on 2 of 3 problems and worse on 1 (it answered 0 of 5 on well D = 3"
    )
    whole = verdict(problems({"base": FAR, "mine": NEAR}), "base")
    assert found.against[0][4:6] == whole.against[0][4:6] == ("0.33", "[0.33, 0.34]")
    assert "excess × 0.33, 0.33 to 0.34" in found.sentence
    assert "seconds × 0.50; over the 2 problems where both have finite excesses)" in found.sentence
    assert found.against[0][-1] == "factors over 2 of 3 problems, infinite on the rest"
    turned = verdict(frame, "mine")
    assert turned.sentence.startswith(
        "No solver is told better than mine on more problems than it is told worse on: "
        "base is better than mine on 1 of 3 problems and worse on 2 (mine answered 0 of 5 on well D = 3"
    )


def test_a_factor_is_not_made_of_failures():
    some = NEAR.copy()
    some[:3] = np.nan
    found = verdict(sweep({"base": FAR, "mine": some}, FLOOR), "base")
    assert found.against[0][4:7] == ("–", "", "–")
    assert "no factor: infinite" in found.against[0][-1]


def test_others_that_win_here_and_lose_there_are_no_better_ones():
    mixed = [sweep({"base": FAR, "mine": NEAR / 3, "mixed": NEAR}, FLOOR, size=size) for size in (1, 2)]
    mixed.append(sweep({"base": NEAR, "mine": NEAR / 9, "mixed": FAR}, FLOOR, size=3))
    found = verdict(pd.concat(mixed, ignore_index=True), "base")
    assert found.sentence.startswith("mine is better than base on 3 of 3 problems (")
    assert found.sentence.endswith("; 1 more is better on some problems and worse on others.")


def test_a_sweep_that_is_not_finished_says_so_and_sets_nothing_in_bold():
    frame = without(problems({"oracle": FLOOR, "base": FAR, "mine": NEAR}, 1), "mine", "planned", [3, 4])
    found = verdict(frame, "base")
    assert found.notes[0].startswith("2 cells are still to run")
    entries = {label: entry for label, (entry,) in found.rows}
    assert entries["mine"].ok == "3/5, planned 2"
    assert not any(entry.leads for entry in entries.values())
    unfloored = without(sweep({"oracle": FLOOR, "base": FAR, "mine": NEAR}, np.nan), "oracle", "planned", range(5))
    notes = verdict(unfloored, "base").notes
    assert "exact draws beside well D = 1, t = 1 are still to run: until then figures are compared as they are" in notes
    assert not any(note.startswith("no exact draws") for note in notes)


def test_a_figure_without_a_floor_is_no_excess_and_says_so():
    """Exact draws for the particles of one solver are still to run: the other's floor, the exact law, is there."""
    bare = sweep({"base": FAR}, np.nan)
    found = verdict(pd.concat([bare, sweep({"exact": EXACT, "mine": FAR}, FLOOR)], ignore_index=True), "mine")
    entries = {label: entry for label, (entry,) in found.rows}
    assert [entries[label].state for label in ("base", "exact", "mine")] == ["no floor", "at floor", "above"]
    assert "; with 'no floor' the figure itself, since no exact draws are beside it; # rank" in found.legend
    assert "no floor" not in verdict(sweep({"exact": EXACT, "mine": FAR}, FLOOR)).legend
    (one,) = [entry for _, (entry,) in verdict(sweep({"one": FAR[:1]}, FLOOR[:1])).rows]
    assert one.state == ""


def test_nothing_is_bold_beside_a_solver_of_one_seed():
    new = sweep({"new": EXACT[:1]}, FLOOR[:1])
    found = verdict(pd.concat([sweep({"base": FAR, "mine": NEAR}, FLOOR), new], ignore_index=True), "base")
    assert {label: (entry.rank, entry.leads) for label, (entry,) in found.rows} == {
        "base": ("2", False), "mine": ("1", False), "new": ("", False),
    }  # fmt: skip


def test_instances_that_a_solver_declines_are_counted():
    frame = without(problems({"base": FAR, "mine": NEAR}, 1), "mine", "skipped", [3, 4], "too hard")
    found = verdict(frame, "base")
    assert {label: entry.ok for label, (entry,) in found.rows} == {"base": "", "mine": "3/5, skipped 2"}
    assert "(it answered 3 of 5 on well D = 1, t = 1; excess × " in found.sentence
    both = pd.concat([frame, without(sweep({"mine": NEAR}, FLOOR, size=2), "mine", "skipped", range(5))])
    both = pd.concat([both, sweep({"base": FAR}, FLOOR, size=2)], ignore_index=True)
    assert "(it answered 3 of 5 on well D = 1, t = 1, 0 of 5 on well D = 2, t = 1; " in verdict(both, "base").sentence


def test_a_solver_that_was_skipped_everywhere_is_named():
    frame = without(problems({"base": FAR, "mine": NEAR, "idle": NEAR}), "idle", "skipped", range(5), "too hard")
    found = verdict(frame, "base")
    assert "not in the verdict: idle, none of its cells was run (skipped 10); too hard" in found.notes
    with pytest.raises(UsageError, match=r"'idle' cannot be one: none of its cells was run \(skipped 10\); too hard"):
        verdict(frame, "idle")


def test_measures_that_tell_opposite_things_are_named():
    by_kl = sweep({"base": NEAR, "mine": FAR}, FLOOR, metric="kl", decides=1)
    by_draws = sweep({"base": FAR, "mine": NEAR}, FLOOR, decides=2)
    found = verdict(pd.concat([by_kl, by_draws], ignore_index=True), "base")
    assert found.against[0][:4] == ("mine", "0", "1", "0")
    assert found.against[0][-1].startswith("told both ways: kl, energy-distance")
    assert found.sentence.endswith("; 1 told both ways (kl, energy-distance).")


def test_the_measure_that_decided_is_named_where_excesses_are_by_another():
    by_kl = sweep({"base": NEAR, "mine": NEAR + ALIKE}, FLOOR, metric="kl", decides=1)
    by_draws = sweep({"base": NEAR, "mine": FAR}, FLOOR, decides=2)
    found = verdict(pd.concat([by_kl, by_draws], ignore_index=True), "base")
    assert "by kl; # rank, solvers that are told better (also by energy-distance) come before" in found.legend
    assert found.against[0][:4] == ("mine", "0", "0", "1")
    assert found.against[0][-1] == "by energy-distance"


def test_measures_that_reward_what_is_wrong_are_named():
    kernel = {"metric": "symkl", "decides": 0, "estimator": "Scott KDE by quadrature on 9 cells"}
    frame = pd.concat(
        [problems({"narrow": FAR, "exact": EXACT}, 1), problems({"narrow": BELOW, "exact": EXACT}, 1, **kernel)]
    )
    found = verdict(frame.reset_index(drop=True), "exact")
    (note,) = (note for note in found.notes if note.startswith("below exact draws"))
    assert note == "below exact draws in symkl, which decides nothing here and rewards what is wrong: narrow"
    assert [row[:4] for row in found.against] == [("narrow", "0", "0", "1")]


def test_it_is_printed_with_the_sentence_last(capsys):
    found = verdict(problems({f"solver {number}": NEAR * (1 + number) for number in range(8)}, 4), "solver 0")
    print_verdict(found)
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) <= 60
    assert max(len(line.rstrip()) for line in lines) <= 118
    assert " ".join(" ".join(lines).split()).endswith(found.sentence)


def test_a_narrow_terminal_is_told_no_less(monkeypatch, capsys):
    """In 80 columns: a line a solver, labels whole, and what few seeds do not tell below the table."""
    solvers = {f"euler-maruyama particles={10**number}": NEAR * (1 + number) for number in range(5)}
    found = verdict(problems(solvers | {"near": NEAR + ALIKE}, 3), "near")
    monkeypatch.setattr("harness.report.verdict_printed.WIDTH", 80)
    print_verdict(found)
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) <= 42
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert sum(line.startswith("euler-maruyama particles=10000  ") for line in lines) == 3
    untold = found.against[0][-1]
    assert untold.startswith("5 seeds; about")
    assert f"{untold}: euler-maruyama particles=1" in [line.rstrip() for line in lines]


def test_the_page_begins_with_it(realistic):
    text = page(realistic)
    assert text.index('<section id="verdict">') < text.index('id="problem-0"')
    assert '<a href="#verdict">' in text
