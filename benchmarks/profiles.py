"""What all benchmarks share: sizes for three occasions, how often to repeat, and seconds taken side by side."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

WGFBENCH = Path(sys.executable).with_name("wgfbench")
PROFILES = ("fast", "regular", "large")


def profile() -> str:
    """Return the profile that ``WGFBENCH_PROFILE`` names: fast to see that all run, regular, or large."""
    name = os.environ.get("WGFBENCH_PROFILE", "regular")
    if name not in PROFILES:
        raise ValueError(f"WGFBENCH_PROFILE must be one of {', '.join(PROFILES)}; got {name!r}")
    return name


class Profiled:
    """A benchmark whose size depends on the profile.

    ``version`` is raised when a benchmark comes to measure something else: asv then starts its history anew.
    """

    version: ClassVar[str] = "1"
    timeout: ClassVar[float] = 120.0
    rounds: ClassVar[int] = 1
    repeat: ClassVar[tuple[int, int, float]] = (3, 10, 5.0)
    sizes: ClassVar[Mapping[str, Any]]

    @property
    def size(self) -> Any:
        """The size for the profile in use."""
        return self.sizes[profile()]


Seconds = dict[str, list[float]]


def side_by_side(repeats: int, **calls: Callable[[], object]) -> Seconds:
    """Return the seconds of each call, ``repeats`` times by turns, so that what else the machine does hits all alike.

    Each is called once before, so that nobody pays for what is loaded or cached on first use.
    """
    for call in calls.values():
        call()
    seconds: Seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            gc.collect()
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: Seconds, numerator: str, denominator: str) -> float:
    """Return the median over the turns of the ratio of two calls' seconds."""
    return statistics.median(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))
