"""What tests of every part share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from solvers.reproducibility import hold

hold()  # before torch works out anything, as cells have it

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from seeding import RESEED, generator, numpy_generator  # noqa: E402

Answer = TypeVar("Answer")

# The same examples in every plain run; under RESEED others, which that number decides.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("reseeded", derandomize=False, deadline=None, database=None, print_blob=True)
settings.load_profile("reseeded" if RESEED else "same")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if RESEED and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(RESEED)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as ``random`` the tests of every file that imports a generator, and property tests; drop calibrations."""
    for item in items:
        assert isinstance(item, pytest.Function)
        names = vars(item.module).values()
        if hasattr(item.obj, "hypothesis") or any(each is generator or each is numpy_generator for each in names):
            item.add_marker("random")
    if "calibration" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("calibration")]
        items[:] = [item for item in items if not item.get_closest_marker("calibration")]
        config.hook.pytest_deselected(items=long)


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
