"""The numbers of ``docs/fitted-jko.md`` are what the code gives."""

from __future__ import annotations

import re

import pytest

import fitted_jko

TEXT = (fitted_jko.DOCS / "fitted-jko.md").read_text()


def numbers(line):
    return [float(found) for found in re.findall(r"(?<![\\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?", line)]


def shown(start):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(start)]
    return numbers(line)


@pytest.mark.parametrize("dim", [2, 6])
def test_a_row_of_the_gaussian_table(dim):
    assert numbers(fitted_jko.gaussian_row(dim)) == pytest.approx(shown(f"| {dim} | "), rel=0.06)


@pytest.mark.parametrize("name", ["double well", "sine well"])
@pytest.mark.parametrize("rule", ["local", "blended"])
def test_a_row_of_the_table_of_curvatures(name, rule):
    assert numbers(fitted_jko.line_row(name, rule)) == pytest.approx(shown(f"| {name} | {rule} |"), rel=0.06)


def test_a_point_of_the_picture():
    iterations, error = fitted_jko.filtering_point(fitted_jko.CURVES["fitted"][1])
    (*_, count, value) = shown("| fitted | h = 0.05 |")
    assert iterations == pytest.approx(count, rel=0.02)
    assert error == pytest.approx(value, rel=0.06)


def test_tables_are_filled_in_where_they_are():
    rows = {"line": ["| a | b | 1 | 2 | 3 |"]}
    again = fitted_jko.filled(TEXT, rows)
    assert again.count("| a | b |") == 1
    assert fitted_jko.filled(again, rows) == again
    assert "## Which curvature" in again
