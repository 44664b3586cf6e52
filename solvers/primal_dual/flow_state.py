"""The state of a flow between primal-dual JKO steps, and how it takes one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from problems.devices import to_device
from problems.flow import Entropy, GradientFlow
from problems.interactions import Interaction
from problems.laws import Density, Gaussian, Law
from solvers.maps import InvertibleMap
from solvers.particles.particle_pool import CANDIDATES, places, spread_draws, stratified_batches, stratified_draws
from solvers.primal_dual.affine_step import best_affine
from solvers.primal_dual.dual_value import dual_value
from solvers.primal_dual.judging import HeldOut, free_energy_values, judge_of
from solvers.primal_dual.map_records import map_of, record_of
from solvers.primal_dual.references import Reference, box_reference, gaussian_reference, reference_draws
from solvers.primal_dual.saddle_point import SaddlePoint, StepTerms
from solvers.primal_dual.settings import PrimalDualSettings
from solvers.primal_dual.step_maps import Frame, InteractionMap, whole_affine
from solvers.primal_dual.step_scale import LOOKED_AT, SMALLEST_STEP, size_of_step, slopes_at
from solvers.primal_dual.training import Judge, Points, by_turns, even_parts, train, train_dual
from solvers.primal_dual.variational import VariationalEnergy
from solvers.solver import Diverged
from solvers.threads import Run

# At most so many particles on which steps are judged, those that stand for ρ in W∗ρ, and draws of the reference law.
JUDGED, SOURCES, REFERENCE_DRAWS = 8192, 1024, 32_768
# The most numbers that a stratified pool is chosen from.
MOST_CANDIDATES = 2**24
# A pool at fewer places, and less than half of its number, is a law of points: from 1000 of a normal law in the plane
# second moments are a few per cent off, from 300 a tenth, from 30 a half.
FEWEST_PLACES = 1000


def even_draws(law: Law, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` points (n, D) of ``law``, together more even than independent draws.

    A pool is a flow's initial law for all of its steps. Where it is not Gaussian it is stratified, as far as memory
    allows: the noise of independent draws is more than a step has to learn.
    """
    if isinstance(law, Gaussian) or CANDIDATES * n * law.dim > MOST_CANDIDATES:
        return spread_draws(law, n, generator)
    return stratified_draws(law, n, generator)


def require_spread(flow: GradientFlow, pool: torch.Tensor) -> None:
    """Refuse a ``pool`` (n, D) of draws that lies at few places, where an internal energy is to spread it.

    A law with a density is never refused: rounding alone makes its draws equal. Raises ``Diverged``.
    """
    if flow.energy.internal is None or isinstance(flow.initial, Density):
        return
    count = len(places(pool)[1])
    if count < min(FEWEST_PLACES, len(pool) / 2):
        raise Diverged(
            f"at step 0 the {len(pool)} particles lie at {count} places: the initial law has no density, and no "
            "continuous map gives it one"
        )


