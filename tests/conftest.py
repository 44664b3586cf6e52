"""What tests of every part share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from solvers.reproducibility import hold

hold()  # before torch works out anything, as cells have it

import torch  # noqa: E402

Answer = TypeVar("Answer")


@pytest.fixture
def on_threads() -> Callable[..., list[object]]:
    """Return a function that gives the answers of a call, which must leave threads alone, under several counts."""

    def answers(call: Callable[[], Answer], counts: Sequence[int] = (1, 2, 3)) -> list[Answer]:
        before, found = torch.get_num_threads(), []
        try:
            for count in counts:
                torch.set_num_threads(count)
                found.append(call())
                assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(before)
        return found

    return answers
