"""SVGD against a numpy loop laid out as the authors' code is, and its memory at 10,000 particles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.problem import Problem
from solvers.samplers.svgd import SVGD

DIM = 22
CASES = 5000
BATCH = 50
LEARNING_RATE = 0.05
THREADS = 2


def posterior() -> Problem:
    """Return the posterior of a logistic regression on random cases."""
    generator = stream("problem")
    features = torch.randn(CASES, DIM - 1, generator=generator, dtype=torch.float64)
    truth = torch.randn(DIM - 1, generator=generator, dtype=torch.float64)
    labels = 2 * torch.bernoulli(torch.sigmoid(features @ truth), generator=generator) - 1
    initial = Gaussian(torch.zeros(DIM, dtype=torch.float64), torch.eye(DIM, dtype=torch.float64))
    energy = FreeEnergy(LogisticPosterior(features * labels[:, None], 1.0, 0.01), Entropy(1.0))
    return Problem(GradientFlow(initial, energy, (1.0,)), (), None, "not needed", stationary=True)


def numpy_loop(problem: Problem, particles: int, iterations: int) -> np.ndarray:
    """Return the particles of a float64 loop with RBF kernel, median heuristic, minibatches and AdaGrad.

    Laid out as the released code of Liu and Wang (2016): all pairs at once, the repulsion one column at a time.
    """
    potential = problem.flow.potential
    signed = potential.signed_features.numpy()
    shape, rate, d = potential.prior_shape, potential.prior_rate, DIM - 1
    x = problem.flow.initial.sample(particles, stream("solver")).numpy()
    order = np.random.default_rng(0).permutation(CASES)
    history = None
    for iteration in range(iterations):
        batch = signed[order[[case % CASES for case in range(iteration * BATCH, (iteration + 1) * BATCH)]]]
        weights, precision = x[:, :-1], np.exp(x[:, -1])
        misfit = 1 - 1 / (1 + np.exp(-batch @ weights.T))
        by_weights = misfit.T @ batch * CASES / BATCH - np.tile(precision[:, None], d) * weights
        by_log_precision = 0.5 * d - 0.5 * precision * np.sum(weights**2, axis=1) + shape - rate * precision
        score = np.hstack([by_weights, by_log_precision[:, None]])

        squared = squareform(pdist(x)) ** 2
        width = np.sqrt(0.5 * np.median(squared) / np.log(particles + 1))
        kernel = np.exp(-squared / width**2 / 2)
        repulsion = -kernel @ x
        total = np.sum(kernel, axis=1)
        for axis in range(DIM):
            repulsion[:, axis] = repulsion[:, axis] + x[:, axis] * total
        direction = (kernel @ score + repulsion / width**2) / particles

        history = direction**2 if history is None else 0.9 * history + 0.1 * direction**2
        x = x + LEARNING_RATE * direction / (1e-6 + np.sqrt(history))
    return x


class SVGDRatios(Profiled):
    """The posterior of 22 parameters given 5000 cases, in minibatches of 50, on two threads.

    Both take as many iterations; ours then evaluates the discrepancy of its answer.
    """

    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"few": 5, "many": 1, "repeats": 1},
        "regular": {"few": 3000, "many": 40, "repeats": 5},
        "large": {"few": 6000, "many": 200, "repeats": 7},
    }

    def setup_cache(self) -> dict[int, Seconds]:
        fix_threads(THREADS)
        problem = posterior()
        return {
            particles: self.measured(problem, particles, self.size[iterations])
            for particles, iterations in ((100, "few"), (2000, "many"))
        }

    setup_cache.timeout = 300.0

    def measured(self, problem: Problem, particles: int, iterations: int) -> Seconds:
        solver = SVGD(particles=particles, iterations=iterations, minibatch=BATCH, learning_rate=LEARNING_RATE)
        return side_by_side(
            self.size["repeats"],
            ours=lambda: solver.solve(problem, stream("solver"), torch.device("cpu")),
            numpy=lambda: numpy_loop(problem, particles, iterations),
        )

    @at_least(2)
    def track_speed_over_numpy_at_100_particles(self, seconds: dict[int, Seconds]) -> float:
        return ratio(seconds[100], "numpy", "ours")

    track_speed_over_numpy_at_100_particles.unit = "times the speed of a float64 numpy loop"

    @at_least(5)
    def track_speed_over_numpy_at_2000_particles(self, seconds: dict[int, Seconds]) -> float:
        return ratio(seconds[2000], "numpy", "ours")

    track_speed_over_numpy_at_2000_particles.unit = "times the speed of a float64 numpy loop"


class SVGDMemory(Profiled):
    """Particles of which a matrix of all pairs would take 400 MB in float32, with the discrepancy of the answer."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 200, "regular": 10_000, "large": 50_000}

    def setup(self) -> None:
        fix_threads(THREADS)
        self.problem = posterior()

    @at_most(2**29)
    def peakmem_solve(self) -> None:
        SVGD(particles=self.size, iterations=2).solve(self.problem, stream("solver"), torch.device("cpu"))
