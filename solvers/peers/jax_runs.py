"""A function of JAX, compiled ahead of its only call, so that its compilation and its work are timed apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from problems.arrays import Reals
from solvers.peers.stages import Stages

DTYPES = {"float32": np.float32, "float64": np.float64}


@contextmanager
def in_double_precision() -> Iterator[None]:
    """Have JAX's numbers as they are, float64 where they are so; by default it rounds them all to float32.

    The setting is this thread's, and as before in the end.
    """
    import jax

    with jax.enable_x64(True):
        yield


def seed_from(generator: torch.Generator) -> int:
    """Return a seed for JAX's key, drawn from ``generator``."""
    return int(torch.randint(2**31, (), generator=generator))


def compiled_call(stages: Stages, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)`` as NumPy arrays, compiled in one stage and run in the next."""
    import jax

    with stages.stage("compile"):
        program = jax.jit(function).lower(*arguments).compile()
    with stages.stage("run"):
        return jax.tree.map(np.asarray, jax.block_until_ready(program(*arguments)))


def points_of(array: Reals) -> torch.Tensor:
    """Return points (n, D) of JAX as a tensor of ours, float64."""
    return torch.from_numpy(np.array(array, dtype=np.float64))
