"""Training of one JKO step: which objective the map of the step minimises, and how.

With θ = 1 for the scheme of order one and θ = ½ for that of order two, the step from ρ_k is the T = ∇ψ that minimises

    E_{x~ρ_k} [ ‖T(x)-x‖² / 2h + θ⁻¹ ( V(x_θ) - β⁻¹ log det M_θ ) ],    x_θ = (1-θ)x + θT(x),  M_θ = (1-θ)I + θ∇T(x).

θ = 1 is the JKO step written in its optimal map (Mokrov et al., NeurIPS 2021; Benamou, Carlier, Mérigot, Oudet, Numer.
Math. 134, 2016); θ = ½ is its implicit midpoint rule. In both, the objective's derivatives in T and ∇T are

    T̄ = (T(x)-x)/h + ∇V(x_θ),    H̄ = -β⁻¹ M_θ⁻¹,

which is all that the network's ``pullback`` needs: V enters by its gradient alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.quasirandom import SobolEngine

from problems.laws import Gaussian, Law
from problems.potentials import Potential
from solvers.blocks import Run
from solvers.icnn import Architecture, Weights
from solvers.icnn_derivatives import derivatives, gradient, pullback
from solvers.solver import Diverged

# Points that one thread works on at a time: their Jacobians stay in a core's second-level cache for networks of the
# usual width. A constant, because the sums of the blocks' derivatives decide the last bits of the results.
BLOCK_POINTS = 256

# An epsilon far above the usual 1e-8: near the optimum of a step the derivatives by hidden units vanish, and what Adam
# would otherwise blow up to full steps is their noise. The couplings then wander off from one JKO step to the next.
FIRST_MOMENT_DECAY, SECOND_MOMENT_DECAY, ADAM_EPSILON = 0.9, 0.99, 1e-3
FINAL_RATE = 1e-3

# A Sobol' point may lie on the boundary of the unit cube, which no normal variable maps to.
SMALLEST_UNIFORM = 2.0**-32


@dataclass(frozen=True)
class StepObjective:
    """The objective of one JKO step; ``implicitness`` is θ."""

    potential: Potential
    inverse_temperature: float
    step_size: float
    implicitness: float

    def derivatives(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T̄ (n, D) and H̄ (n, D, D) at ``x`` (n, D) for T(x) = ``mapped`` and ∇T(x) = ``hessian``.

        Raises ``Diverged`` for a gradient of V that is not finite or a Hessian that is not positive definite.
        """
        place, matrix = self._intermediate(x, mapped, hessian)
        slope = self.potential.gradient(place)
        if slope.shape != x.shape:
            raise ValueError(f"the potential's gradient at points {tuple(x.shape)} has shape {tuple(slope.shape)}")
        if not math.isfinite(float(slope.sum())):
            raise Diverged(f"the gradient of the potential is not finite at {_bad(slope)} of {len(x)} points")
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed.any()):
            raise Diverged(f"∇T is not positive definite at {int((failed != 0).sum())} of {len(x)} points")
        inverse = torch.cholesky_inverse(factor)
        return (mapped - x) / self.step_size + slope, inverse / -self.inverse_temperature

    def values(self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
        """Return what the objective averages, less its value θ⁻¹V(x) for T = identity, at each point, shape (n,)."""
        place, matrix = self._intermediate(x, mapped, hessian)
        log_det = 2 * torch.linalg.cholesky(matrix).diagonal(dim1=1, dim2=2).log().sum(1)
        energy = self.potential.value(place) - self.potential.value(x) - log_det / self.inverse_temperature
        values: torch.Tensor = (mapped - x).square().sum(1) / (2 * self.step_size) + energy / self.implicitness
        return values

    def _intermediate(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.implicitness == 1:
            return mapped, hessian
        matrix = self.implicitness * hessian
        matrix.diagonal(dim1=1, dim2=2).add_(1 - self.implicitness)
        return torch.lerp(x, mapped, self.implicitness), matrix


def _bad(values: torch.Tensor) -> int:
    return int((~torch.isfinite(values)).any(dim=1).sum())


def matched(points: torch.Tensor, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return ``points`` (n, D) moved by the affine map that gives them the mean (D,) and the covariance LLᵀ exactly.

    ``factor`` is L (D, D), lower triangular. A step depends most on these two moments of its particles: where they are
    exact, a finite sample errs in the rest alone. On Gaussian laws nothing is left to err.
    """
    centred = points - points.mean(0)
    own = torch.linalg.cholesky(centred.T @ centred / len(points))
    change: torch.Tensor = torch.linalg.solve_triangular(own, factor, upper=False, left=False)
    return torch.addmm(mean, centred, change.T)


def spread_draws(law: Law, n: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``n`` points (n, D), each distributed as ``law`` and together more even than independent draws.

    A Gaussian law is sampled at a scrambled Sobol' sequence (Owen, Annals of Statistics 25, 1997), other laws by
    independent draws; both are matched to the mean and covariance of the law.
    """
    mean, covariance = law.moments()
    factor = torch.linalg.cholesky(covariance)
    if isinstance(law, Gaussian):
        seed = int(torch.randint(2**31, (), generator=generator))
        uniform = SobolEngine(law.dim, scramble=True, seed=seed).draw(n, dtype=torch.float64)
        points = torch.special.ndtri(uniform.clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)) @ factor.T
    else:
        points = law.sample(n, generator)
    return matched(points, mean, factor)


class Adam:
    """Adam (Kingma, Ba, ICLR 2015) on one flat tensor."""

    def __init__(self, parameters: torch.Tensor, rates: torch.Tensor) -> None:
        self.parameters, self.rates = parameters, rates
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        self.steps = 0

    def step(self, slope: torch.Tensor, rate: float) -> None:
        """Move the parameters against ``slope``, in place."""
        self.steps += 1
        self.mean.lerp_(slope, 1 - FIRST_MOMENT_DECAY)
        self.square.mul_(SECOND_MOMENT_DECAY).addcmul_(slope, slope, value=1 - SECOND_MOMENT_DECAY)
        scale = math.sqrt(1 - SECOND_MOMENT_DECAY**self.steps)
        root = self.square.sqrt().add_(ADAM_EPSILON * scale)
        move = self.mean / root
        self.parameters.addcmul_(move, self.rates, value=-rate * scale / (1 - FIRST_MOMENT_DECAY**self.steps))


def cosine_rate(peak: float, iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration: from ``peak`` down to a thousandth of it along half a cosine."""
    share = iteration / max(1, iterations - 1)
    return peak * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * share)))


def batches(pool: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield batches (size, D) of the pool (n, D) for ever, in random order, none twice before the pool is used up.

    A batch is moved to have the pool's mean and covariance, which takes most of the noise off the derivatives.
    """
    mean = pool.mean(0)
    factor = torch.linalg.cholesky((pool - mean).T @ (pool - mean) / len(pool))
    while True:
        order = torch.randperm(len(pool), generator=generator).to(pool.device)
        for batch in pool[order].split(size)[: len(pool) // size]:
            yield matched(batch, mean, factor)


Slopes = Callable[[Architecture, Weights, Sequence[torch.Tensor], Sequence[StepObjective]], torch.Tensor]
"""Derivatives (S · size,) of the networks' objectives, summed over each one's points (n, D)."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a step is trained: Adam from ``learning_rate`` down to nearly 0 in ``iterations``."""

    iterations: int
    batch_size: int
    learning_rate: float


def train(
    architecture: Architecture,
    parameters: torch.Tensor,
    pools: Sequence[torch.Tensor],
    objectives: Sequence[StepObjective],
    generators: Sequence[torch.Generator],
    schedule: Schedule,
    slopes: Slopes,
) -> None:
    """Minimise each network's objective over its pool (n, D), all networks at once; ``parameters`` change in place.

    Weights stay >= 0 where the networks need it after every iteration. Raises ``Diverged`` naming the iteration.
    """
    weights = architecture.weights(parameters)
    optimiser = Adam(parameters, architecture.rates(len(pools)).to(parameters))
    size, iterations = schedule.batch_size, schedule.iterations
    streams = [batches(pool, size, generator) for pool, generator in zip(pools, generators, strict=True)]
    for iteration in range(iterations):
        try:
            slope = slopes(architecture, weights, [next(stream) for stream in streams], objectives).div_(size)
            if not math.isfinite(float(slope.sum())):
                raise Diverged("the gradient of the objective is not finite")
        except Diverged as error:
            raise Diverged(f"iteration {iteration + 1}: {error}") from error
        optimiser.step(slope, cosine_rate(schedule.learning_rate, iteration, iterations))
        weights.project()


def slopes_in_blocks(
    run: Run,
    architecture: Architecture,
    weights: Weights,
    points: Sequence[torch.Tensor],
    objectives: Sequence[StepObjective],
) -> torch.Tensor:
    """Return the derivatives from blocks of one network's points, one after the other: what is fastest on a CPU."""

    def differentiate(block: tuple[int, torch.Tensor]) -> torch.Tensor:
        network, x = block
        slope = x.new_zeros(architecture.size)
        _add_slopes(architecture.weights(slope), weights.of(network), x[None], objectives[network : network + 1])
        return slope

    blocks = [(network, part) for network, x in enumerate(points) for part in x.split(BLOCK_POINTS)]
    rows = torch.stack(run(differentiate, blocks)).view(len(points), -1, architecture.size).sum(1)
    if len(rows) == 1:
        return rows[0]
    parts = rows.split([torch.Size(shape).numel() for shape in architecture.shapes], dim=1)
    return torch.cat([part.flatten() for part in parts])


def slopes_at_once(
    architecture: Architecture,
    weights: Weights,
    points: Sequence[torch.Tensor],
    objectives: Sequence[StepObjective],
) -> torch.Tensor:
    """Return the derivatives from all points of all networks in the same operations: what is fastest on a GPU."""
    slope = points[0].new_zeros(len(points) * architecture.size)
    _add_slopes(architecture.weights(slope), weights, torch.stack(tuple(points)), objectives)
    return slope


def _add_slopes(total: Weights, weights: Weights, x: torch.Tensor, objectives: Sequence[StepObjective]) -> None:
    """Add to ``total`` the derivatives of S networks' objectives, summed over the points ``x`` (S, B, D)."""
    mapped, hessian, tape = derivatives(weights, x)
    bars = [own.derivatives(*at) for own, *at in zip(objectives, x, mapped, hessian, strict=True)]
    pullback(weights, tape, torch.stack([bar for bar, _ in bars]), torch.stack([bar for _, bar in bars]), total)


def pushed(weights: Weights, points: torch.Tensor, run: Run) -> torch.Tensor:
    """Return ∇ψ at ``points`` (n, D) for one network."""
    return torch.cat(run(lambda x: gradient(weights, x[None])[0], points.split(4 * BLOCK_POINTS)))
