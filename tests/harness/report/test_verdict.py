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