class FlowState:
    """A flow state holds the particles of a flow, the networks of its next step, its maps and traces so far.

    ``pool`` (n, D) are the particles that are trained on, ``fresh`` others, which no training sees. The latter carry
    the density, and the former, too, where it is the reference of the dual; float64, on the CPU.

    Raises ``Diverged`` where the initial law has no covariance of full rank, or few points that should spread.
    """

    def __init__(
        self,
        settings: PrimalDualSettings,
        flow: GradientFlow,
        generator: torch.Generator,
        device: torch.device,
        run: Run,
    ) -> None:
        self.settings, self.flow, self.generator, self.device = settings, flow, generator, device
        self.pool = even_draws(flow.initial, settings.pool_size, generator)
        require_spread(flow, self.pool)
        self.fresh = even_draws(flow.initial, min(JUDGED, settings.pool_size), generator)
        self.log_density: torch.Tensor | None = None
        self.pool_log_density: torch.Tensor | None = None
        if settings.density:
            assert isinstance(flow.initial, Density)
            self.log_density = flow.initial.log_prob(self.fresh)
            if settings.reference == "carried":
                self.pool_log_density = flow.initial.log_prob(self.pool)
        draws_of_reference = min(REFERENCE_DRAWS, settings.pool_size)
        draws = reference_draws(flow.dim, settings.reference == "box", draws_of_reference, generator)
        dtype = settings.torch_dtype
        self.reference_pool = draws.to(device, dtype)
        self.reference_batches = even_parts(self.reference_pool, settings.batch_size, generator)
        self.network, self.dual = settings.map_network(flow.dim), settings.dual_network(flow.dim)
        self.saddle = SaddlePoint(
            self.network,
            self.dual,
            (
                self.network.initial(generator, settings.sharpness).to(device, dtype),
                self.dual.initial(generator, settings.sharpness).to(device, dtype),
            ),
            settings.batch_size,
            run,
        )
        self.potential = to_device(flow.potential, device, dtype)
        self.interaction = to_device(flow.energy.interaction, device, dtype)
        self.maps: list[InvertibleMap] = []
        self.counts: list[int] = []
        self.traces: dict[str, list[float]] = {}
        self.evaluations = 0
        self.internal_value: float | None = None

    def take_step(self) -> None:
        """Take a step.

        Raises ``Diverged`` with the reason where training fails, or where the law leaves the box of its reference.
        """
        began, settings, energy = time.perf_counter(), self.settings, self.flow.energy
        split = settings.interaction == "forward-backward"
        if energy.interaction is not None and split:
            self._move(InteractionMap(energy.interaction, self.pool[:SOURCES].clone(), settings.step_size))
        inside = None if split else energy.interaction
        if energy.internal is not None and self.internal_value is None and not settings.density:
            self._measure_internal_energy()
        whitening = self._whitening(inside)
        frame, reference = self.network.frame(whitening), self._reference(whitening)
        self.network.begin(size_of_step(whitening, self.pool, self.flow.potential, self._step_size, self._pressure()))
        learnt_before = bool(self.counts) and self.traces["learnt"][-1] == 1
        if not learnt_before:
            self.network.start_at(self.saddle.map_parameters, whitening, frame)
        terms = self._terms(frame, reference, inside)
        batches = self._batches(terms, frame)
        if terms.energy is not None and not self.counts:
            train_dual(self.saddle, terms, settings, *batches)
        judge = self._judge(frame, whitening, inside)
        trained = train(self.saddle, terms, settings, *batches, judge)
        self.evaluations += trained.iterations * settings.batch_size + 2 * LOOKED_AT
        if trained.parameters is None:
            between: InvertibleMap = whitening.affine
            step: InvertibleMap = whole_affine(whitening.affine, settings.implicitness)
        else:
            between = self.network.map(frame, trained.parameters, 1.0)
            step = self.network.map(frame, trained.parameters, settings.implicitness)
        self._note_dual(terms, frame, reference, between)
        self._move(step)
        if reference.box and bool((reference.coordinates(self.pool).abs() > 3**0.5).any()):
            raise Diverged("particles have left the box of the reference law: raise box_scale")
        self.counts.append(len(self.maps))
        self._note("gain", trained.gain)
        self._note("iterations", trained.iterations)
        self._note("learnt", float(trained.parameters is not None))
        if self.log_density is not None:
            law = HeldOut(self.fresh, self.log_density, self.pool[:SOURCES])
            values = free_energy_values(law, self.flow, energy.interaction)
            bad = int((~torch.isfinite(values)).sum())
            if bad and settings.patience:
                raise Diverged(f"the free energy is not finite at {bad} of {len(values)} particles")
            if not bad:
                self._note("free_energy", float(values.mean()))
        self._note("seconds", time.perf_counter() - began)

    def _note(self, name: str, value: float) -> None:
        self.traces.setdefault(name, []).append(value)

    def _move(self, step: InvertibleMap) -> None:
        """Move all particles by a map, and add it to the maps."""
        if self.log_density is not None:
            self.fresh, log_det = step.forward(self.fresh)
            self.log_density = self.log_density - log_det
        else:
            self.fresh = step.push(self.fresh)
        if self.pool_log_density is not None:
            self.pool, log_det = step.forward(self.pool)
            self.pool_log_density = self.pool_log_density - log_det
        else:
            self.pool = step.push(self.pool)
        bad = int((~torch.isfinite(self.pool)).any(1).sum())
        if bad:
            raise Diverged(f"{bad} of {len(self.pool)} particles are not finite")
        self.maps.append(step)

    @property
    def _step_size(self) -> float:
        """θh, the size of the implicit part of a step."""
        return self.settings.implicitness * self.settings.step_size

    def _whitening(self, interaction: Interaction | None) -> Frame:
        """Return the frame that whitens the pool, and what the affine start of the step makes of it."""
        mean = self.pool.mean(0)
        covariance = (self.pool - mean).T @ (self.pool - mean) / len(self.pool)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            raise Diverged("the particles lie in a plane, or their spread is not finite")
        if self.settings.start != "affine":
            return Frame(mean, factor, mean, factor)
        slopes_at(self.pool, self.flow.potential)
        internal = self.flow.energy.internal
        exponent = 1.0 if internal is None else VariationalEnergy.of(internal, 0.0).exponent
        energy = type(self.flow.energy)(self.flow.potential, internal, interaction)
        found = best_affine(self.pool, energy, exponent, self._pressure(), self._step_size)
        if found is None:
            return Frame(mean, factor, mean, factor)
        return Frame(mean, factor, found.moved, found.matrix @ factor)

    def _internal_energy(self) -> float:
        """Return ∫U(ρ_k): by the density that particles carry, else by the dual."""
        assert self.flow.energy.internal is not None
        if self.log_density is not None:
            return float(self.flow.energy.internal.energy(self.log_density).mean())
        assert self.internal_value is not None
        return self.internal_value

    def _measure_internal_energy(self) -> None:
        """Train the dual on the law as it is, before the first step, where no density says its energy."""
        mean = self.pool.mean(0)
        factor = torch.linalg.cholesky((self.pool - mean).T @ (self.pool - mean) / len(self.pool))
        still = Frame(mean, factor, mean, factor)
        frame, reference = self.network.frame(still), self._reference(still)
        self.network.begin(SMALLEST_STEP)
        self.network.start_at(self.saddle.map_parameters, still, frame)
        terms = self._terms(frame, reference, None)
        train_dual(self.saddle, terms, self.settings, *self._batches(terms, frame))
        self.internal_value = self._dual_value(terms, reference.coordinates(self.pool))[0]

    def _pressure(self) -> float:
        """Return the mean of P(ρ)/ρ, 0 where there is no internal energy."""
        internal = self.flow.energy.internal
        if isinstance(internal, Entropy):
            return 1 / internal.inverse_temperature
        return 0.0 if internal is None else (VariationalEnergy.of(internal, 0.0).exponent - 1) * self._internal_energy()

    def _judge(self, frame: Frame, whitening: Frame, interaction: Interaction | None) -> Judge | None:
        if self.log_density is None:
            return None
        law = HeldOut(self.fresh, self.log_density, self.pool[:SOURCES])
        implicitness = self.settings.implicitness

        def maps_of(parameters: torch.Tensor) -> tuple[InvertibleMap, InvertibleMap | None]:
            whole = None if implicitness == 1 else self.network.map(frame, parameters, implicitness)
            return self.network.map(frame, parameters, 1.0), whole

        return judge_of(law, whitening.affine, maps_of, self.flow, interaction, self._step_size)

    def _dual_value(
        self, terms: StepTerms, z: torch.Tensor, log_density: torch.Tensor | None = None
    ) -> tuple[float, float]:
        own, weights = z.to(self.reference_pool), self.saddle.averaged_dual
        if self.settings.reference == "carried":
            return dual_value(self.dual, weights, terms, own, own, log_density)
        return dual_value(self.dual, weights, terms, own, self.reference_pool)

    def _reference(self, whitening: Frame) -> Reference:
        if self.settings.reference == "box":
            return box_reference(self.pool, self.settings.box_scale)
        return gaussian_reference(whitening)

    def _terms(self, frame: Frame, reference: Reference, interaction: Interaction | None) -> StepTerms:
        offset, turn = reference.within(frame)
        internal = self.flow.energy.internal
        spread = float(torch.linalg.matrix_norm(frame.source)) ** 2 / self.flow.dim
        scale = getattr(self.network, "scale", 1.0)

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self.device, self.settings.torch_dtype)

        return StepTerms(
            self.potential,
            None if interaction is None else self.interaction,
            None if internal is None else VariationalEnergy.of(internal, reference.log_peak),
            self._step_size,
            scale**2 * spread / self._step_size,
            moved(frame.mean),
            moved(frame.source),
            moved(frame.moved),
            moved(frame.target),
            moved(offset),
            None if turn is None else moved(turn),
            reference.box,
        )

    def _batches(self, terms: StepTerms, frame: Frame) -> tuple[Iterator[Points], Iterator[torch.Tensor] | None]:
        """Return endless batches of particles, in coordinates of ``frame``, and of draws of the reference law."""
        pool = frame.coordinates(self.pool).to(self.device, self.settings.torch_dtype)
        size, source = self.settings.batch_size, self.generator
        if self.pool_log_density is None or terms.energy is None:
            own = by_turns(even_parts(pool, size, source), source)
            return ((points, None) for points in own), by_turns(self.reference_batches, source)
        relative = (self.pool_log_density - frame.affine.log_det - terms.energy.log_peak).to(pool)
        rows = stratified_batches(self.pool, size, source)
        return ((pool[row], relative[row]) for row in rows), None

    def _note_dual(self, terms: StepTerms, frame: Frame, reference: Reference, between: InvertibleMap) -> None:
        """Note how far the dual is from the energy that it stands for, and how far ∫h from 1, at the law of T_θ."""
        internal = self.flow.energy.internal
        if terms.energy is None or internal is None:
            return
        if self.log_density is None:
            value, residual = self._dual_value(terms, reference.coordinates(between.push(self.pool)))
            self.internal_value = value
        else:
            mapped, log_det = between.forward(self.fresh)
            log_density = self.log_density - log_det
            value, residual = self._dual_value(terms, reference.coordinates(mapped), log_density)
            gap = float((internal.energy(log_density).mean() - value) / internal.pressure(log_density).mean())
            if math.isfinite(gap):
                self._note("dual_gap", gap)
        self._note("dual_residual", residual)

    def state(self) -> dict[str, Any]:
        """Return what the next steps depend on."""
        return {
            "pool": self.pool,
            "fresh": self.fresh,
            "log_density": self.log_density,
            "pool_log_density": self.pool_log_density,
            "generator": self.generator.get_state(),
            "map": self.saddle.map_parameters,
            "dual": self.saddle.dual_parameters,
            "maps": [record_of(step) for step in self.maps],
            "counts": self.counts,
            "traces": self.traces,
            "evaluations": self.evaluations,
            "internal_value": self.internal_value,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where another one was when it gave this ``state``."""
        self.pool, self.fresh, self.log_density = state["pool"], state["fresh"], state["log_density"]
        self.pool_log_density = state["pool_log_density"]
        self.generator.set_state(state["generator"])
        self.saddle.map_parameters.copy_(state["map"])
        self.saddle.dual_parameters.copy_(state["dual"])
        self.maps = [map_of(record, self.network, self.flow.energy.interaction) for record in state["maps"]]
        self.counts, self.traces, self.evaluations = list(state["counts"]), state["traces"], state["evaluations"]
        self.internal_value = state["internal_value"]
