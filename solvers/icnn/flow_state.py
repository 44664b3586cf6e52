"""The state of one flow between JKO steps: particles in coordinates of their own, maps so far, and how each step went.

Before every step coordinates are chosen anew in which the particles have the mean 0 and variances of mean 1, and a unit
of energy by which forces and pressure are of order 1 (``solvers.icnn.units``): a flow that is moved, turned or in other
units of length or time is followed alike. A step begins at the best affine map (``solvers.icnn.affine_step``), or at
the map of the step before where that is better, and hidden units are trained where particles that no training has seen
say that one of them would lower the objective (``solvers.icnn.examination``), and by more than their noise: of the
network's own or of hundreds of others (``solvers.icnn.candidates``), which then take the places of idle ones.
Afterwards the same particles say whether the trained map is better than the affine one; if not, the step is affine. The
steps of a Gaussian law in a quadratic potential are, and nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from problems.devices import to_device
from problems.energies import PowerEntropy
from problems.flow import GradientFlow
from problems.laws import Density
from problems.potentials import FiniteSum
from solvers.icnn.affine_start import start_at
from solvers.icnn.affine_step import best_affine_step
from solvers.icnn.candidates import put_units, searched
from solvers.icnn.descent import Pace, Schedule
from solvers.icnn.examination import (
    MapWithJacobian,
    affine_map,
    difference,
    examined,
    falls_without_end,
    gain,
    map_of,
    slopes_of_units,
    values_of,
)
from solvers.icnn.free_energy import free_energy
from solvers.icnn.gaussian_law import gaussian_moments
from solvers.icnn.output_steps import SOLVE_TRACES, OutputSteps, flat, set_flat
from solvers.icnn.pairs import sums_over_pairs
from solvers.icnn.path_forces import forces_under_affine_map
from solvers.icnn.population import EXAMINED, HELD, Population, entropic
from solvers.icnn.positive_map import PositiveMap
from solvers.icnn.ridges import lay_ridges
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.step_objective import StepObjective, StepScheme
from solvers.icnn.step_objectives import StepObjectives
from solvers.icnn.training import BatchDensity, Training
from solvers.icnn.units import Frame, FramedMap, Units
from solvers.maps import ScoreCarryingMap
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Weights
from solvers.preconditioning.curvature import Preconditioner, preconditioner_of
from solvers.solver import Diverged
from solvers.threads import Run

# Fresh particles by which a training is judged on its way.
JUDGED = 4096

TRACES = ("seconds", "iterations", "last_gain", "fresh_gap", "stationarity")
ENERGY_TRACES = ("free_energy", "free_energy_error")

# The step, in units of the particles, that the learning rates of the settings are for; shorter ones take less.
USUAL_STEP = 0.05

# An output weight must be worth this many standard errors of what the pool's noise makes of its derivative, or else
# shrinks to nothing: particles stay the same from step to step, and what a network learnt of their noise would add up.
NOISE = 3.0

# Standard errors by which a derivative in an output weight must be negative for it to be worth training, and by which
# the map that is learnt then must be better than the affine one. With 64 units noise alone reaches the first about once
# in 6000 steps: the errors are from 64 sums.
WORTH_TRAINING = 5.0
BETTER = 2.0

# Particles that are asked what force is left on them, and the force, in units of the flow's own, that is none.
ASKED = 512
NO_FORCE = 1e-4

# Of a network's units, how many at most that have no output weight are laid anew where the residual of a step says so:
# those of an affine step, and those of a bent one, where units as they were learn better than many new ones.
LAID, GROWN = 1 / 2, 1 / 8


@dataclass(eq=False)
class FlowState:
    """A flow state holds the particles of one flow, its maps so far, the traces of its steps, and why it failed if so.

    ``particles`` are in coordinates of their own of those of ``preconditioner``, while ``maps`` are of points x.
    ``energies`` are what their steps minimise. ``frames`` are those of the maps so far, and ``affine`` their S and b
    where they are affine. ``failure`` says why no step is taken any more, ``evaluations`` how often ∇V was asked for.
    """

    flow: GradientFlow
    preconditioner: Preconditioner
    energies: StepObjectives
    generator: torch.Generator
    particles: Population
    sharpness: float = 1.0
    failure: str | None = None
    units: Units | None = None
    frames: list[Frame] = field(default_factory=list)
    affine: list[tuple[torch.Tensor, torch.Tensor] | None] = field(default_factory=list)
    output_steps: OutputSteps | None = None
    maps: list[ScoreCarryingMap] = field(default_factory=list)
    traces: dict[str, list[float]] = field(default_factory=dict)
    evaluations: int = 0
    effective: float = 1.0
    bent: bool = False
    best: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def drawn_from(
        cls,
        flow: GradientFlow,
        settings: ICNNSettings,
        generator: torch.Generator,
        device: torch.device,
        scored: bool = True,
    ) -> FlowState:
        """Return the state at time 0, with particles of the initial law; failed where no preconditioner is found.

        Particles carry scores only if they may be ``scored``: whoever replaces them on the way brings theirs.
        """
        preconditioner, failure = Preconditioner(), None
        try:
            preconditioner = preconditioner_of(settings.preconditioner, flow)
        except Diverged as error:
            failure = str(error)
        particles = Population.drawn_from(flow, settings, preconditioner, generator, device, scored)
        solve = settings.output_solve
        if solve is None:
            interaction = flow.energy.interaction
            summed = interaction is not None and sums_over_pairs(interaction)
            solve = isinstance(flow.energy.internal, PowerEntropy) and not summed
        output_steps = OutputSteps.of(flow, settings, particles.frame, generator, device) if solve else None
        traces = TRACES + (SOLVE_TRACES if solve else ())
        known = isinstance(flow.initial, Density) or flow.energy.internal is None
        traces += ENERGY_TRACES if known and not entropic(flow) else ()
        return cls(
            flow,
            preconditioner,
            StepObjectives(
                flow,
                to_device(flow.potential, device, torch.float64),
                to_device(preconditioner, device, torch.float64),
                settings.minibatch,
            ),
            generator,
            particles,
            settings.sharpness,
            failure,
            output_steps=output_steps,
            traces={name: [] for name in traces},
        )

    @property
    def batch_density(self) -> BatchDensity | None:
        """The log-densities of some particles of the pool, as a batch has them, where steps ask for them."""
        internal = self.flow.energy.internal
        if self.failure is not None or not isinstance(internal, PowerEntropy):
            return None
        return self.particles.matched(internal.exponent - 1)

    def pace(self, scheme: StepScheme, schedule: Schedule) -> Pace:
        """Return how the network of the next step learns."""
        if self.failure is not None or self.units is None:
            return Pace(1.0, schedule.shrinkage)
        share = min(1.0, self.units.step_size(scheme) / USUAL_STEP)
        return Pace(share, self._shrinkage(schedule))

    def _shrinkage(self, schedule: Schedule) -> float:
        if entropic(self.flow):
            return schedule.shrinkage
        return max(schedule.shrinkage, NOISE / math.sqrt(len(self.particles.pool)))

    def points(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points x of the particles that are trained on (n, D) and of the fresh ones (m, D), on the CPU."""
        pool, fresh = (self.preconditioner.from_coordinates(own) for own in self.particles.outside())
        return pool, fresh

    def replace_particles(
        self, pool: torch.Tensor, fresh: torch.Tensor, effective: float, scores: torch.Tensor | None
    ) -> None:
        """Replace the particles of a flow of an entropy alone by points x, ``pool`` (n, D) and ``fresh`` (m, D).

        ``effective`` is the share of ``fresh`` that as many independent draws would be worth: some are there twice.
        ``scores`` (n, D) are those of ``pool``, where particles carry them.
        """
        self.effective = effective
        there = self.preconditioner
        own = None if scores is None else there.gradient_in(scores)
        self.particles.replace(there.to_coordinates(pool), there.to_coordinates(fresh), own)

    def initialise(self, scheme: StepScheme) -> None:
        """Find the units of the next step, from where its particles are; where there are none, the flow fails.

        It fails by its ``failure``, and nothing is raised: others of the batch go on.
        """
        if self.failure is not None:
            return
        self.failure = self.particles.flatness()
        if self.failure is not None:
            return
        try:
            self.units = self.energies.units(self.particles)
        except Diverged as error:
            self.failure = str(error)

    def objectives(self, scheme: StepScheme, run: Run) -> tuple[StepObjective, Iterator[StepObjective]] | None:
        """Return the next step's objective for diagnostics, and an endless iterator of those for its training.

        ``None`` where there are none: the flow has then failed.
        """
        assert self.units is not None
        try:
            found = self.energies.of_step(scheme, self.units, self.particles, self.generator, run)
        except Diverged as error:
            self.failure = str(error)
            return None
        self.evaluations += found.evaluations
        return found.whole, found.training

    def begins_to_learn(
        self, weights: Weights, objective: StepObjective, scheme: StepScheme, schedule: Schedule, run: Run
    ) -> bool:
        """Put the network of the next step (S = 1), which is at the step before, where it starts.

        Return whether it is to be trained. Where there is no best affine map to start from, the flow fails.
        """
        own, law, self.best = self.particles, None, None
        if self.output_steps is not None:
            try:
                return self.output_steps.begin(weights, objective, own.pool, own.pool_density, run)
            except Diverged as error:
                self.failure = str(error)
                return False
        if self.energies.sampled and not scheme.affine_start:
            # An affine map that is best for some of the cases is not for all, and they would not say which is better.
            return True
        found, trouble = None, "no best affine map is found"
        try:
            dear = isinstance(self.flow.potential, FiniteSum)
            law = None if own.scores is None else gaussian_moments(own.pool, own.scores)
            found = best_affine_step(objective, own.pool, own.pool_density, run, dear, law)
            self.evaluations += found.evaluations
        except Diverged as error:
            trouble = str(error)
        if found is None or not found.found:
            if falls_without_end(objective, own.fresh, run, self._carried(own.fresh_density)):
                self.failure = f"the step has no minimum, the objective falls as far as the law is spread ({trouble})"
            elif scheme.affine_start and found is None:
                self.failure = f"no affine map to start from: {trouble}; start = 'previous' needs none"
        if found is None or self.failure is not None:
            return self.failure is None
        if self.energies.sampled:
            start_at(weights, found.matrix, found.shift)
            return True
        self.best = found.matrix, found.shift
        best = affine_map(*self.best)
        self.bent = bool(weights.output.any()) or (not scheme.affine_start and None in self.affine)
        if not scheme.affine_start and bool(weights.output.any()):
            before = self._values(map_of(weights), objective, run)
            if not float(before.mean()) < float(self._values(best, objective, run).mean()):
                start_at(weights, *self.best)
            else:
                self._found_units(weights, map_of(weights), objective, schedule, run, GROWN)
            # What is left of a law that units have bent is less in every step than can be told from noise in one.
            return True
        start_at(weights, *self.best)
        if not found.found:
            return True
        if law is not None and self._nothing_left(objective):
            return False
        before = flat(weights)
        lay_ridges(weights, own.fresh, self.sharpness, self.generator)
        slopes, errors = slopes_of_units(best, weights, own.fresh, objective, run, self._carried(own.fresh_density))
        self.evaluations += len(own.fresh)
        noise = WORTH_TRAINING / math.sqrt(self.effective) * errors
        gaining = slopes + self._shrinkage(schedule) < -noise
        if bool(gaining[1::2].any()):
            # Where units as they were gain as well, they learn better than ridges do.
            set_flat(weights, before)
            return True
        found_units = bool(gaining.any()) or self._found_units(weights, best, objective, schedule, run, LAID)
        return found_units or self.bent

    def _nothing_left(self, objective: StepObjective) -> bool:
        """Return whether the best affine map leaves no force on particles with scores: then no unit lowers anything."""
        assert self.best is not None
        assert self.particles.scores is not None
        x, scores = self.particles.pool[:ASKED], self.particles.scores[:ASKED]
        forces = forces_under_affine_map(objective, x, scores, *self.best)
        self.evaluations += len(x)
        return bool(forces.square().mean().sqrt() < NO_FORCE)

    def _found_units(
        self,
        weights: Weights,
        mapping: MapWithJacobian,
        objective: StepObjective,
        schedule: Schedule,
        run: Run,
        share: float,
    ) -> bool:
        """Look for units that lower the objective at a map, and return whether there are any, which the network gets.

        They take the places of units that have no output weight, of at most a ``share`` of the network.
        """
        if not weights.couplings:
            return False
        fresh, density = self.particles.fresh, self._carried(self.particles.fresh_density)
        found = searched(mapping, fresh, objective, self.sharpness, self.generator, run, density)
        self.evaluations += len(fresh)
        chosen = found.gaining(self._shrinkage(schedule), WORTH_TRAINING / math.sqrt(self.effective))
        places = torch.nonzero(weights.output[0] == 0)[:, 0][: math.ceil(share * len(weights.output[0]))]
        places = places[: len(chosen)]
        put_units(weights, places, found, chosen[: len(places)])
        return len(chosen) > 0

    def fresh_values(self, weights: Weights, objective: StepObjective, run: Run) -> torch.Tensor:
        """Return the objective, less that of the identity, at some of the fresh particles, shape (k,)."""
        return self._values(map_of(weights), objective, run, JUDGED)

    def _values(
        self, mapping: MapWithJacobian, objective: StepObjective, run: Run, count: int = EXAMINED
    ) -> torch.Tensor:
        fresh, density = self.particles.fresh[:count], self.particles.fresh_density[:count]
        self.evaluations += len(fresh)
        return values_of(mapping, fresh, objective, run, self._carried(density))

    def _carried(self, density: torch.Tensor) -> torch.Tensor | None:
        return density if isinstance(self.flow.energy.internal, PowerEntropy) else None

    def accept(self, weights: Weights, objective: StepObjective, training: Training, run: Run) -> None:
        """Note the diagnostics of a step, trained or not, and move all particles by its map.

        After a failure none moves.
        """
        if self.failure is None:
            self.failure = training.failure
        self.evaluations += training.iterations * training.schedule.batch_size
        if self.failure is not None:
            return
        best = self.best
        if self.output_steps is not None:
            for name, value in self.output_steps.finish(weights, training.iterations > 0, run).items():
                self.traces[name].append(value)
        elif training.iterations and best is not None:
            trained, affine = (self._values(own, objective, run) for own in (map_of(weights), affine_map(*best)))
            gained, error = gain(affine, trained)
            if not gained > self._least_gain(error):
                start_at(weights, *best)
        if not training.iterations:
            training.last_gain = 0.0
        step = None if best is None or bool(weights.output.any()) else best
        mapping = map_of(weights) if step is None else affine_map(*step)
        own = self.particles
        gains, residual = self._examined(mapping, own.pool, own.pool_density, objective, run)
        fresh_gains, _ = self._examined(mapping, own.fresh, own.fresh_density, objective, run)
        bad = int((~torch.isfinite(torch.cat([gains, fresh_gains]))).sum())
        if bad:
            self.failure = f"the objective is not finite at {bad} of {len(gains) + len(fresh_gains)} particles"
            return
        self.traces["iterations"].append(training.iterations)
        self.traces["last_gain"].append(training.last_gain)
        self.traces["fresh_gap"].append(difference(gains, fresh_gains))
        self.traces["stationarity"].append(residual)
        self._add_map(weights, step)
        self._move(weights, step, run)

    def _least_gain(self, error: float) -> float:
        """Return how much better a trained map must be than the affine one, by a gain of standard error ``error``.

        After an affine step it may be noise that was learnt; after a bent one what is left is below it. Where the
        fresh particles are worth fewer draws than there are, the pool knows more than they do, unless they are clear.
        """
        noise = BETTER / math.sqrt(self.effective) * error
        if not self.bent:
            return noise
        return 0.0 if self.effective == 1 else -noise

    def _examined(
        self,
        mapping: MapWithJacobian,
        points: torch.Tensor,
        density: torch.Tensor,
        objective: StepObjective,
        run: Run,
    ) -> tuple[torch.Tensor, float]:
        self.evaluations += min(EXAMINED, len(points))
        return examined(mapping, points[:EXAMINED], objective, run, self._carried(density[:EXAMINED]))

    def _move(self, weights: Weights, step: tuple[torch.Tensor, torch.Tensor] | None, run: Run) -> None:
        """Move all particles by the map of a step, and note the free energy that they then have."""
        try:
            inner = self.particles.move(weights, step, run)
        except Diverged as error:
            self.failure = str(error)
            return
        if self.output_steps is not None:
            self.output_steps.move(weights, inner, run)
        if "free_energy" in self.traces:
            found = free_energy(self.flow.energy, self.energies.potential, *self.particles.fresh_outside())
            if not math.isfinite(found[0] + found[1]):
                self.failure = "the free energy is not finite"
                return
            for name, value in zip(ENERGY_TRACES, found, strict=True):
                self.traces[name].append(value)

    def end_step(self, place: str, seconds: float) -> None:
        """Note how long a step took and, if the flow failed in it, at which ``place`` that was."""
        self.traces["seconds"].append(seconds)
        if self.failure is not None:
            self.failure = f"{place}: {self.failure}"

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return the maximum over the steps of each diagnostic, 0 where there were none."""
        return {name: max(self.traces[name], default=0.0) for name in ("fresh_gap", "stationarity", "last_gain")}

    def _add_map(self, weights: Weights, step: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        """Add the map of a step to the maps: ∇ψ of one network (S = 1), or the affine one with S and b."""
        if len(self.frames) == len(self.maps):
            self.frames.append(self.particles.frame)
            self.affine.append(step)
        own = PositiveMap(*step) if step else ConvexMap(weights.to(torch.device("cpu"), torch.float64))
        self.maps.append(self.preconditioner.map_outside(FramedMap(own, self.frames[len(self.maps)])))

    def state(self) -> dict[str, Any]:
        """Return what the next steps depend on, beside the networks."""
        frames = [*self.frames, self.particles.frame]
        return {
            **{name: getattr(self.particles, name) for name in HELD},
            "scores": self.particles.scores,
            "centres": torch.stack([frame.centre for frame in frames]),
            "lengths": [frame.length for frame in frames],
            "affine": self.affine,
            "nodes": None if self.output_steps is None else self.output_steps.state(),
            "generator": self.generator.get_state(),
            "traces": self.traces,
            "failure": self.failure,
            "evaluations": self.evaluations,
        }

    def restore(self, state: Mapping[str, Any], snapshots: Sequence[Weights]) -> None:
        """Go to where another one was when it gave this ``state``, with the networks of its steps so far."""
        for name in HELD:
            getattr(self.particles, name).copy_(state[name])
        if self.particles.scores is not None:
            self.particles.scores.copy_(state["scores"])
        frames = [Frame(centre, length) for centre, length in zip(state["centres"], state["lengths"], strict=True)]
        self.frames, self.particles.frame, self.affine = frames[:-1], frames[-1], list(state["affine"])
        if self.output_steps is not None:
            self.output_steps.restore(state["nodes"])
        self.generator.set_state(state["generator"])
        self.traces, self.failure, self.evaluations = state["traces"], state["failure"], state["evaluations"]
        for weights, step in zip(snapshots, self.affine, strict=False):
            self._add_map(weights, step)
