"""The blob method with 10,000 particles in the plane: its velocity against a plain loop over blocks, and its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Flat
from problems.problem import Problem
from solvers.particles.blob import Blob, BlobFlow
from solvers.particles.weighted_lattice import weighted_lattice
from solvers.threads import workers

DIM = 2
THREADS = 2
BLOCK = 250
SMOOTHING = 0.95


def heat() -> GradientFlow:
    """Return the flow of the heat equation from N(0, I)."""
    initial = Gaussian(torch.zeros(DIM, dtype=torch.float64), torch.eye(DIM, dtype=torch.float64))
    return GradientFlow(initial, FreeEnergy(Flat(DIM), Entropy()), (1e-3,))


def numpy_velocity(points: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """Return the velocity of all particles by a double loop over blocks of pairs, twice: for densities, then slopes."""
    peak = (4 * math.pi * width**2) ** (-DIM / 2)
    density, velocity = np.zeros(len(points)), np.zeros_like(points)
    parts = [slice(start, start + BLOCK) for start in range(0, len(points), BLOCK)]
    for mine in parts:
        for others in parts:
            differences = points[mine, None] - points[None, others]
            kernel = peak * np.exp(-np.sum(differences**2, axis=2) / (4 * width**2))
            density[mine] += kernel @ weights[others]
    for mine in parts:
        for others in parts:
            differences = points[mine, None] - points[None, others]
            kernel = peak * np.exp(-np.sum(differences**2, axis=2) / (4 * width**2))
            slopes = 1 / density[mine, None] + 1 / density[None, others]
            velocity[mine] += np.sum((kernel * slopes * weights[others])[:, :, None] * differences, axis=1)
    return velocity / (2 * width**2)


class BlobRatios(Profiled):
    """One velocity of the heat equation's particles on a lattice, on two threads."""

    timeout = 600.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"particles": 500, "repeats": 1},
        "regular": {"particles": 10_000, "repeats": 3},
        "large": {"particles": 30_000, "repeats": 3},
    }

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        flow = heat()
        lattice = weighted_lattice(flow.initial, self.size["particles"])
        width = lattice.spacing**SMOOTHING
        with workers() as run:
            blobs = BlobFlow(flow, lattice.masses, width, lattice.points.mean(0), run)
            ours = blobs.velocity(lattice.points).numpy()
            theirs = numpy_velocity(lattice.points.numpy(), lattice.masses.numpy(), width)
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)
            return side_by_side(
                self.size["repeats"],
                ours=lambda: blobs.velocity(lattice.points),
                numpy=lambda: numpy_velocity(lattice.points.numpy(), lattice.masses.numpy(), width),
            )

    setup_cache.timeout = 600.0

    @at_least(10)
    def track_speed_over_numpy(self, seconds: Seconds) -> float:
        return ratio(seconds, "numpy", "ours")

    track_speed_over_numpy.unit = "times the speed of a double loop of numpy over blocks"


class BlobMemory(Profiled):
    """Particles of which a matrix of all pairs would take 800 MB."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 500, "regular": 10_000, "large": 30_000}

    def setup(self) -> None:
        fix_threads(THREADS)
        self.problem = Problem(heat(), (), None, "not needed")

    @at_most(2**30)
    def peakmem_solve(self) -> None:
        Blob(particles=self.size, tolerance=10.0).solve(self.problem, stream("solver"), torch.device("cpu"))
