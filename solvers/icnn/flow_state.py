"""The state of one flow between JKO steps: its particles, its maps so far, and the diagnostics of each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch

from problems.devices import placed
from problems.flow import GradientFlow
from problems.linear_algebra import symmetrised
from problems.potentials import FiniteSum, Potential
from solvers.icnn.affine_start import best_affine, start_at
from solvers.icnn.descent import Pace, Schedule
from solvers.icnn.parameter_gradients import pieces, pushed
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.step_objective import StepObjective, StepScheme, derivatives_of
from solvers.icnn.training import BatchDensity, Training
from solvers.maps import InvertibleMap
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Weights
from solvers.particles.particle_pool import spread_draws
from solvers.preconditioning.curvature import Preconditioner, preconditioner_of
from solvers.solver import Diverged
from solvers.threads import Run

# Particles, of the pool and fresh ones, on which a trained step is looked at.
EXAMINED = 8192
EXAMINED_AT_ONCE = 512
# A sum over cases is looked at through so many times as many of them as a training iteration sees.
EXAMINED_MINIBATCHES = 20

TRACES = ("seconds", "iterations", "last_gain", "fresh_gap", "stationarity")


@dataclass(eq=False)
class FlowState:
    """A flow state holds the particles of one flow, its maps so far, the traces of its steps, and why it failed if so.

    It is followed in the coordinates of ``preconditioner``: there the particles are, while ``maps`` are of points x.
    ``pool`` (n, D) are the particles that are trained on, ``fresh`` (m, D) others that no training sees. They,
    ``potential`` and ``placed_preconditioner`` have the device and dtype of training; ``flow`` and ``preconditioner``
    are float64 on the CPU. ``failure`` says why no step is taken any more, ``evaluations`` how often ∇V was asked for.
    """

    flow: GradientFlow
    preconditioner: Preconditioner
    potential: Potential
    placed_preconditioner: Preconditioner
    generator: torch.Generator
    pool: torch.Tensor
    fresh: torch.Tensor
    minibatch: int | None = None
    failure: str | None = None
    maps: list[InvertibleMap] = field(default_factory=list)
    traces: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRACES})
    evaluations: int = 0

    @classmethod
    def drawn_from(
        cls, flow: GradientFlow, settings: ICNNSettings, generator: torch.Generator, device: torch.device
    ) -> FlowState:
        """Return the state at time 0, with particles of the initial law; failed where no preconditioner is found."""
        dtype, preconditioner, failure = settings.torch_dtype, Preconditioner(), None
        try:
            preconditioner = preconditioner_of(settings.preconditioner, flow)
        except Diverged as error:
            failure = str(error)
        pool = preconditioner.to_coordinates(spread_draws(flow.initial, settings.pool_size, generator))
        fresh = preconditioner.to_coordinates(flow.initial.sample(EXAMINED, generator))
        return cls(
            flow,
            preconditioner,
            placed(flow.potential, device, dtype),
            placed(preconditioner, device, dtype),
            generator,
            pool.to(device, dtype),
            fresh.to(device, dtype),
            settings.minibatch,
            failure,
        )

    @property
    def scale(self) -> float:
        """The width of the particles, that the units of the networks suit at the start.

        It is that of the initial law, or, in a preconditioner, that of the stationary law, 1/√β.
        """
        if self.preconditioner.root is None:
            return math.sqrt(float(self.flow.initial.moments()[1].diagonal().mean()))
        return math.sqrt(1 / self.flow.inverse_temperature)

    @property
    def batch_density(self) -> BatchDensity | None:
        """The log-densities of some particles of the pool, as a batch has them, where steps ask for them."""
        return None

    def pace(self, scheme: StepScheme, schedule: Schedule) -> Pace:
        """Return how the network of the next step learns."""
        return Pace(1.0, schedule.shrinkage)

    def sort_pool(self) -> None:
        """Put the particles that are trained on, on the line, in their order."""
        self.pool = self.pool.sort(0).values

    def replace_particles(self, pool: torch.Tensor, fresh: torch.Tensor) -> None:
        """Replace the particles by ``pool`` (n, D) and ``fresh`` (m, D), moved to the device and dtype of training."""
        self.pool, self.fresh = pool.to(self.pool), fresh.to(self.fresh)

    def initialise(self, weights: Weights, scheme: StepScheme) -> None:
        """Put the network of the next step (S = 1), which is at the step before, where its training starts.

        Where there is no best affine map to start from, the flow fails.
        """
        if not scheme.affine_start or self.failure is not None:
            return
        potential, beta = self.preconditioner.potential_in(self.flow.potential), self.flow.inverse_temperature
        try:
            start_at(weights, *best_affine(self.pool, potential, beta, scheme.step_size))
        except Diverged as error:
            self.failure = f"no affine map to start from: {error}; start = 'previous' needs none"

    def objectives(self, scheme: StepScheme) -> tuple[StepObjective, Iterator[StepObjective]]:
        """Return the next step's objective for diagnostics, and an endless iterator of those for its training."""
        if self.minibatch is None or not isinstance(self.potential, FiniteSum):
            whole = self._objective(self.potential, scheme)
            return whole, repeat(whole)
        many = min(self.potential.cases, EXAMINED_MINIBATCHES * self.minibatch)
        examined_by = next(self.potential.minibatches(many, self.generator))
        estimates = self.potential.minibatches(self.minibatch, self.generator)
        return self._objective(examined_by, scheme), (self._objective(each, scheme) for each in estimates)

    def _objective(self, potential: Potential, scheme: StepScheme) -> StepObjective:
        return scheme.objective(self.placed_preconditioner.potential_in(potential), self.flow.energy.internal)

    def begins_to_learn(self, weights: Weights, objective: StepObjective, run: Run) -> bool:
        """Prepare the network of the next step for its training, and return whether there is to be any."""
        return True

    def mean_objective(self, weights: Weights, objective: StepObjective, run: Run) -> float:
        """Return the mean objective, less that of the identity, on particles of the pool."""
        return float(self._examined(weights, self.pool, objective, run)[0].mean())

    def accept(self, weights: Weights, objective: StepObjective, training: Training, run: Run) -> None:
        """Note the diagnostics of a trained step, and move all particles by its map; after a failure none moves."""
        self.failure = training.failure
        self.evaluations += training.iterations * training.schedule.batch_size + 3 * EXAMINED + len(self.fresh)
        if self.failure is not None:
            return
        gains, residual = self._examined(weights, self.pool, objective, run)
        fresh_gains, _ = self._examined(weights, self.fresh, objective, run)
        bad = int((~torch.isfinite(torch.cat([gains, fresh_gains]))).sum())
        if bad:
            self.failure = f"the objective is not finite at {bad} of {len(gains) + len(fresh_gains)} particles"
            return
        self.traces["iterations"].append(training.iterations)
        self.traces["last_gain"].append(training.last_gain)
        self.traces["fresh_gap"].append(difference(gains, fresh_gains))
        self.traces["stationarity"].append(residual)
        self.add_map(weights)
        self._move(weights, run)

    def _examined(
        self, weights: Weights, points: torch.Tensor, objective: StepObjective, run: Run
    ) -> tuple[torch.Tensor, float]:
        """Return what ``examined`` does for the first of ``points``, ``pool`` or ``fresh``."""
        return examined(weights, points[:EXAMINED], objective, run)

    def _move(self, weights: Weights, run: Run) -> None:
        """Move all particles by the map of a step."""
        self.pool, self.fresh = pushed(weights, self.pool, run), pushed(weights, self.fresh, run)

    def end_step(self, place: str, seconds: float) -> None:
        """Note how long a step took and, if the flow failed in it, at which ``place`` that was."""
        self.traces["seconds"].append(seconds)
        if self.failure is not None:
            self.failure = f"{place}: {self.failure}"

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return the maximum over the steps of each diagnostic, 0 where there were none."""
        return {name: max(self.traces[name], default=0.0) for name in ("fresh_gap", "stationarity", "last_gain")}

    def add_map(self, weights: Weights) -> None:
        """Add ∇ψ of one network (S = 1) to the maps."""
        self.maps.append(self.preconditioner.map_outside(ConvexMap(weights.to(torch.device("cpu"), torch.float64))))

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
        """Go to where another one was when it gave this ``state``, with the networks of its steps so far."""
        self.pool.copy_(state["pool"])
        self.fresh.copy_(state["fresh"])
        self.generator.set_state(state["generator"])
        self.traces, self.failure, self.evaluations = state["traces"], state["failure"], state["evaluations"]
        for weights in snapshots:
            self.add_map(weights)


def examined(
    weights: Weights, points: torch.Tensor, objective: StepObjective, run: Run, log_density: torch.Tensor | None = None
) -> tuple[torch.Tensor, float]:
    """Return the objective less its value for the identity at each of ``points`` (n, D), and its stationarity.

    Points interact with those of the same piece. ``log_density`` (n,) is theirs, where the objective carries it.
    """

    def examine(piece: tuple[torch.Tensor, torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
        x, density = piece
        mapped, hessian, _ = derivatives(folded, x[None])
        fields = None
        if objective.interaction is not None:
            fields = objective.field(objective.intermediate_places(x, mapped[0]))[None]
        carried = None if density is None else density[None]
        bars = derivatives_of([objective], x[None], mapped, hessian, carried, fields)
        mapped_bar, hessian_bar = (bar[0] for bar in bars)
        moment = mapped_bar.T @ (x - centre) + hessian_bar.sum(0)
        return objective.values(x, mapped[0], hessian[0], density), mapped_bar.sum(0), moment

    centre, folded = points.mean(0), fold(weights)
    places = pieces(weights, points, EXAMINED_AT_ONCE)
    densities = [None] * len(places) if log_density is None else log_density.split(len(places[0]))
    parts = run(examine, list(zip(places, densities, strict=True)))
    gains, forces, moments = zip(*parts, strict=True)
    force, moment = sum(forces) / len(points), sum(moments) / len(points)
    residual = max(float(force.norm()), float(symmetrised(moment).norm()))
    return torch.cat(gains), objective.step_size * residual


def difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return how far the means of two samples, (n,) and (m,), are apart, in standard errors of their difference."""
    spread = math.sqrt(float(left.var()) / len(left) + float(right.var()) / len(right))
    gap = abs(float(left.mean()) - float(right.mean()))
    return gap / spread if spread else 0.0
