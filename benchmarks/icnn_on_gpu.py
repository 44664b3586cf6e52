"""Training steps of ICNN-JKO on a GPU: seeds in one batch, and iterations replayed as a CUDA graph.

Where there is no CUDA device there is nothing to measure, and asv finds no benchmarks here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from benchmarks.bounds import at_least
from benchmarks.icnn_jko import flow, trainer
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from solvers.networks.convex_network import Architecture

BATCH = 1024


def training(
    dim: int, networks: int, iterations: int, device: torch.device, recorded: bool = True
) -> Callable[[], object]:
    """Return a function that trains ``networks`` of width 64 for ``iterations``."""
    train = trainer(Architecture(dim, 64, 2, 5), flow(dim), BATCH, networks, device, recorded)
    return lambda: train(iterations)


def seconds_of_seeds(dim: int, seeds: int, iterations: int, repeats: int, device: torch.device) -> Seconds:
    """Return the seconds of ``seeds`` trained together, and one after the other."""
    together, alone = (training(dim, count, iterations, device) for count in (seeds, 1))
    return side_by_side(repeats, together=together, alone=lambda: [alone() for _ in range(seeds)])


def seconds_of_recording(dim: int, seeds: int, iterations: int, repeats: int, device: torch.device) -> Seconds:
    """Return the seconds of iterations replayed, and launched one operation after the other."""
    replayed, launched = (training(dim, seeds, iterations, device, recorded) for recorded in (True, False))
    return side_by_side(repeats, replayed=replayed, launched=launched)


class OnGPU(Profiled):
    """What the benchmarks on a GPU share."""

    timeout = 300.0
    params: ClassVar[list[int]] = [2, 12]
    param_names: ClassVar[list[str]] = ["dimension"]
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"seeds": 2, "iterations": 5, "repeats": 1},
        "regular": {"seeds": 15, "iterations": 500, "repeats": 5},
        "large": {"seeds": 15, "iterations": 500, "repeats": 15},
    }


# Counting them, unlike asking whether CUDA is available, leaves CUDA to the processes that asv forks from this one.
if torch.cuda.device_count():

    class SeedsOnGPU(OnGPU):
        """Fifteen seeds trained in one batch and one after the other."""

        @at_least(8)
        def track_throughput_of_seeds_together(self, dim: int) -> float:
            return ratio(seconds_of_seeds(dim, **self.size, device=torch.device("cuda")), "alone", "together")

        track_throughput_of_seeds_together.unit = "times that of seeds one at a time"

    class RecordingOnGPU(OnGPU):
        """Iterations replayed as one graph, and launched one operation after the other: one seed, and fifteen."""

        def seconds(self, dim: int, seeds: int) -> Seconds:
            """Return the seconds of both."""
            return seconds_of_recording(dim, **self.size | {"seeds": seeds}, device=torch.device("cuda"))

        @at_least(1)
        def track_replaying_one_seed(self, dim: int) -> float:
            return ratio(self.seconds(dim, 1), "launched", "replayed")

        @at_least(1)
        def track_replaying_seeds_together(self, dim: int) -> float:
            return ratio(self.seconds(dim, self.size["seeds"]), "launched", "replayed")

        track_replaying_one_seed.unit = track_replaying_seeds_together.unit = "times the speed of launching"
