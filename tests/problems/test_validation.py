"""Checks of settings: what passes, and the one line about what does not."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from problems.validation import require_counts, require_default, require_number, require_seed, require_spd


@pytest.mark.parametrize("value", [-1, True, 1.0, "1", None, math.nan])
def test_seeds_are_whole_numbers(value):
    require_seed("mine", 0)
    with pytest.raises(ValueError, match=f"^mine: seed must be a whole number >= 0, got {value!r}$"):
        require_seed("mine", value)


def test_counts_have_a_least():
    require_counts("mine", at_least=4, chains=4, rounds=5)
    with pytest.raises(ValueError, match=r"^mine: rounds must be a whole number >= 4, got 3$"):
        require_counts("mine", at_least=4, chains=4, rounds=3)


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "1", math.nan, math.inf])
def test_numbers_lie_in_their_range(value):
    require_number("mine", at_least=0, at_most=1, share=0, other=1.0)
    with pytest.raises(ValueError, match=f"^mine: share must be between 0 and 1, got {value!r}$"):
        require_number("mine", at_least=0, at_most=1, share=value)


def test_numbers_need_no_range():
    require_number("mine", tilt=-1e300)
    with pytest.raises(ValueError, match=r"^mine: tilt must be a finite number, got -inf$"):
        require_number("mine", tilt=-math.inf)
    with pytest.raises(ValueError, match=r"^mine: tolerance must be a finite number >= 0, got -1$"):
        require_number("mine", at_least=0, tolerance=-1)


@dataclass(frozen=True)
class Settings:
    name: ClassVar[str] = "mine"
    width: float = 2.0
    centre: tuple[float, ...] | None = None


def test_what_is_not_used_keeps_its_default():
    require_default(Settings(), ("width", "centre"), "no matter")
    require_default(Settings(centre=(1.0,)), ("width",), "no matter")
    with pytest.raises(ValueError, match=r"^mine: centre must be left at None, got \(1.0,\): nobody looks at it$"):
        require_default(Settings(centre=(1.0,)), ("width", "centre"), "nobody looks at it")


@pytest.mark.parametrize("unit", [1e-200, 1e-11, 1.0, 1e11])
def test_matrices_are_symmetric_in_any_unit(unit):
    matrix = unit * torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    rounded = matrix.clone()
    rounded[0, 1] *= 1 + 1e-11
    for one in (matrix, rounded):
        require_spd("mine", "A", one)
    with pytest.raises(ValueError, match=r"^mine: A must be symmetric, but differs from its transpose by "):
        require_spd("mine", "A", unit * torch.tensor([[2.0, 0.5], [0.0, 1.0]], dtype=torch.float64))
