"""Work on blocks of points, shared out to threads so that results don't depend on how many threads there are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from typing import Protocol, TypeVar

import threadpoolctl
import torch

A = TypeVar("A")
B = TypeVar("B")


class Run(Protocol):
    """Calls a function on every item and returns the results in order, like ``map``."""

    def __call__(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Return the function's value at each of ``items``."""


@cache
def pools() -> threadpoolctl.ThreadpoolController:
    """Return this process's thread pools (BLAS, OpenMP), found once: looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def block_size(points: int, dim: int, elements: int, device: torch.device) -> int:
    """Return how many of the ``points`` of dimension ``dim`` go in a block, so that all are about as large.

    On a CPU a block holds about ``elements`` numbers; on a GPU it holds all. The size decides which random stream a
    point belongs to, and so what the results are: it depends on no number of threads.
    """
    if device.type != "cpu":
        return points
    return math.ceil(points / math.ceil(points * dim / elements))


def block_generators(count: int, generator: torch.Generator, device: torch.device) -> list[torch.Generator]:
    """Return a generator on ``device`` for each of ``count`` blocks, with seeds from one draw of ``generator``."""
    # Consecutive seeds, because torch's CPU generator uses 32 bits of a seed only: independent ones could coincide.
    first_seed = int(torch.randint(2**32, (), generator=generator))
    return [torch.Generator(device).manual_seed(first_seed + number) for number in range(count)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Have operations of torch and the BLAS use one thread here: a product's bits may change with their number.

    The BLAS adds up long sums in an order that depends on its threads. Whatever is large enough for several threads is
    worked out in blocks by ``workers`` instead.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def workers() -> Iterator[Run]:
    """Yield a ``Run`` on as many threads as torch may use, in which operations of torch and numpy use one thread each.

    The sums inside an operation then come out the same whatever the number of threads. Every thread is told for itself:
    one that has not been told lets the BLAS start as many threads as it likes. The setting is restored in the end.
    """
    threads = torch.get_num_threads()
    with (
        one_thread(),
        ThreadPoolExecutor(max(1, threads - 1), initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        yield partial(_shared_out, pool, threads - 1)


def _shared_out(pool: Executor, helpers: int, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Map items over the calling thread and ``helpers`` pool threads, first come first served."""
    waiting = deque(enumerate(items))
    found: dict[int, B] = {}

    def work() -> None:
        while waiting:
            try:
                number, item = waiting.popleft()
            except IndexError:
                return
            found[number] = function(item)

    count = len(waiting)
    helping = [pool.submit(work) for _ in range(min(helpers, count - 1))]
    try:
        work()
    except BaseException:
        waiting.clear()
        raise
    finally:
        started = [each for each in helping if not each.cancel()]
        wait(started)
    for each in started:
        each.result()
    return [found[number] for number in range(count)]
