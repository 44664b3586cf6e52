"""Work shared out to threads: order, failures, nesting, and what is put back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from solvers.threads import block_generators, block_size, pools, workers


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def blas_threads() -> set[int]:
    return {pool.num_threads for pool in pools().select(user_api="blas").lib_controllers}


def test_results_come_in_order_from_several_threads() -> None:
    def slow_square(number: int) -> tuple[int, int]:
        time.sleep(0.01)
        return number * number, threading.get_ident()

    with workers() as run:
        found = run(slow_square, iter(range(8)))
        assert run(slow_square, []) == []
    assert [square for square, _ in found] == [number * number for number in range(8)]
    assert len({thread for _, thread in found}) == 2


def test_every_thread_uses_one_thread_and_all_is_restored() -> None:
    def threads(number: int) -> tuple[int, int]:
        time.sleep(0.01)
        return torch.get_num_threads(), max(blas_threads())

    before = blas_threads()
    with workers() as run:
        assert set(run(threads, range(6))) == {(1, 1)}
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


@pytest.mark.parametrize("failing", [0, 3, 7])
def test_a_failure_anywhere_is_raised(failing: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002)
        if number == failing:
            raise ArithmeticError(f"item {number}")
        return number

    with workers() as run:
        with pytest.raises(ArithmeticError, match=f"item {failing}"):
            run(work, range(8))
        assert run(lambda number: number, range(3)) == [0, 1, 2]


def test_runs_nest() -> None:
    with workers() as run:
        found = run(lambda outer: run(lambda inner: outer + inner, range(3)), range(4))
    assert found == [[outer + inner for inner in range(3)] for outer in range(4)]


@pytest.mark.parametrize("points", [1, 17, 10_000])
@pytest.mark.parametrize("dim", [1, 2, 7, 70_000])
def test_blocks_hold_all_points(points: int, dim: int) -> None:
    size = block_size(points, dim, 2**15, torch.device("cpu"))
    assert 1 <= size <= points
    assert size == 1 or size * dim <= 2**15
    *full, last = torch.empty(points).split(size)
    assert all(len(block) - len(last) < max(2, len(full) + 1) for block in full)
    assert block_size(points, dim, 2**15, torch.device("meta")) == points


def test_blocks_have_streams_of_their_own_that_one_seed_decides() -> None:
    def draws(count: int, seed: int) -> torch.Tensor:
        source = torch.Generator().manual_seed(seed)
        return torch.stack([torch.rand(3, generator=each) for each in block_generators(count, source, source.device)])

    assert torch.equal(draws(2, 0), draws(4, 0)[:2])
    assert len(torch.cat([draws(4, 0), draws(4, 1)]).unique(dim=0)) == 8
