"""Quantities as people write them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.parsing import parse_bytes, parse_names, parse_numbers, parse_seconds, parse_seeds


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", (3,)),
        ("2,6,12", (2, 6, 12)),
        ("1:4", (1, 2, 3, 4)),
        ("5:5", (5,)),
        (" 6 , 2 : 3 ", (6, 2, 3)),
        ("1:3,2,3:4", (1, 2, 3, 4)),
    ],
)
def test_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers("dims", text, smallest=1) == numbers


@pytest.mark.parametrize("text", ["", "a", "a:b", "1:", ":3", "1:2:3", "1.5", "1;2", "2,", "1e3", "∞"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match="dims must be numbers such as 2,6 or 1:12, got"):
        parse_numbers("dims", text, smallest=1)


@pytest.mark.parametrize(
    ("text", "part"), [("0", "0"), ("2,-1", "-1"), ("4:2", "4:2"), ("0:3", "0:3"), ("-3:-1", "-3")]
)
def test_numbers_out_of_range(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=r"dims must be whole numbers >= 1, ranges rising; got '" + part):
        parse_numbers("dims", text, smallest=1)


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_lists_keep_their_order_without_repeats(numbers: list[int]) -> None:
    text = ",".join(map(str, numbers))
    assert parse_numbers("seeds", text, smallest=0) == tuple(dict.fromkeys(numbers))


def test_one_number_counts_seeds_and_a_list_names_them() -> None:
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("3,7") == (3, 7)
    assert parse_seeds("5:7") == (5, 6, 7)
    assert parse_seeds("7:7") == (7,)
    assert parse_seeds("0:0") == (0,)


@pytest.mark.parametrize("text", ["0", "-3", " -1 "])
def test_seeds_cannot_be_fewer_than_one(text: str) -> None:
    with pytest.raises(UsageError, match="seeds must be a count >= 1 or a list such as 0,3 or 5:9; got"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["-1,2", "-2:3"])
def test_seeds_cannot_be_negative(text: str) -> None:
    with pytest.raises(UsageError, match="seeds must be whole numbers >= 0"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120), ("0.5s", 0.5)]
)
def test_seconds(text: str, seconds: float) -> None:
    assert parse_seconds("timeout", text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "-1m", "0s", "1d", "ten minutes", "1m30s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="timeout must be a duration > 0 such as 30s, 10m"):
        parse_seconds("timeout", text)


@pytest.mark.parametrize(
    ("text", "size"), [("500M", 500 * 2**20), ("4G", 2**32), ("1.5KiB", 1536), ("2 TB", 2**41), ("1K", 1024)]
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes("memory", text) == size


@pytest.mark.parametrize("text", ["4", "0G", "-1G", "G", "4X", "0.0001K", "4 gigabytes"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="memory must be a size > 0 such as 500M or 4G; got"):
        parse_bytes("memory", text)


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["a,b"], ["a", "b"]),
        (["a, b", "c"], ["a", "b", "c"]),
        (["x=[-1.0, 1.0],a"], ["x=[-1.0, 1.0]", "a"]),
        (["a,x=[-1.0, 1.0] · h=2"], ["a", "x=[-1.0, 1.0] · h=2"]),
        (["x=[-1.0"], ["x=[-1.0"]),
        ([], []),
    ],
)
def test_names_may_hold_the_commas_between_them(texts: list[str], names: list[str]) -> None:
    assert parse_names(texts, {"a", "b", "x=[-1.0, 1.0]", "x=[-1.0, 1.0] · h=2"}) == names
