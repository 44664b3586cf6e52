"""Euler-Maruyama: particles that follow the stochastic differential equation of the flow, each for itself.

The law of dX = -∇V(X) dt + √(2/β) dW solves the Fokker-Planck equation ∂ρ = ∇·(ρ∇V) + β⁻¹Δρ. The scheme is

    X_{k+1} = X_k - h ∇V(X_k) + √(2h/β) ξ_k,    ξ_k ~ N(0, I) independent,

of weak order 1 (Kloeden, Platen, Numerical Solution of Stochastic Differential Equations, 1992, chapter 14). Run for
long in the negative log-density of a posterior it is the unadjusted Langevin algorithm (Roberts, Tweedie, Bernoulli 2,
1996). Heun's method takes the mean of the drifts at both ends, with the same noise,

    Y       = X_k - h ∇V(X_k) + √(2h/β) ξ_k,
    X_{k+1} = X_k - ½h (∇V(X_k) + ∇V(Y)) + √(2h/β) ξ_k,

which is of weak order 2, since the noise is additive (same book, chapter 15).

Where V is steep in some directions and flat in others, h is that of the steepest, and the flattest take very many steps
to relax. With a preconditioner Q the same scheme in y = Q^{½} x,

    X_{k+1} = X_k - h Q⁻¹∇V(X_k) + √(2h/β) Q^{-½} ξ_k,

follows another flow with the same stationary law (Roberts, Stramer, Methodol. Comput. Appl. Probab. 4, 2002), see
``solvers.preconditioning.curvature``.

Without an internal energy there is no noise. With an interaction particles move together
(``solvers/particles/interacting_particles.py``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import DTYPES
from problems.flow import Entropy, InternalEnergy
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import Particles
from solvers.origin import origin_of, potential_about
from solvers.particles.interacting_particles import InteractingParticles
from solvers.particles.path_steps import path_step
from solvers.preconditioning.curvature import PRECONDITIONERS, preconditioner_of, unsupported_preconditioner
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts
from solvers.threads import block_generators, block_size, workers

# On a CPU a block's points and noise stay in a core's second-level cache from one step to the next. The size is a
# constant, because the blocks, each with a random stream of its own, decide what the results are.
BLOCK_ELEMENTS = 2**15

STEPS_BETWEEN_CHECKS = 100


class Drift(ABC):
    """A drift adds the term -h ∇V(X) to a block of points, which it lays out as it computes fastest."""

    @abstractmethod
    def enter(self, points: torch.Tensor) -> torch.Tensor:
        """Return the state that stands for ``points`` (n, D): a new tensor, (n, D) or (D, n)."""

    @abstractmethod
    def leave(self, state: torch.Tensor) -> torch.Tensor:
        """Return the points (n, D), float64 on the CPU, that ``state`` stands for."""

    @abstractmethod
    def add_to(self, increment: torch.Tensor, state: torch.Tensor) -> None:
        """Add the drift at ``state`` to ``increment`` in place; both are laid out alike, (n, D) or (D, n)."""


class LinearDrift(Drift):
    """The drift of a quadratic potential: -hA Y with Y = X - b, a column a point (D, n), in one fused product."""

    def __init__(self, potential: Quadratic, step_size: float, device: torch.device, dtype: torch.dtype) -> None:
        self.matrix = (-step_size * potential.precision).to(device, dtype)
        self.centre = potential.centre

    def enter(self, points: torch.Tensor) -> torch.Tensor:
        return (points - self.centre).T.to(self.matrix).contiguous()

    def leave(self, state: torch.Tensor) -> torch.Tensor:
        return state.T.to(self.centre) + self.centre

    def add_to(self, increment: torch.Tensor, state: torch.Tensor) -> None:
        increment.addmm_(self.matrix, state)


class GradientDrift(Drift):
    """The drift -h ∇V(X) of any potential, a row a point (n, D), counted from an ``origin`` (D,) if there is one."""

    def __init__(
        self,
        potential: Potential,
        step_size: float,
        device: torch.device,
        dtype: torch.dtype,
        origin: torch.Tensor | None = None,
    ) -> None:
        self.potential, self.origin = potential_about(potential, origin, device, dtype), origin
        self.step_size = step_size
        self.device, self.dtype = device, dtype

    def enter(self, points: torch.Tensor) -> torch.Tensor:
        from_origin = points if self.origin is None else points - self.origin
        return from_origin.to(self.device, self.dtype, copy=True)

    def leave(self, state: torch.Tensor) -> torch.Tensor:
        from_origin = state.to("cpu", torch.float64, copy=True)
        return from_origin if self.origin is None else from_origin + self.origin

    def add_to(self, increment: torch.Tensor, state: torch.Tensor) -> None:
        increment.sub_(self.potential.gradient(state), alpha=self.step_size)


def drift_of(
    potential: Potential,
    step_size: float,
    device: torch.device,
    dtype: torch.dtype,
    origin: torch.Tensor | None = None,
) -> Drift:
    """Return the fastest drift that the potential allows, on ``device`` and in ``dtype``.

    Points are counted from the ``origin`` (D,), or in a quadratic potential from its centre.
    """
    if isinstance(potential, Quadratic):
        return LinearDrift(potential, step_size, device, dtype)
    return GradientDrift(potential, step_size, device, dtype, origin)


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(Solver):
    """Euler-Maruyama follows ``particles`` independent paths with steps of ``step_size``, in any potential.

    ``order`` 2 is Heun's method: two gradients a step, and an error of h² where Euler-Maruyama has h.

    A quadratic potential takes the fast path of ``LinearDrift``; the scheme is the same. Points and noise are held in
    ``dtype``. In float32, the default, noise beyond 5.8 standard deviations does not occur (one draw in 10⁸) and what
    rounding adds to the moments is orders of magnitude below the error of the time step (the tests measure both);
    float64 takes several times as long.

    Results depend on the seed and the device, not on the number of threads: particles go in blocks of fixed size, each
    with its own generator, and threads share out the blocks.

    ``preconditioner`` is "identity", or "hessian" for Q = ∇²V(x*) at the mode x* that Newton's method reaches from the
    mean of the initial law. That is for stationary laws only, of a potential and an entropy: times and ``step_size``
    are those of the other flow.

    With an interaction the N particles feel each other instead of the law, and theirs differs from it by O(1/N) beside
    the error of the step. The diagnostic ``field_noise`` is what the field of N particles is off by, relative to it.
    An interaction that is singular moves particles that come close by far in a step: that diverges where it is farther
    than they are spread, for which a smaller step helps.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "euler-maruyama"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy, None)
    interacts: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    particles: int = 10_000
    step_size: float = 1e-3
    order: int = 1
    preconditioner: str = "identity"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles)
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, self.orders)
        require_choice(self.name, "preconditioner", self.preconditioner, PRECONDITIONERS)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        energy = problem.flow.energy
        if self.preconditioner != "identity" and (energy.internal is None or energy.interaction is not None):
            return f"preconditioner {self.preconditioner!r} is for flows of a potential and an entropy alone"
        if energy.interaction is not None and energy.interaction.singular and problem.flow.dim == 1:
            return (
                "on the line neighbours that repel each other meet: explicit steps do not follow a singular interaction"
            )
        return unsupported_preconditioner(self.preconditioner, problem)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow = problem.flow
        counts = step_counts(flow.times, self.step_size)
        noise_scale = 0.0
        if flow.energy.internal is not None:
            noise_scale = math.sqrt(2 * self.step_size / flow.inverse_temperature)
        cost = Cost(gradient_evaluations=self.order * self.particles * counts[-1])
        size = block_size(self.particles, flow.dim, BLOCK_ELEMENTS, device)
        if flow.energy.interaction is not None:
            points = flow.initial.sample(self.particles, generator)
            streams = block_generators(math.ceil(self.particles / size), generator, device)
            dtype = DTYPES[self.dtype]
            together = InteractingParticles(flow.energy, self.step_size, self.order, noise_scale, device, dtype)
            observed, noise = together.follow(points, size, streams, counts)
            return Solution(flow.times, tuple(map(Particles, observed)), cost, {"field_noise": noise})
        preconditioner = preconditioner_of(self.preconditioner, flow)
        dtype = DTYPES[self.dtype]
        # The coordinates of a preconditioner have an origin of their own, the mode.
        origin = origin_of(flow.initial, dtype) if preconditioner.root is None else None
        drift = drift_of(preconditioner.potential_in(flow.potential), self.step_size, device, dtype, origin)
        initial = preconditioner.to_coordinates(flow.initial.sample(self.particles, generator))
        blocks = initial.split(size)
        streams = block_generators(len(blocks), generator, device)

        def follow_block(block: tuple[torch.Tensor, torch.Generator]) -> list[torch.Tensor]:
            points, stream = block
            return follow(drift, points, counts, self.step_size, self.order, noise_scale, stream)

        with workers() as run:
            paths = run(follow_block, zip(blocks, streams, strict=True))
        estimates = tuple(
            Particles(preconditioner.from_coordinates(torch.cat(points))) for points in zip(*paths, strict=True)
        )
        return Solution(flow.times, estimates, cost)


