"""Standard errors hold the mean as often as they say, for draws of every kind; ``docs/coverage.md`` has all of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import coverage_of_errors as coverage
from false_alarms import is_share, repetitions, spread_error
from harness.measure.measure import Figure
from seeding import RESEED

TEXT = coverage.DOCUMENT.read_text()


@pytest.mark.parametrize("measure", ["kl", "energy-distance", "mode-weights"])
@pytest.mark.parametrize("kind", list(coverage.KINDS))
@pytest.mark.parametrize("wrong", [False, True])
@repetitions(15, 300)
def test_errors_cover_for_every_kind_of_draws(measure, kind, wrong, repetitions):
    found = coverage.figures(measure, kind, wrong, repetitions, 1000 * RESEED + 5000)
    assert is_share(coverage.covered(found), repetitions, 0.9, 1.0, 30)
    if wrong:
        assert coverage.spread(found) > 0.85 / (1 + spread_error(repetitions, 30))


@pytest.mark.parametrize("measure", ["sliced-w2", "bures-w2", "symkl", "l1", "hellinger", "c2st"])
@repetitions(15, 300)
def test_errors_cover_where_they_once_did_not(measure, repetitions):
    found = coverage.figures(measure, "independent", True, repetitions, 1000 * RESEED + 9000)
    assert is_share(coverage.covered(found), repetitions, 0.93, 1.0, 6)
    assert coverage.spread(found) > 0.9 / (1 + spread_error(repetitions, 6))


@pytest.mark.parametrize("measure", coverage.MEASURES)
def test_no_measure_states_much_less_than_the_truth(measure):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{measure}` |")]
    pairs = re.findall(r"(\d+) \((\d\.\d\d)\)", line)
    assert len(pairs) == 2 * len(coverage.KINDS)
    for share, ratio in pairs:
        assert int(share) >= 89
        assert float(ratio) > 0.88


def test_on_the_root_a_squared_distance_has_the_error_of_the_distance():
    """Of d ± s the square has the error 2ds: its root is held where d is within 1.96 s of the root of the mean."""
    distances = np.linspace(0.4, 6.0, 29)
    found = [Figure(float(d**2), float(2 * d * 0.7), "") for d in distances]
    mean = np.mean(distances**2)
    held = np.abs(distances - np.sqrt(mean)) < coverage.LEVEL * 0.7
    assert 0 < held.sum() < len(held)
    assert coverage.covered_on_the_root(found) == held.sum() != coverage.covered(found)
    below = [Figure(-0.1, 0.2, ""), Figure(-0.1, 0.02, ""), Figure(0.2, 1.0, "")]
    assert coverage.covered_on_the_root(below) == 2


@pytest.mark.parametrize("measure", coverage.SQUARED)
def test_roots_of_squared_distances_are_covered(measure):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{measure}`, root |")]
    pairs = re.findall(r"(\d+\.\d) → (\d+\.\d)", line)
    assert len(pairs) == len(coverage.KINDS)
    for plain, root in pairs:
        assert float(root) >= 93
        assert float(root) > float(plain) or float(plain) > 97


def test_tables_are_filled_in_where_they_are():
    again = coverage.filled(TEXT, ["| `kl` | a |"])
    assert again.count("| `kl` | a |") == 1
    assert coverage.filled(again, ["| `kl` | a |"]) == again
    assert "What counts as one draw" in again
    roots = coverage.filled(TEXT, ["| a |"], "roots")
    assert roots.count("| a |") == 1
    assert roots.partition("<!-- table: roots -->")[0] == TEXT.partition("<!-- table: roots -->")[0]
