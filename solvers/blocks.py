"""Work on blocks of points, shared out to threads so that results don't depend on how many threads there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


class Run(Protocol):
    """Calls a function on every item and returns the results in order, like ``map``."""

    def __call__(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Return the function's value at each of ``items``."""


@contextmanager
def workers() -> Iterator[Run]:
    """Yield a ``Run`` on as many threads as torch may use, in which torch's operations use one thread each.

    The sums inside an operation then come out the same whatever the number of threads. Every thread is told for itself:
    one that has not been told lets the BLAS start as many threads as it likes. The setting is restored in the end.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            yield lambda function, items: [function(item) for item in items]
        else:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield lambda function, items: list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)
