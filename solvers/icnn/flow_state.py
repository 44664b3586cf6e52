"""One flow on its way through JKO steps: its particles, its maps so far, and what was noticed of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch

from problems.laws import Law
from problems.potentials import FiniteSum, Potential
from solvers.icnn.affine_start import start_at
from solvers.icnn.parameter_gradients import pieces, pushed
from solvers.icnn.step_objective import StepObjective, derivatives_of
from solvers.icnn.training import Training
from solvers.maps import InvertibleMap
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Weights
from solvers.particles.particle_pool import spread_draws
from solvers.preconditioning.curvature_metric import Metric
from solvers.solver import Diverged
from solvers.threads import Run

# Particles, of the pool and fresh ones, on which a trained step is looked at.
EXAMINED = 8192
EXAMINED_AT_ONCE = 512
# A sum over cases is looked at through so many times as many of them as a training iteration sees.
EXAMINED_MINIBATCHES = 20

Guess = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Gives an affine map of points (n, D) as matrix (D, D) and shift (D,)."""

TRACES = ("seconds", "iterations", "last_gain", "fresh_gap", "stationarity")


@dataclass(eq=False)
class Course:
    """The flow of ``potential``, whose steps have the objectives ``objective_of(V)`` for V or estimates of it.

    It is followed in the coordinates of ``metric``: there the particles are, while ``maps`` are of points x.

    ``pool`` (n, D) are the particles that are trained on, ``fresh`` others that no training sees; ``guess`` gives the
    affine map that the training of a step starts from, if not from the map before. ``failure`` says why the course has
    ended early.
    """

    potential: Potential
    objective_of: Callable[[Potential], StepObjective]
    generator: torch.Generator
    pool: torch.Tensor
    fresh: torch.Tensor
    minibatch: int | None = None
    guess: Guess | None = None
    metric: Metric = field(default_factory=Metric)
    maps: list[InvertibleMap] = field(default_factory=list)
    traces: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRACES})
    failure: str | None = None
    evaluations: int = 0

    @classmethod
    def begin(
        cls,
        law: Law,
        metric: Metric,
        potential: Potential,
        objective_of: Callable[[Potential], StepObjective],
        generator: torch.Generator,
        pool_size: int,
        minibatch: int | None,
    ) -> Course:
        """Draw the particles of ``law``."""
        pool = metric.flat(spread_draws(law, pool_size, generator))
        fresh = metric.flat(law.sample(EXAMINED, generator))
        return cls(potential, objective_of, generator, pool, fresh, minibatch, metric=metric)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the particles."""
        self.pool, self.fresh = self.pool.to(device, dtype), self.fresh.to(device, dtype)

    def start(self, weights: Weights) -> None:
        """Put the network of the next step (S = 1) where its training starts."""
        if self.guess is None or self.failure is not None:
            return
        try:
            start_at(weights, *self.guess(self.pool))
        except Diverged as error:
            self.failure = f"no affine map to start from: {error}; start = 'previous' needs none"

    def objectives(self) -> tuple[StepObjective, Iterator[StepObjective]]:
        """Return the objective by which the next step is looked at, and those of its training's iterations."""
        if self.minibatch is None or not isinstance(self.potential, FiniteSum):
            whole = self.objective_of(self.potential)
            return whole, repeat(whole)
        many = min(self.potential.cases, EXAMINED_MINIBATCHES * self.minibatch)
        examined_by = next(self.potential.minibatches(many, self.generator))
        return self.objective_of(examined_by), map(
            self.objective_of, self.potential.minibatches(self.minibatch, self.generator)
        )

    def value(self, weights: Weights, objective: StepObjective, run: Run) -> float:
        """Return the mean objective, less that of the identity, on particles of the pool."""
        return float(examined(weights, self.pool[:EXAMINED], objective, run)[0].mean())

    def take(self, weights: Weights, objective: StepObjective, training: Training, run: Run) -> None:
        """Look at a trained step, and move all particles by its map; after a failure the course stands still."""
        self.failure = training.failure
        self.evaluations += training.iterations * training.schedule.batch_size + 3 * EXAMINED + len(self.fresh)
        if self.failure is not None:
            return
        gains, residual = examined(weights, self.pool[:EXAMINED], objective, run)
        fresh_gains, _ = examined(weights, self.fresh, objective, run)
        bad = int((~torch.isfinite(torch.cat([gains, fresh_gains]))).sum())
        if bad:
            self.failure = f"the objective is not finite at {bad} of {len(gains) + len(fresh_gains)} particles"
            return
        self.traces["iterations"].append(training.iterations)
        self.traces["last_gain"].append(training.last_gain)
        self.traces["fresh_gap"].append(difference(gains, fresh_gains))
        self.traces["stationarity"].append(residual)
        self.pool, self.fresh = pushed(weights, self.pool, run), pushed(weights, self.fresh, run)
        self.add_map(weights)

    def worst(self) -> dict[str, float | int | str]:
        """Return the largest of what was noticed over the steps."""
        return {name: max(self.traces[name], default=0.0) for name in ("fresh_gap", "stationarity", "last_gain")}

    def add_map(self, weights: Weights) -> None:
        """Add ∇ψ to the maps."""
        self.maps.append(self.metric.carried(ConvexMap(weights.to(torch.device("cpu"), torch.float64))))

    def state(self) -> dict[str, Any]:
        """Return what the next steps depend on, beside the networks."""
        return {
            "pool": self.pool,
            "fresh": self.fresh,
            "generator": self.generator.get_state(),
            "traces": self.traces,
            "failure": self.failure,
            "evaluations": self.evaluations,
        }

    def restore(self, state: Mapping[str, Any], snapshots: Sequence[Weights]) -> None:
        """Go to where another course was when it gave this ``state``, with the networks of its steps so far."""
        self.pool.copy_(state["pool"])
        self.fresh.copy_(state["fresh"])
        self.generator.set_state(state["generator"])
        self.traces, self.failure, self.evaluations = state["traces"], state["failure"], state["evaluations"]
        for weights in snapshots:
            self.add_map(weights)


def examined(weights: Weights, points: torch.Tensor, objective: StepObjective, run: Run) -> tuple[torch.Tensor, float]:
    """Return the objective less its value for the identity at each of ``points`` (n, D), and its stationarity."""

    def examine(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mapped, hessian, _ = derivatives(folded, x[None])
        mapped_bar, hessian_bar = (bar[0] for bar in derivatives_of([objective], x[None], mapped, hessian))
        moment = mapped_bar.T @ (x - centre) + hessian_bar.sum(0)
        return objective.values(x, mapped[0], hessian[0]), mapped_bar.sum(0), moment

    centre, folded = points.mean(0), fold(weights)
    parts = run(examine, pieces(weights, points, EXAMINED_AT_ONCE))
    gains, forces, moments = zip(*parts, strict=True)
    force, moment = sum(forces) / len(points), sum(moments) / len(points)
    residual = max(float(force.norm()), float((0.5 * (moment + moment.T)).norm()))
    return torch.cat(gains), objective.step_size * residual


def difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return how far two sample means are apart, in standard errors of their difference."""
    spread = math.sqrt(float(left.var()) / len(left) + float(right.var()) / len(right))
    gap = abs(float(left.mean()) - float(right.mean()))
    return gap / spread if spread else 0.0
