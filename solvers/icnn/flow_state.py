"""The state of one flow between JKO steps: particles in coordinates of their own, maps so far, and how each step went.

Before every step coordinates are chosen anew in which the particles have the mean 0 and variances of mean 1, and a unit
of energy by which forces and pressure are of order 1 (``solvers.icnn.units``): a flow that is moved, turned or in other
units of length or time is followed alike. A step begins at the best affine map (``solvers.icnn.affine_step``), or at
the map of the step before where that is better, and hidden units are trained where particles that no training has seen
say that one of them would lower the objective (``solvers.icnn.examination``), and by more than their noise: of the
network's own or of hundreds of others (``solvers.icnn.candidates``), which then take the places of idle ones.
Afterwards the same particles say whether the trained map is better than the affine one; if not, the step is affine. The
steps of a Gaussian law in a quadratic potential are, and nothing is trained.

Along the maps T_k the density of a particle is known, log ρ_{k+1}(T_k(x)) = log ρ_k(x) - log det ∇T_k(x), and with it
the energy ∫U(ρ) = E[U(ρ)/ρ] of a compact or heavy-tailed law that no kernel estimate would meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch

from problems.devices import placed
from problems.energies import Entropy, PowerEntropy
from problems.flow import GradientFlow
from problems.laws import Density
from problems.potentials import FiniteSum, Potential
from solvers.icnn.affine_map import AffineMap
from solvers.icnn.affine_start import start_at
from solvers.icnn.affine_step import AVERAGED, best_affine_step
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
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.free_energy import free_energy
from solvers.icnn.output_steps import SOLVE_TRACES, OutputSteps, flat
from solvers.icnn.pairs import sums_over_pairs
from solvers.icnn.parameter_gradients import pushed_with_density
from solvers.icnn.particle_averages import ParticleAverages
from solvers.icnn.ridges import lay_ridges
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.step_objective import StepObjective, StepScheme
from solvers.icnn.training import BatchDensity, Training
from solvers.icnn.units import Frame, FramedMap, Units
from solvers.maps import InvertibleMap
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Weights
from solvers.particles.particle_pool import spread_draws, stratified_draws
from solvers.preconditioning.curvature import Preconditioner, preconditioner_of
from solvers.solver import Diverged
from solvers.threads import Run

# Fresh particles, and those of the pool on which a step is looked at.
EXAMINED = 8192
# Fresh particles by which a training is judged on its way.
JUDGED = 4096
# A sum over cases is looked at through so many times as many of them as a training iteration sees.
EXAMINED_MINIBATCHES = 20

TRACES = ("seconds", "iterations", "last_gain", "fresh_gap", "stationarity")
ENERGY_TRACES = ("free_energy", "free_energy_error")

# The step, in units of the particles, that the learning rates of the settings are for; shorter ones take less.
USUAL_STEP = 0.05

# An output weight must be worth this many standard errors of what the pool's noise makes of its derivative, or else
# shrinks to nothing: particles stay the same from step to step, and what a network learnt of their noise would add up.
NOISE = 3.0

# Standard errors by which a derivative in an output weight must be negative for it to be worth training, and by which
# the map that is learnt then must be better than the affine one. With 64 units noise alone reaches the first about once
# in 200 steps: the errors are from 16 sums.
WORTH_TRAINING = 5.0
BETTER = 2.0

# Of a network's units, how many at most that have no output weight are laid anew where the residual of a step says so:
# those of an affine step, and those of a bent one, where units as they were learn better than many new ones.
LAID, GROWN = 1 / 2, 1 / 8

BLOCK = 4096
# Least variance of the particles in a direction beside the largest that their rounding leaves a meaning.
FLATTEST = 1e-13


@dataclass(eq=False)
class FlowState:
    """A flow state holds the particles of one flow, its maps so far, the traces of its steps, and why it failed if so.

    Particles are in the coordinates ``frame`` of those of ``preconditioner``, while ``maps`` are of points x: ``pool``
    (n, D) those that are trained on, ``fresh`` (m, D) others that no training sees, ``pool_density`` (n,) and
    ``fresh_density`` (m,) their log-densities in the frame, 0 for a law without density, where nothing asks for them.
    ``potential`` and ``placed_preconditioner`` are float64 on the device of training. ``frames`` are those of the maps
    so far, and ``affine`` their S and b where they are affine. ``failure`` says why no step is taken any more,
    ``evaluations`` how often ∇V was asked for.
    """

    flow: GradientFlow
    preconditioner: Preconditioner
    potential: Potential
    placed_preconditioner: Preconditioner
    generator: torch.Generator
    pool: torch.Tensor
    fresh: torch.Tensor
    frame: Frame
    pool_density: torch.Tensor
    fresh_density: torch.Tensor
    minibatch: int | None = None
    sharpness: float = 1.0
    failure: str | None = None
    units: Units | None = None
    frames: list[Frame] = field(default_factory=list)
    affine: list[tuple[torch.Tensor, torch.Tensor] | None] = field(default_factory=list)
    output_steps: OutputSteps | None = None
    maps: list[InvertibleMap] = field(default_factory=list)
    traces: dict[str, list[float]] = field(default_factory=dict)
    evaluations: int = 0
    effective: float = 1.0
    bent: bool = False
    best: tuple[torch.Tensor, torch.Tensor] | None = None

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
        alone = isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None
        draws = (spread_draws if alone else stratified_draws)(flow.initial, settings.pool_size, generator)
        fresh = flow.initial.sample(EXAMINED, generator)
        pool = preconditioner.to_coordinates(draws)
        frame = Frame.about(pool)

        def density(points: torch.Tensor) -> torch.Tensor:
            if alone or not isinstance(flow.initial, Density):
                return torch.zeros(len(points), device=device, dtype=dtype)
            return (flow.initial.log_prob(points) + frame.log_volume).to(device, dtype)

        solve = settings.output_solve
        if solve is None:
            interaction = flow.energy.interaction
            summed = interaction is not None and sums_over_pairs(interaction)
            solve = isinstance(flow.energy.internal, PowerEntropy) and not summed
        output_steps = OutputSteps.of(flow, settings, frame, generator, device) if solve else None
        traces = TRACES + (SOLVE_TRACES if solve else ())
        traces += ENERGY_TRACES if not alone and (isinstance(flow.initial, Density) or not has_internal(flow)) else ()
        return cls(
            flow,
            preconditioner,
            placed(flow.potential, device, torch.float64),
            placed(preconditioner, device, torch.float64),
            generator,
            frame.inside(pool).to(device, dtype),
            frame.inside(preconditioner.to_coordinates(fresh)).to(device, dtype),
            frame,
            density(draws),
            density(fresh),
            settings.minibatch,
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
        power, density = internal.exponent - 1, self.pool_density
        return partial(matched_density, density, torch.exp(power * density).mean(), power)

    def pace(self, scheme: StepScheme, schedule: Schedule) -> Pace:
        """Return how the network of the next step learns."""
        if self.failure is not None or self.units is None:
            return Pace(1.0, schedule.shrinkage)
        share = min(1.0, self.units.step_size(scheme) / USUAL_STEP)
        return Pace(share, self._shrinkage(schedule))

    def _shrinkage(self, schedule: Schedule) -> float:
        if self._alone:
            return schedule.shrinkage
        return max(schedule.shrinkage, NOISE / math.sqrt(len(self.pool)))

    @property
    def _alone(self) -> bool:
        """Whether the energy is an entropy and a potential."""
        energy = self.flow.energy
        return isinstance(energy.internal, Entropy) and energy.interaction is None

    def sort_pool(self) -> None:
        """Put the particles that are trained on, on the line, in their order."""
        self.pool, order = self.pool.sort(0)
        self.pool_density = self.pool_density[order[:, 0]]

    def particles(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points x of ``pool`` (n, D) and ``fresh`` (m, D), float64 on the CPU."""
        pool, fresh = (
            self.preconditioner.from_coordinates(self.frame.outside(own.cpu())) for own in (self.pool, self.fresh)
        )
        return pool, fresh

    def replace_particles(self, pool: torch.Tensor, fresh: torch.Tensor, effective: float) -> None:
        """Replace the particles of a flow of an entropy alone by points x, ``pool`` (n, D) and ``fresh`` (m, D).

        ``effective`` is the share of ``fresh`` that as many independent draws would be worth: some are there twice.
        """
        self.effective = effective
        own, others = self.preconditioner.to_coordinates(pool), self.preconditioner.to_coordinates(fresh)
        self.frame = Frame.about(own)
        self.pool, self.fresh = self.frame.inside(own).to(self.pool), self.frame.inside(others).to(self.fresh)

    def initialise(self, scheme: StepScheme) -> None:
        """Find the units of the next step, from where its particles are; where there are none, the flow fails.

        It fails by its ``failure``, and nothing is raised: others of the batch go on.
        """
        if self.failure is not None:
            return
        self.failure = flatness(self.pool)
        if self.failure is not None:
            return
        potential = self._in_preconditioner(self.potential)
        try:
            self.units = Units.of(self.flow, self.frame, potential, self.pool, self.pool_density)
        except Diverged as error:
            self.failure = str(error)

    def objectives(self, scheme: StepScheme, run: Run) -> tuple[StepObjective, Iterator[StepObjective]]:
        """Return the next step's objective for diagnostics, and an endless iterator of those for its training."""
        if self.minibatch is None or not isinstance(self.potential, FiniteSum):
            whole = self._weighted(self._objective(self.potential, scheme), scheme, run)
            return whole, repeat(whole)
        examined_by = next(self.potential.minibatches(self.examined_cases, self.generator))
        estimates = self.potential.minibatches(self.minibatch, self.generator)
        whole = self._weighted(self._objective(examined_by, scheme), scheme, run)
        return whole, (replace(self._objective(each, scheme), weight=whole.weight) for each in estimates)

    def _weighted(self, objective: StepObjective, scheme: StepScheme, run: Run) -> StepObjective:
        """Return the objective of a fitted step with its weight; where that is not found, the flow fails."""
        if not scheme.fitted:
            return objective
        averages = ParticleAverages(self.pool[:AVERAGED].double(), objective, run)
        try:
            curvature = averages.curvature()
        except Diverged as error:
            self.failure = str(error)
            return objective
        self.evaluations += averages.evaluations
        weight = FittedWeight.of(curvature, objective.step_size, self.pool.device)
        return replace(objective, weight=weight)

    @property
    def _sampled(self) -> bool:
        """Whether steps are looked at through some of the cases of the potential only."""
        own = self.potential
        return self.minibatch is not None and isinstance(own, FiniteSum) and self.examined_cases < own.cases

    @property
    def examined_cases(self) -> int:
        """How many cases steps are looked at through."""
        assert self.minibatch is not None
        assert isinstance(self.potential, FiniteSum)
        return min(self.potential.cases, EXAMINED_MINIBATCHES * self.minibatch)

    def _in_preconditioner(self, potential: Potential) -> Potential:
        return self.placed_preconditioner.potential_in(potential)

    def _objective(self, potential: Potential, scheme: StepScheme) -> StepObjective:
        assert self.units is not None
        energy = self.flow.energy
        interaction = placed(energy.interaction, self.pool.device, self.pool.dtype)
        return self.units.objective(scheme, self._in_preconditioner(potential), energy.internal, interaction)

    def begins_to_learn(
        self, weights: Weights, objective: StepObjective, scheme: StepScheme, schedule: Schedule, run: Run
    ) -> bool:
        """Put the network of the next step (S = 1), which is at the step before, where it starts.

        Return whether it is to be trained. Where there is no best affine map to start from, the flow fails.
        """
        self.best = None
        if self.output_steps is not None:
            try:
                return self.output_steps.begin(weights, objective, self.pool, self.pool_density, run)
            except Diverged as error:
                self.failure = str(error)
                return False
        if self._sampled and not scheme.affine_start:
            # An affine map that is best for some of the cases is not for all, and they would not say which is better.
            return True
        try:
            found = best_affine_step(objective, self.pool, self.pool_density, run)
        except Diverged as error:
            if falls_without_end(objective, self.fresh, run, self._carried(self.fresh_density)):
                self.failure = f"the step has no minimum, the objective falls as far as the law is spread ({error})"
            elif scheme.affine_start:
                self.failure = f"no affine map to start from: {error}; start = 'previous' needs none"
            return self.failure is None
        self.evaluations += found.evaluations
        if self._sampled:
            start_at(weights, found.matrix, found.shift)
            return True
        self.best = found.matrix, found.shift
        best = affine_map(*self.best)
        self.bent = bool(weights.output.any())
        if not scheme.affine_start and self.bent:
            before = self._values(map_of(weights), objective, run)
            if not float(before.mean()) < float(self._values(best, objective, run).mean()):
                start_at(weights, *self.best)
            else:
                self._found_units(weights, map_of(weights), objective, schedule, run, GROWN)
            # What is left of a law that units have bent is less in every step than can be told from noise in one.
            return True
        start_at(weights, *self.best)
        before = flat(weights)
        lay_ridges(weights, self.fresh, self.sharpness, self.generator)
        slopes, errors = slopes_of_units(best, weights, self.fresh, objective, run, self._carried(self.fresh_density))
        self.evaluations += len(self.fresh)
        noise = WORTH_TRAINING / math.sqrt(self.effective) * errors
        gaining = slopes + self._shrinkage(schedule) < -noise
        if bool(gaining[1::2].any()):
            # Where units as they were gain as well, they learn better than ridges do.
            set_flat(weights, before)
            return True
        return bool(gaining.any()) or self._found_units(weights, best, objective, schedule, run, LAID)

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
        density = self._carried(self.fresh_density)
        found = searched(mapping, self.fresh, objective, self.sharpness, self.generator, run, density)
        self.evaluations += len(self.fresh)
        chosen = found.gaining(self._shrinkage(schedule), WORTH_TRAINING / math.sqrt(self.effective))
        places = torch.nonzero(weights.output[0] == 0)[:, 0][: math.ceil(share * len(weights.output[0]))]
        places = places[: len(chosen)]
        put_units(weights, places, found, chosen[: len(places)])
        return len(chosen) > 0

    def judged(self, weights: Weights, objective: StepObjective, run: Run) -> torch.Tensor:
        """Return the objective, less that of the identity, at some of the fresh particles, shape (k,)."""
        return self._values(map_of(weights), objective, run, JUDGED)

    def _values(
        self, mapping: MapWithJacobian, objective: StepObjective, run: Run, count: int = EXAMINED
    ) -> torch.Tensor:
        self.evaluations += min(count, len(self.fresh))
        return values_of(mapping, self.fresh[:count], objective, run, self._carried(self.fresh_density[:count]))

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
            # After an affine step it may be noise that was learnt; after a bent one what is left is below it.
            if not gained > (0.0 if self.bent else BETTER / math.sqrt(self.effective) * error):
                start_at(weights, *best)
        if not training.iterations:
            training.last_gain = 0.0
        step = None if best is None or bool(weights.output.any()) else best
        mapping = map_of(weights) if step is None else affine_map(*step)
        gains, residual = self._examined(mapping, self.pool, self.pool_density, objective, run)
        fresh_gains, _ = self._examined(mapping, self.fresh, self.fresh_density, objective, run)
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
        """Move all particles by the map of a step, and choose coordinates anew."""

        def moved(points: torch.Tensor, density: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if step is None:
                return pushed_with_density(weights, points, density, run)
            matrix, shift = step
            log_det = float(torch.linalg.slogdet(matrix).logabsdet)
            parts = run(lambda x: (x.double() @ matrix.to(x.device) + shift.to(x.device)).to(x), points.split(BLOCK))
            return torch.cat(parts), density - log_det

        (pool, pool_density), (fresh, fresh_density) = (
            moved(points, density)
            for points, density in ((self.pool, self.pool_density), (self.fresh, self.fresh_density))
        )
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
            self.frames.append(self.frame)
            self.affine.append(step)
        own = AffineMap(*step) if step else ConvexMap(weights.to(torch.device("cpu"), torch.float64))
        self.maps.append(self.preconditioner.map_outside(FramedMap(own, self.frames[len(self.maps)])))

    def state(self) -> dict[str, Any]:
        """Return what the next steps depend on, beside the networks."""
        frames = [*self.frames, self.frame]
        return {
            "pool": self.pool,
            "fresh": self.fresh,
            "pool_density": self.pool_density,
            "fresh_density": self.fresh_density,
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
        for name in ("pool", "fresh", "pool_density", "fresh_density"):
            getattr(self, name).copy_(state[name])
        frames = [Frame(centre, length) for centre, length in zip(state["centres"], state["lengths"], strict=True)]
        self.frames, self.frame, self.affine = frames[:-1], frames[-1], list(state["affine"])
        if self.output_steps is not None:
            self.output_steps.restore(state["nodes"])
        self.generator.set_state(state["generator"])
        self.traces, self.failure, self.evaluations = state["traces"], state["failure"], state["evaluations"]
        for weights, step in zip(snapshots, self.affine, strict=False):
            self._add_map(weights, step)


def set_flat(weights: Weights, parameters: torch.Tensor) -> None:
    """Give one network (S = 1) the ``parameters`` (size,), in place."""
    parts = parameters.split([part.numel() for part in weights.parts()])
    for part, own in zip(weights.parts(), parts, strict=True):
        part.copy_(own.view(part.shape))


def flatness(points: torch.Tensor) -> str | None:
    """Return in words that ``points`` (n, D) of mean about 0 lie in a subspace, as far as rounding can tell, if so."""
    spectrum = torch.linalg.eigvalsh((points.double().T @ points.double() / len(points)).cpu())
    if float(spectrum[0]) > FLATTEST * float(spectrum[-1]):
        return None
    least, most = float(spectrum[0]), float(spectrum[-1])
    return f"the covariance of the particles has no full rank (its least eigenvalue is {least:.3g} of {most:.3g})"


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
