"""The state of a flow of any free energy but an entropy alone: particles in units of their own, with their densities.

Along the maps T_k of the steps the density of a particle is known, log ρ_{k+1}(T_k(x)) = log ρ_k(x) - log det ∇T_k(x),
and with it the energy ∫U(ρ) = E[U(ρ)/ρ] of a compact or heavy-tailed law that no kernel estimate would meet. Before
every step coordinates are chosen anew in which the particles have the mean 0 and variances of mean 1, see
``solvers.icnn.units``: the map of the step before, in its coordinates, is then where training starts, and rates of
learning follow how far a step moves particles in these units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from problems.devices import placed
from problems.energies import Entropy, PowerEntropy
from problems.flow import GradientFlow
from problems.laws import Density
from problems.potentials import Potential
from solvers.icnn.affine_start import start_at
from solvers.icnn.affine_step import affine_step
from solvers.icnn.descent import Pace, Schedule
from solvers.icnn.flow_state import EXAMINED, TRACES, FlowState, examined
from solvers.icnn.free_energy import free_energy
from solvers.icnn.output_steps import SOLVE_TRACES, OutputSteps
from solvers.icnn.pairs import sums_over_pairs
from solvers.icnn.parameter_gradients import pushed_with_density
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.step_objective import StepObjective, StepScheme
from solvers.icnn.training import BatchDensity, Training
from solvers.icnn.units import Frame, FramedMap, Units
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Weights
from solvers.particles.particle_pool import stratified_draws
from solvers.preconditioning.curvature import Preconditioner
from solvers.solver import Diverged
from solvers.threads import Run

ENERGY_TRACES = ("free_energy", "free_energy_error")

# The step, in units of the particles, that the learning rates of the settings are for; shorter ones take less.
USUAL_STEP = 0.05

# An output weight must be worth this many standard errors of what the pool's noise makes of its derivative, or else
# shrinks to nothing: particles stay the same from step to step, and what a network learnt of their noise would add up.
NOISE = 3.0


def state_of(flow: GradientFlow, output_solve: bool | None) -> type[FlowState]:
    """Return the class of the states of a flow; one that ends its steps by a solve is followed in units, whichever."""
    alone = isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None
    return FlowState if alone and not output_solve else FramedFlowState


@dataclass(eq=False)
class FramedFlowState(FlowState):
    """A framed flow state holds its particles in the coordinates ``frame``, and their log-densities there.

    ``pool_density`` (n,) and ``fresh_density`` (m,) are those of ``pool`` and ``fresh``; of particles of a law without
    density 0, and then nothing asks for them. ``frames`` are those of the maps so far, ``potential`` is in float64.
    """

    frame: Frame = field(default_factory=lambda: Frame(torch.zeros(1, dtype=torch.float64), 1.0))
    pool_density: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    fresh_density: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    units: Units | None = None
    frames: list[Frame] = field(default_factory=list)
    output_steps: OutputSteps | None = None

    @classmethod
    def drawn_from(
        cls, flow: GradientFlow, settings: ICNNSettings, generator: torch.Generator, device: torch.device
    ) -> FramedFlowState:
        dtype = settings.torch_dtype
        pool = stratified_draws(flow.initial, settings.pool_size, generator)
        fresh = flow.initial.sample(EXAMINED, generator)
        frame = Frame.about(pool)

        def density(points: torch.Tensor) -> torch.Tensor:
            if not isinstance(flow.initial, Density):
                return torch.zeros(len(points), device=device, dtype=dtype)
            return (flow.initial.log_prob(points) + frame.log_volume).to(device, dtype)

        solve = settings.output_solve
        if solve is None:
            interaction = flow.energy.interaction
            summed = interaction is not None and sums_over_pairs(interaction)
            solve = isinstance(flow.energy.internal, PowerEntropy) and not summed
        output_steps = OutputSteps.of(flow, settings, frame, generator, device) if solve else None
        traces = TRACES + (SOLVE_TRACES if solve else ())
        traces += ENERGY_TRACES if isinstance(flow.initial, Density) or not has_internal(flow) else ()
        return cls(
            flow=flow,
            preconditioner=Preconditioner(),
            potential=placed(flow.potential, device, torch.float64),
            placed_preconditioner=Preconditioner(),
            generator=generator,
            pool=frame.inside(pool).to(device, dtype),
            fresh=frame.inside(fresh).to(device, dtype),
            minibatch=settings.minibatch,
            traces={name: [] for name in traces},
            frame=frame,
            pool_density=density(pool),
            fresh_density=density(fresh),
            output_steps=output_steps,
        )

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def batch_density(self) -> BatchDensity | None:
        internal = self.flow.energy.internal
        if self.failure is not None or not isinstance(internal, PowerEntropy):
            return None
        power, density = internal.exponent - 1, self.pool_density
        return partial(matched_density, density, torch.exp(power * density).mean(), power)

    def pace(self, scheme: StepScheme, schedule: Schedule) -> Pace:
        if self.failure is not None or self.units is None:
            return super().pace(scheme, schedule)
        share = min(1.0, self.units.step_size(scheme) / USUAL_STEP)
        return Pace(share, max(schedule.shrinkage, NOISE / math.sqrt(len(self.pool))))

    def initialise(self, weights: Weights, scheme: StepScheme) -> None:
        if self.failure is not None:
            return
        try:
            self.units = Units.of(self.flow, self.frame, self.potential, self.pool, self.pool_density)
            if scheme.affine_start and self.output_steps is None:
                start_at(weights, *affine_step(self._objective(self.potential, scheme), self.pool, self.pool_density))
        except (ValueError, Diverged) as error:
            self.failure = str(error)

    def begins_to_learn(self, weights: Weights, objective: StepObjective, run: Run) -> bool:
        if self.output_steps is None:
            return True
        try:
            return self.output_steps.begin(weights, objective, self.pool, self.pool_density, run)
        except Diverged as error:
            self.failure = str(error)
            return False

    def accept(self, weights: Weights, objective: StepObjective, training: Training, run: Run) -> None:
        if self.failure is None and training.failure is None and self.output_steps is not None:
            for name, value in self.output_steps.finish(weights, training.iterations > 0, run).items():
                self.traces[name].append(value)
            if not training.iterations:
                training.last_gain = 0.0
        super().accept(weights, objective, training, run)

    def _objective(self, potential: Potential, scheme: StepScheme) -> StepObjective:
        assert self.units is not None
        energy = self.flow.energy
        interaction = placed(energy.interaction, self.pool.device, self.pool.dtype)
        return self.units.objective(scheme, potential, energy.internal, interaction)

    def _examined(
        self, weights: Weights, points: torch.Tensor, objective: StepObjective, run: Run
    ) -> tuple[torch.Tensor, float]:
        density = self.pool_density if points is self.pool else self.fresh_density
        return examined(weights, points[:EXAMINED], objective, run, density[:EXAMINED])

    def _move(self, weights: Weights, run: Run) -> None:
        pool, pool_density = pushed_with_density(weights, self.pool, self.pool_density, run)
        fresh, fresh_density = pushed_with_density(weights, self.fresh, self.fresh_density, run)
        inner = Frame.about(pool)
        if not (math.isfinite(inner.length) and inner.length > 0):
            self.failure = "the particles have gathered in a point"
            return
        self.pool, self.fresh, self.frame = inner.inside(pool), inner.inside(fresh), self.frame.then(inner)
        self.pool_density, self.fresh_density = pool_density + inner.log_volume, fresh_density + inner.log_volume
        if self.output_steps is not None:
            self.output_steps.move(weights, inner, run)
        if "free_energy" in self.traces:
            log_density = self.fresh_density.double() - self.frame.log_volume
            found = free_energy(self.flow.energy, self.potential, self.frame.outside(self.fresh), log_density)
            if not math.isfinite(found[0] + found[1]):
                self.failure = "the free energy is not finite"
                return
            for name, value in zip(ENERGY_TRACES, found, strict=True):
                self.traces[name].append(value)

    def add_map(self, weights: Weights) -> None:
        own = ConvexMap(weights.to(torch.device("cpu"), torch.float64))
        if len(self.frames) == len(self.maps):
            self.frames.append(self.frame)
        self.maps.append(FramedMap(own, self.frames[len(self.maps)]))

    def state(self) -> dict[str, Any]:
        frames = [*self.frames, self.frame]
        return {
            **super().state(),
            "pool_density": self.pool_density,
            "fresh_density": self.fresh_density,
            "centres": torch.stack([frame.centre for frame in frames]),
            "lengths": [frame.length for frame in frames],
            "nodes": None if self.output_steps is None else self.output_steps.state(),
        }

    def restore(self, state: Mapping[str, Any], snapshots: Sequence[Weights]) -> None:
        self.pool_density.copy_(state["pool_density"])
        self.fresh_density.copy_(state["fresh_density"])
        frames = [Frame(centre, length) for centre, length in zip(state["centres"], state["lengths"], strict=True)]
        self.frames, self.frame = frames[:-1], frames[-1]
        if self.output_steps is not None:
            self.output_steps.restore(state["nodes"])
        super().restore(state, snapshots[: len(self.frames)])


def has_internal(flow: GradientFlow) -> bool:
    """Return whether the free energy depends on the density."""
    return flow.energy.internal is not None


def matched_density(density: torch.Tensor, mean: torch.Tensor, power: float, places: torch.Tensor) -> torch.Tensor:
    """Return the log-densities (n,) of a batch, those of the pool ``density`` at ``places`` moved by one constant.

    The batch then has the pool's ``mean`` of ρ to the ``power`` m - 1, as it has its moments (``particle_pool``): in
    the energy of an affine map, all that a Barenblatt law's step depends on, no noise is left.
    """
    own = density[places]
    return own + (mean / torch.exp(power * own).mean()).log() / power
