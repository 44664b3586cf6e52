"""Start-up, compilation and work of a library, timed apart: what a user waits for once, and what every solve takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from solvers.peers.numpys_stream import kept
from solvers.solver import Cost

ONCE = ("import", "compile")
"""Stages that a process goes through once for many solves of one shape; the others are solving."""


class Stages:
    """The wall-clock seconds of each stage of one solve, by name: "import", "compile" and "run"."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of what is done inside to those of the stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Have what is done inside be the stage "import"; NumPy's global stream, which it may touch, is put back."""
        with self.stage("import"), kept():
            yield

    def cost(self, gradient_evaluations: int = 0) -> Cost:
        """Return the cost of the solve: what a process does once is its set-up."""
        return Cost(sum(self.seconds.get(name, 0.0) for name in ONCE), gradient_evaluations)

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return the seconds of each stage, as ``import_seconds`` and so on."""
        return {f"{name}_seconds": seconds for name, seconds in self.seconds.items()}
