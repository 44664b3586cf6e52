"""Standard errors hold the mean as often as they say, for draws of every kind; ``docs/coverage.md`` has all of it."""

from __future__ import annotations

import re

import pytest

import coverage_of_errors as coverage
from false_alarms import is_share, repetitions, spread_error
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


@pytest.mark.parametrize("measure", coverage.MEASURES)
def test_no_measure_states_much_less_than_the_truth(measure):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{measure}` |")]
    pairs = re.findall(r"(\d+) \((\d\.\d\d)\)", line)
    assert len(pairs) == 2 * len(coverage.KINDS)
    for share, ratio in pairs:
        assert int(share) >= 89
        assert float(ratio) > 0.88


def test_tables_are_filled_in_where_they_are():
    again = coverage.filled(TEXT, ["| `kl` | a |"])
    assert again.count("| `kl` | a |") == 1
    assert coverage.filled(again, ["| `kl` | a |"]) == again
    assert "What counts as one draw" in again
