"""The bootstrap particle filter: simulate, weight by the likelihood, resample.

Particles follow dX = -∇V(X) dt + √(2/β) dW by steps of Euler-Maruyama, or of Heun's method, and carry weights
w ∝ ∏ p(y_k | X(t_k)). Where the effective sample size 1/Σw² has become small, they are resampled before they move on
(Gordon, Salmond, Smith, IEE Proc. F 140, 1993; Liu & Chen, J. Am. Stat. Assoc. 93, 1998). The product of the mean
weights is an unbiased estimate of the evidence of the discretised model (Del Moral, Feynman-Kac Formulae, 2004,
section 7.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import DTYPES
from problems.flow import GradientFlow
from problems.references.exact_filter import ImpossibleObservation
from problems.validation import require_choice, require_counts, require_number, require_positive
from solvers.estimates import Conditioned, Estimate, LogLikelihood, Particles
from solvers.filtering import Filter, Propagation, equal_steps
from solvers.origin import origin_of
from solvers.particles.euler_maruyama import BLOCK_ELEMENTS, drift_of, follow
from solvers.particles.resampling import SCHEMES
from solvers.solver import Cost, step_counts
from solvers.threads import block_generators, block_size, workers


@dataclass(frozen=True, kw_only=True)
class BootstrapFilter(Filter):
    """The bootstrap filter moves ``particles`` by steps of at most ``step_size`` and resamples them by ``resampling``.

    Steps are those of ``euler-maruyama`` of the same ``order``: 1, or 2 with two gradients each.

    They are resampled, before they move, when their effective sample size is at most ``threshold`` times their number:
    1 resamples after every observation, 0 never does. An observation that leaves an effective sample size below 2, or
    below ``collapse`` times the number of particles, has been lost, and raises ``Diverged``: the weights are then no
    estimate of anything (Chatterjee & Diaconis, Ann. Appl. Probab. 28, 2018). ``collapse=0`` lets that pass, as an
    unbiased evidence needs: on published path 0 of ``nonlinear-filtering`` ten particles in steps of 0.05 estimate
    1.07 ± .05 times the evidence (600 seeds), the 68 % of runs that are not lost 1.14 ± .06. A single particle cannot
    be lost.

    Points and noise are held in ``dtype`` while they move. Results depend on the seed and the device, not on the number
    of threads: blocks of fixed size have random streams of their own, and resampling is one step for all.

    The groups of its particles are their ancestors at time 0, between which variances are taken (Chan, Lai, Ann.
    Statist. 41, 2013).

    ``step_size`` is in the flow's unit of time. Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "bootstrap-filter"
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    particles: int = 10_000
    step_size: float = 1e-3
    order: int = 1
    resampling: str = "systematic"
    threshold: float = 0.5
    collapse: float = 1e-3
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles)
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, self.orders)
        require_choice(self.name, "resampling", self.resampling, tuple(SCHEMES))
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))
        require_number(self.name, at_least=0, at_most=1, threshold=self.threshold, collapse=self.collapse)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Propagation:
        return ParticlePropagation(self, flow, generator, device)


@dataclass(frozen=True, eq=False)
class CollapsingParticles(Particles):
    """Weighted particles (n, D) whose ``condition`` notices that an observation has left next to none of them.

    It then raises ``ImpossibleObservation``: where the effective sample size falls below ``least_effective``.
    """

    least_effective: float = 0.0

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        posterior, log_evidence, share = super().condition(log_likelihood, generator)
        assert isinstance(posterior, Particles)
        effective = posterior.effective_sample_size
        if effective < self.least_effective:
            raise ImpossibleObservation(
                f"the weights have collapsed, {effective:.3g} of {len(self.points)} particles are effective"
            )
        kept = CollapsingParticles(posterior.points, posterior.log_weights, self.least_effective, groups=self.groups)
        return Conditioned(kept, log_evidence, share)


class ParticlePropagation(Propagation):
    """A particle propagation moves particles in blocks, each with a random stream that lasts over all observations."""

    def __init__(
        self, settings: BootstrapFilter, flow: GradientFlow, generator: torch.Generator, device: torch.device
    ) -> None:
        self.settings, self.flow, self.generator, self.device = settings, flow, generator, device
        self.initial = flow.initial.sample(settings.particles, generator)
        self.block_size = block_size(settings.particles, flow.dim, BLOCK_ELEMENTS, device)
        self.streams = block_generators(len(self.initial.split(self.block_size)), generator, device)
        self.evaluations, self.resamplings = 0, 0

    def start(self) -> Estimate:
        n = self.settings.particles
        least = max(2.0, self.settings.collapse * n) if self.settings.collapse > 0 and n > 1 else 0.0
        return CollapsingParticles(self.initial, None, least)

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, CollapsingParticles)
        particles = self.resampled(estimate)
        count, step_size = equal_steps(stop - start, self.settings.step_size)
        noise_scale = math.sqrt(2 * step_size / self.flow.inverse_temperature)
        dtype = DTYPES[self.settings.dtype]
        origin = origin_of(self.flow.initial, dtype)
        drift = drift_of(self.flow.potential, step_size, self.device, dtype, origin)

        def move(numbered: tuple[torch.Generator, torch.Tensor]) -> torch.Tensor:
            stream, points = numbered
            return follow(drift, points, (count,), step_size, self.settings.order, noise_scale, stream, start)[0]

        with workers() as run:
            blocks = particles.points.split(self.block_size)
            moved = run(move, zip(self.streams, blocks, strict=True))
        self.evaluations += self.settings.order * count * self.settings.particles
        return CollapsingParticles(
            torch.cat(moved), particles.log_weights, particles.least_effective, groups=particles.groups
        )

    def resampled(self, particles: CollapsingParticles) -> CollapsingParticles:
        """Return equally weighted particles where the effective sample size is small, else ``particles``."""
        n = len(particles.points)
        if particles.log_weights is None or particles.effective_sample_size > self.settings.threshold * n:
            return particles
        chosen = SCHEMES[self.settings.resampling](particles.normalised_log_weights.exp(), n, self.generator)
        self.resamplings += 1
        ancestors = chosen if particles.groups is None else particles.groups[chosen]
        return CollapsingParticles(particles.points[chosen], None, particles.least_effective, groups=ancestors)

    def cost(self) -> Cost:
        return Cost(gradient_evaluations=self.evaluations)

    def diagnostics(self) -> dict[str, float | int | str]:
        return {"resamplings": self.resamplings}
