"""The state of a flow between primal-dual JKO steps, and how it takes one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from problems.devices import placed
from problems.flow import Entropy, GradientFlow
from problems.interactions import Interaction
from problems.laws import Density
from solvers.maps import InvertibleMap
from solvers.particles.particle_pool import spread_draws
from solvers.primal_dual.affine_step import best_affine
from solvers.primal_dual.dual_network import DualPass, positive
from solvers.primal_dual.judging import Judged, free_energy_values, gain_of, objective_values
from solvers.primal_dual.map_records import map_of, record_of
from solvers.primal_dual.references import Reference, box_reference, gaussian_reference, reference_draws
from solvers.primal_dual.saddle_point import SaddlePoint, StepTerms
from solvers.primal_dual.settings import PrimalDualSettings
from solvers.primal_dual.step_maps import AffineMap, Frame, InteractionMap
from solvers.primal_dual.training import Judge, train, train_dual
from solvers.primal_dual.variational import VariationalEnergy
from solvers.solver import Diverged
from solvers.threads import Run

# Particles on which steps are judged, those that stand for ρ in W∗ρ, those on which slopes are looked at, and draws of
# the reference law.
JUDGED, SOURCES, LOOKED_AT, REFERENCE_DRAWS = 8192, 1024, 4096, 32_768
GRADIENT_BLOCK = 512
# Least and largest size of a step, in standard deviations of the law, that networks are scaled to.
SMALLEST_STEP, LARGEST_STEP = 1e-6, 1.0


class FlowState:
    """A flow state holds the particles of a flow, the networks of its next step, its maps and traces so far.

    ``pool`` (n, D) are the particles that are trained on, ``fresh`` others, which no training sees and which carry the
    density; float64, on the CPU.
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
        self.pool = spread_draws(flow.initial, settings.pool_size, generator)
        self.fresh = spread_draws(flow.initial, JUDGED, generator)
        self.log_density: torch.Tensor | None = None
        if settings.density:
            assert isinstance(flow.initial, Density)
            self.log_density = flow.initial.log_prob(self.fresh)
        draws = reference_draws(flow.dim, settings.reference == "box", REFERENCE_DRAWS, generator)
        dtype = settings.torch_dtype
        self.reference_pool = draws.to(device, dtype)
        self.network, self.dual = settings.map_network(flow.dim), settings.dual_network(flow.dim)
        self.saddle = SaddlePoint(
            self.network,
            self.dual,
            (self.network.initial(generator).to(device, dtype), self.dual.initial(generator).to(device, dtype)),
            settings.batch_size,
            run,
        )
        self.potential = placed(flow.potential, device, dtype)
        self.interaction = placed(flow.energy.interaction, device, dtype)
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
        self.network.begin(self._size_of_step(whitening))
        learnt_before = bool(self.counts) and self.traces["learnt"][-1] == 1
        if not learnt_before:
            self.network.start_at(self.saddle.map_parameters, whitening, frame)
        terms = self._terms(frame, reference, inside)
        pool = frame.coordinates(self.pool).to(self.device, settings.torch_dtype)
        if terms.energy is not None and not self.counts:
            train_dual(self.saddle, terms, settings, pool, self.reference_pool, self.generator)
        judge = self._judge(frame, whitening, inside) if settings.density else None
        trained = train(self.saddle, terms, settings, pool, self.reference_pool, self.generator, judge)
        self.evaluations += trained.iterations * settings.batch_size + 2 * LOOKED_AT
        step, between = self._maps(frame, whitening, trained.parameters)
        self._note_dual(terms, frame, reference, between)
        self._move(step)
        if reference.box and bool((reference.coordinates(self.pool).abs() > 3**0.5).any()):
            raise Diverged("particles have left the box of the reference law: raise box_scale")
        self.counts.append(len(self.maps))
        self._note("gain", trained.gain)
        self._note("iterations", trained.iterations)
        self._note("learnt", float(trained.parameters is not None))
        if self.log_density is not None:
            law = Judged(self.fresh, self.log_density, self.pool[:SOURCES])
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
        self._require_finite_slopes(self.pool)
        internal, scale, exponent = self.flow.energy.internal, 0.0, 1.0
        if isinstance(internal, Entropy):
            scale = 1 / internal.inverse_temperature
        elif internal is not None:
            exponent = VariationalEnergy.of(internal, 0.0).exponent
            scale = (exponent - 1) * self._internal_energy()
        energy = type(self.flow.energy)(self.flow.potential, internal, interaction)
        found = best_affine(self.pool, energy, exponent, scale, self._step_size)
        if found is None:
            return Frame(mean, factor, mean, factor)
        return Frame(mean, factor, found.moved, found.matrix @ factor)

    def _require_finite_slopes(self, points: torch.Tensor) -> torch.Tensor:
        blocks = points[:LOOKED_AT].split(GRADIENT_BLOCK)
        slopes = torch.cat([self.flow.potential.gradient(block) for block in blocks])
        bad = int((~torch.isfinite(slopes)).any(1).sum())
        if bad:
            raise Diverged(f"the gradient of the potential is not finite at {bad} of {len(slopes)} particles")
        return slopes

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
        pool = frame.coordinates(self.pool).to(self.device, self.settings.torch_dtype)
        train_dual(self.saddle, terms, self.settings, pool, self.reference_pool, self.generator)
        self.internal_value = self._dual_value(terms, reference.coordinates(self.pool))[0]

    def _reference(self, whitening: Frame) -> Reference:
        if self.settings.reference == "box":
            return box_reference(self.pool, self.settings.box_scale)
        return gaussian_reference(whitening)

    def _size_of_step(self, whitening: Frame) -> float:
        """Return how far a step moves, in standard deviations: δ, which the values of networks are multiplied by."""
        places = whitening.affine.push(self.pool[:LOOKED_AT])
        slopes = self._require_finite_slopes(places)
        shift = whitening.coordinates(places) - whitening.coordinates(self.pool[:LOOKED_AT])
        force = self._step_size * slopes @ whitening.inverse.T
        spread = float(torch.linalg.matrix_norm(whitening.source)) ** 2 / self.flow.dim
        internal = self.flow.energy.internal
        pressure = 0.0
        if isinstance(internal, Entropy):
            pressure = 1 / internal.inverse_temperature
        elif internal is not None:
            exponent = VariationalEnergy.of(internal, 0.0).exponent
            value = self.internal_value if self.log_density is None else self._internal_energy()
            pressure = (exponent - 1) * (value or 0.0)
        sizes = (
            float(shift.square().mean().sqrt()),
            float(force.square().mean().sqrt()),
            self._step_size * pressure / spread,
        )
        return min(max(*sizes, SMALLEST_STEP), LARGEST_STEP)

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

    def _judge(self, frame: Frame, whitening: Frame, interaction: Interaction | None) -> Judge:
        """Return what compares maps with the affine start of the step, on particles that no training sees."""
        assert self.log_density is not None
        law, h = Judged(self.fresh, self.log_density, self.pool[:SOURCES]), self._step_size
        start = objective_values(law, whitening.affine, self.flow, interaction, h)

        def judge(parameters: torch.Tensor) -> tuple[float, float]:
            now = objective_values(law, self.network.map(frame, parameters, 1.0), self.flow, interaction, h)
            if self.settings.implicitness < 1:
                whole = self.network.map(frame, parameters, self.settings.implicitness)
                now = torch.where(whole.forward(self.fresh)[1].isnan(), torch.nan, now)
            return gain_of(start, now)

        return judge

    def _maps(
        self, frame: Frame, whitening: Frame, parameters: torch.Tensor | None
    ) -> tuple[InvertibleMap, InvertibleMap]:
        """Return the map of the whole step and that to its intermediate point, of a network or the affine start."""
        implicitness = self.settings.implicitness
        if parameters is not None:
            return self.network.map(frame, parameters, implicitness), self.network.map(frame, parameters, 1.0)
        between, identity = whitening.affine, torch.eye(self.flow.dim, dtype=torch.float64)
        whole = AffineMap(identity + (between.matrix - identity) / implicitness, between.shift / implicitness)
        return whole, between

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
            value, residual = self._dual_value(terms, reference.coordinates(mapped))
            log_density = self.log_density - log_det
            gap = float((internal.energy(log_density).mean() - value) / internal.pressure(log_density).mean())
            if math.isfinite(gap):
                self._note("dual_gap", gap)
        self._note("dual_residual", residual)

    def _dual_value(self, terms: StepTerms, z: torch.Tensor) -> tuple[float, float]:
        """Return the dual's estimate of ∫U for a law of draws with coordinates ``z`` (n, D), and |E_γ[wg]/E_ρ[w] - 1|."""
        energy = terms.energy
        assert energy is not None
        own, others = z.to(self.reference_pool), self.reference_pool
        weights, output = self.saddle.averaged_dual, self.dual.output
        found = []
        for points in (own, others):
            values = [
                DualPass(self.dual, len(block), block).forward(weights, block).clone() for block in points.split(512)
            ]
            log_g, _ = positive(output, torch.cat(values))
            log_h = log_g + torch.cat([terms.log_reference(block) for block in points.split(512)])
            found.append((log_h.double(), log_g.double()))
        (log_h, _), (other_h, other_g) = found
        value = energy.of_law(log_h).mean() - energy.of_reference(other_h, other_g).mean()
        residual = (energy.weight(other_h) * other_g.exp()).mean() / energy.weight(log_h).mean() - 1
        return float(value), abs(float(residual))

    def state(self) -> dict[str, Any]:
        """Return what the next steps depend on."""
        return {
            "pool": self.pool,
            "fresh": self.fresh,
            "log_density": self.log_density,
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
        self.generator.set_state(state["generator"])
        self.saddle.map_parameters.copy_(state["map"])
        self.saddle.dual_parameters.copy_(state["dual"])
        self.maps = [map_of(record, self.network, self.flow.energy.interaction) for record in state["maps"]]
        self.counts, self.traces, self.evaluations = list(state["counts"]), state["traces"], state["evaluations"]
        self.internal_value = state["internal_value"]
