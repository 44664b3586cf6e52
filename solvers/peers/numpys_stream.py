"""NumPy's global random stream, which some libraries draw from: lent to them, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept() -> Iterator[None]:
    """Have NumPy's global stream in the end as it is now."""
    state = np.random.get_state()  # noqa: NPY002 - libraries draw from it
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@contextmanager
def lent(generator: torch.Generator) -> Iterator[None]:
    """Have NumPy's global stream start from a seed of the ``generator``'s meanwhile, and as before in the end."""
    with kept():
        np.random.seed(int(torch.randint(2**31, (), generator=generator)))  # noqa: NPY002
        yield
