"""JKO steps in maps that are gradients of input-convex neural networks.

The scheme ρ_{k+1} = argmin_ρ W₂²(ρ, ρ_k)/2h + ∫Vρ + β⁻¹∫ρ log ρ (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29,
1998) is solved for the optimal map T from ρ_k to ρ_{k+1}, a gradient of a convex function by Brenier's theorem:

    T = argmin_{T=∇ψ, ψ convex} E_{x~ρ_k} [ ‖T(x)-x‖²/2h + V(T(x)) - β⁻¹ log det ∇T(x) ],

with ψ an input-convex network trained on particles of ρ_k (Mokrov, Korotin, Li, Genevay, Solomon, Burnaev, NeurIPS
2021). ``order=2`` replaces the step by its implicit midpoint rule, see ``solvers.icnn_training``. What differs from the
published method: derivatives in closed form, a quadratic skip connection to the output, which makes affine maps exact
and the identity the start of training, and a pool of particles that every map is applied to once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from problems.laws import Density
from problems.placement import placed
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.blocks import Run, workers
from solvers.estimates import Pushforward
from solvers.icnn import Architecture, Weights
from solvers.icnn_derivatives import derivatives
from solvers.icnn_training import (
    BLOCK_POINTS,
    Schedule,
    StepObjective,
    pushed,
    slopes_at_once,
    slopes_in_blocks,
    spread_draws,
    train,
)
from solvers.inverse_map import ConvexMap
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts

DTYPES = {"float32": torch.float32, "float64": torch.float64}

IMPLICITNESS = {1: 1.0, 2: 0.5}

# Particles, of the pool and fresh ones, on which a trained step is looked at.
EXAMINED = 8192


@dataclass(frozen=True, kw_only=True)
class ICNNJKO(Solver):
    """JKO steps of ``step_size``, each a network trained for ``iterations`` on batches from a pool of particles.

    The networks have ``depth`` layers of ``width`` units with quadratic forms of ``rank``. Every step starts from the
    map of the step before and follows Adam with a learning rate that falls from ``learning_rate`` along a cosine.

    Diagnostics: ``fresh_gap``, the largest difference over the steps between what the objective gains on the pool and
    on particles that no training has seen, in standard errors of the difference; and ``stationarity``, the
    largest residual h‖E[T̄]‖ or h‖sym E[T̄ (x-x̄)ᵀ + H̄]‖ over the steps, which are 0 in an exact step (lengths squared
    for the second; T̄ and H̄ as in ``solvers.icnn_training``).
    """

    name: ClassVar[str] = "icnn-jko"
    step_size: float = 0.05
    order: int = 1
    iterations: int = 500
    batch_size: int = 1024
    width: int = 64
    depth: int = 2
    rank: int = 5
    learning_rate: float = 2e-2
    pool_size: int = 32_768
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size, learning_rate=self.learning_rate)
        require_counts(
            self.name,
            iterations=self.iterations,
            batch_size=self.batch_size,
            width=self.width,
            depth=self.depth,
            rank=self.rank,
            pool_size=self.pool_size,
        )
        require_choice(self.name, "order", self.order, tuple(IMPLICITNESS))
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))
        if self.batch_size > self.pool_size:
            raise ValueError(
                f"{self.name}: batch_size must be at most pool_size {self.pool_size}, got {self.batch_size}"
            )

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if flow.energy.interaction is not None:
            return "the free energy must have no interaction term"
        if not isinstance(flow.initial, Density):
            return f"the initial law must have a density, which {type(flow.initial).__name__} has not"
        if self.batch_size <= flow.dim:
            return f"a batch of {self.batch_size} particles does not span dimension {flow.dim}"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        return self.solve_batch([problem], [generator], device)[0]

    def solve_batch(
        self, problems: Sequence[Problem], generators: Sequence[torch.Generator], device: torch.device
    ) -> list[Solution]:
        """Follow several problems of one dimension and the same times at once, each with its own generator.

        Each solution is that of ``solve`` with the same generator, to the bit on the CPU.
        """
        flows = [problem.flow for problem in problems]
        if len({(flow.dim, flow.times) for flow in flows}) != 1:
            raise ValueError(f"{self.name}: problems solved together must have the same dimension and times")
        laws = [flow.initial for flow in flows if isinstance(flow.initial, Density)]
        times, count = flows[0].times, len(flows)
        counts = step_counts(times, self.step_size)
        dtype = DTYPES[self.dtype]
        architecture = Architecture(flows[0].dim, self.width, self.depth, self.rank)
        objectives = [
            StepObjective(
                placed(flow.potential, device, dtype),
                flow.inverse_temperature,
                self.step_size,
                IMPLICITNESS[self.order],
            )
            for flow in flows
        ]
        pools, fresh, starts = [], [], []
        for flow, generator in zip(flows, generators, strict=True):
            pools.append(spread_draws(flow.initial, self.pool_size, generator).to(device, dtype))
            fresh.append(flow.initial.sample(EXAMINED, generator).to(device, dtype))
            scale = math.sqrt(float(flow.initial.moments()[1].diagonal().mean()))
            starts.append(architecture.identity(scale, generator))
        parameters = torch.cat([torch.cat(parts).flatten() for parts in zip(*(s.parts() for s in starts), strict=True)])
        parameters = parameters.to(device, dtype)
        weights = architecture.weights(parameters)
        maps: list[list[ConvexMap]] = [[] for _ in flows]
        gaps, residuals = [0.0] * count, [0.0] * count
        schedule = Schedule(self.iterations, self.batch_size, self.learning_rate)
        with torch.no_grad(), workers() as run:
            slopes = partial(slopes_in_blocks, run) if device.type == "cpu" else slopes_at_once
            for step in range(1, counts[-1] + 1):
                try:
                    train(architecture, parameters, pools, objectives, generators, schedule, slopes)
                    for network, objective in enumerate(objectives):
                        own = weights.of(network)
                        gains, residual = examined(own, pools[network][:EXAMINED], objective, run)
                        fresh_gains, _ = examined(own, fresh[network], objective, run)
                        residuals[network] = max(residuals[network], residual)
                        gaps[network] = max(gaps[network], difference(gains, fresh_gains))
                        pools[network] = pushed(own, pools[network], run)
                        fresh[network] = pushed(own, fresh[network], run)
                        maps[network].append(ConvexMap(own.to(torch.device("cpu"), torch.float64)))
                except Diverged as error:
                    raise Diverged(f"step {step} of {counts[-1]} (t = {step * self.step_size:g}): {error}") from error
        evaluations = min(self.pool_size, EXAMINED) + EXAMINED
        return [
            Solution(
                times,
                tuple(Pushforward(law, tuple(own[:steps])) for steps in counts),
                Cost(gradient_evaluations=counts[-1] * (self.iterations * self.batch_size + evaluations)),
                {"fresh_gap": gap, "stationarity": residual},
            )
            for law, own, gap, residual in zip(laws, maps, gaps, residuals, strict=True)
        ]


def examined(weights: Weights, points: torch.Tensor, objective: StepObjective, run: Run) -> tuple[torch.Tensor, float]:
    """Return the objective less its value for the identity at each of ``points`` (n, D), and its stationarity."""

    def examine(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mapped, hessian = (part[0] for part in derivatives(weights, x[None])[:2])
        mapped_bar, hessian_bar = objective.derivatives(x, mapped, hessian)
        moment = mapped_bar.T @ (x - centre) + hessian_bar.sum(0)
        return objective.values(x, mapped, hessian), mapped_bar.sum(0), moment

    centre = points.mean(0)
    parts = run(examine, points.split(2 * BLOCK_POINTS))
    gains, forces, moments = zip(*parts, strict=True)
    force, moment = sum(forces) / len(points), sum(moments) / len(points)
    residual = max(float(force.norm()), float((0.5 * (moment + moment.T)).norm()))
    return torch.cat(gains), objective.step_size * residual


def difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return how far two sample means are apart, in standard errors of their difference."""
    spread = math.sqrt(float(left.var()) / len(left) + float(right.var()) / len(right))
    gap = abs(float(left.mean()) - float(right.mean()))
    return gap / spread if spread else 0.0
