"""The objectives of a flow's steps, in the units of its particles: of all cases of its potential, or of some of them.

A potential that is a sum over many cases is estimated by minibatches, one after the other, while a step is trained; it
is looked at, and judged, through more of them, which stay the same for the whole step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

import torch

from problems.devices import to_device
from problems.flow import GradientFlow
from problems.potentials import FiniteSum, Potential
from solvers.icnn.affine_step import AVERAGED
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.particle_averages import ParticleAverages
from solvers.icnn.population import Population
from solvers.icnn.step_objective import StepObjective, StepScheme
from solvers.icnn.units import Units
from solvers.preconditioning.curvature import Preconditioner
from solvers.threads import Run

# A sum over cases is looked at through so many times as many of them as a training iteration sees.
EXAMINED_MINIBATCHES = 20


class OfStep(NamedTuple):
    """What a step is judged by, ``whole``, and an endless iterator of what its training sees, ``training``.

    ``evaluations`` is how often ∇V was asked for.
    """

    whole: StepObjective
    training: Iterator[StepObjective]
    evaluations: int


@dataclass(frozen=True, eq=False)
class StepObjectives:
    """The step objectives of one flow in the coordinates of a preconditioner, and in minibatches of cases if not None.

    ``potential`` and ``preconditioner`` are float64 on the device of training.
    """

    flow: GradientFlow
    potential: Potential
    preconditioner: Preconditioner
    minibatch: int | None

    @property
    def sampled(self) -> bool:
        """Whether steps are looked at through some of the cases of the potential only."""
        own = self.potential
        return self.minibatch is not None and isinstance(own, FiniteSum) and self.examined_cases < own.cases

    @property
    def examined_cases(self) -> int:
        """How many cases steps are looked at through."""
        assert self.minibatch is not None
        assert isinstance(self.potential, FiniteSum)
        return min(self.potential.cases, EXAMINED_MINIBATCHES * self.minibatch)

    def units(self, particles: Population) -> Units:
        """Return the units of the next step of ``particles``; raises as ``Units.of`` does."""
        potential = self.preconditioner.potential_in(self.potential)
        return Units.of(self.flow, particles.frame, potential, particles.pool, particles.pool_density)

    def of_step(
        self, scheme: StepScheme, units: Units, particles: Population, generator: torch.Generator, run: Run
    ) -> OfStep:
        """Return the objectives of the next step of ``particles``; ``generator`` draws cases.

        Raises ``Diverged`` where a fitted step has no weight.
        """
        if self.minibatch is None or not isinstance(self.potential, FiniteSum):
            whole, evaluations = self._weighted(
                self._objective(self.potential, scheme, units, particles), scheme, particles, run
            )
            return OfStep(whole, repeat(whole), evaluations)
        examined_by = next(self.potential.minibatches(self.examined_cases, generator))
        estimates = self.potential.minibatches(self.minibatch, generator)
        plain = self._objective(examined_by, scheme, units, particles)
        whole, evaluations = self._weighted(plain, scheme, particles, run)
        training = (replace(self._objective(each, scheme, units, particles), weight=whole.weight) for each in estimates)
        return OfStep(whole, training, evaluations)

    def _objective(
        self, potential: Potential, scheme: StepScheme, units: Units, particles: Population
    ) -> StepObjective:
        energy, pool = self.flow.energy, particles.pool
        interaction = to_device(energy.interaction, pool.device, pool.dtype)
        return units.objective(scheme, self.preconditioner.potential_in(potential), energy.internal, interaction)

    def _weighted(
        self, objective: StepObjective, scheme: StepScheme, particles: Population, run: Run
    ) -> tuple[StepObjective, int]:
        """Return the objective of a fitted step with its weight, and how often ∇V was asked for."""
        if not scheme.fitted:
            return objective, 0
        averages = ParticleAverages(particles.pool[:AVERAGED].double(), objective, run)
        curvature = averages.curvature()
        weight = FittedWeight.of(curvature, objective.step_size, particles.pool.device)
        return replace(objective, weight=weight), averages.evaluations