def follow(
    drift: Drift,
    points: torch.Tensor,
    counts: Sequence[int],
    step_size: float,
    order: int,
    noise_scale: float,
    stream: torch.Generator,
    start: float = 0.0,
) -> list[torch.Tensor]:
    """Return the particles after each of so many steps as ``counts`` says, a tensor (n, D) each, float64 on the CPU.

    They are at ``points`` (n, D) at time ``start``. Steps of ``order`` 1 are Euler-Maruyama's, of order 2 Heun's.
    ``noise_scale`` is √(2h/β) for ``step_size`` h, and the noise is drawn from ``stream``, on the device of the drift.

    Raises ``Diverged`` when they are not finite, with the step and the time.
    """
    state = drift.enter(points)
    noise = torch.empty_like(state)
    predicted = torch.empty_like(state) if order == 2 else None
    observed: list[torch.Tensor] = []
    for step in range(1, counts[-1] + 1):
        noise.normal_(0, noise_scale, generator=stream)
        path_step(drift.add_to, state, noise, predicted)
        if step % STEPS_BETWEEN_CHECKS == 0 or step == counts[len(observed)]:
            if not bool(torch.isfinite(state).all()):
                raise Diverged(
                    f"particles are not finite by step {step} (t = {start + step * step_size:g}); "
                    f"a step_size below {step_size:g} may help"
                )
            if step == counts[len(observed)]:
                observed.append(drift.leave(state))
    return observed
