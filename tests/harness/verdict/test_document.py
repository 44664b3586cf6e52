"""What the document on verdicts says is what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.verdict.excess import ROUNDING
from harness.verdict.paired import power
from harness.verdict.units import LENGTHS

DOCUMENT = Path(__file__).parents[3] / "docs" / "verdicts.md"


def test_the_table_of_power_is_that_of_the_test() -> None:
    lines = DOCUMENT.read_text().partition("<!-- power -->\n")[2].partition("\n\n")[0].splitlines()
    head, _, *rows = [[text.strip() for text in line.strip("|").split("|")] for line in lines]
    effects = [float(text) for text in head[1:]]
    assert len(rows) == 6
    for seeds, *cells in rows:
        for effect, cell in zip(effects, cells, strict=True):
            assert float(cell) == pytest.approx(float(power(effect, int(seeds))), abs=0.0051)


def test_the_measures_that_are_lengths_are_those_of_the_document() -> None:
    words = DOCUMENT.read_text().partition("Differences below ")[2].partition("\n\n")[0]
    assert words.startswith(f"{ROUNDING:g}, relative or in the unit of a figure")
    assert ", ".join(f"`{name}`" for name in LENGTHS) in words
