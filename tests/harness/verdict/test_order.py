"""Families order the measures that decide about their answers, and every cell keeps that order."""

from __future__ import annotations

import pytest

from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.verdict.order import ORDER, in_order, one_of_a_kind
from problems import BUILTIN


@pytest.mark.parametrize("name", BUILTIN)
def test_families_order_measures_that_may_decide(name: str) -> None:
    family = import_target(BUILTIN[name])
    assert family.deciding
    assert set(family.deciding) <= set(ORDER)
    assert set(family.deciding) & set(family.measures)


def test_measures_that_may_decide_are_in_the_catalogue() -> None:
    assert set(ORDER) <= set(CATALOGUE)


def test_what_a_family_names_comes_first() -> None:
    measures = ["mine", "energy-distance", "accuracy", "symkl", "c2st"]
    assert in_order(measures) == ["symkl", "energy-distance", "c2st", "mine", "accuracy"]
    assert in_order(measures, ("c2st", "mine")) == ["c2st", "mine", "symkl", "energy-distance", "accuracy"]


def test_one_measure_of_a_kind_decides() -> None:
    assert one_of_a_kind(["symkl", "kl", "energy-distance", "c2st", "mine", "yours"]) == [0, 2, 4]
    assert one_of_a_kind(["energy-distance", "c2st"]) == [0]
