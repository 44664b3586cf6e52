"""Proximal recursion: Euler-Maruyama particles that carry their density through an entropy-regularised JKO step.

The state is (x_k^i, ρ_k^i), i = 1…N, the values of an unnormalised density at the particles. A step of size h moves
the particles and then updates the values, with ξ_i normal, κ = βε/h and ψ the potential:

    x_k = x_{k-1} - h ∇ψ(x_{k-1}) + √(2h/β) ξ,
    ρ_k = argmin_ρ  min_{M 1 = ρ_{k-1}, Mᵀ1 = ρ}  ½⟨C, M⟩ + ε⟨M, log M⟩ + h ⟨ψ_{k-1} + β⁻¹ log ρ, ρ⟩,
    C_ij = |x_{k-1}^i - x_k^j|²,

which the dual variables y, z > 0 of the two marginals solve through

    y ⊙ (Γ z) = ρ_{k-1},   z ⊙ (Γᵀ y) = ρ_k = exp(-βψ_{k-1} - 1) ⊙ z^{-κ},   Γ = exp(-C / 2ε)

(Caluya, Halder, Proximal recursion for solving the Fokker-Planck equation, arXiv:1809.10844, 2019; Gradient flow
algorithms for density propagation in stochastic systems, IEEE Trans. Automatic Control 65, 2020). As there, and in
the code of Mokrov et al. (NeurIPS 2021), where it is called EM PR, ψ_{k-1}(j) = ψ(x_{k-1}^j) is the potential at the
place that particle j comes from. `solvers/particles/proximal_fixed_point.py` solves the system,
`solvers/particles/proximal_near_columns.py` says which pairs of particles are left out.

What the values are worth. The clouds are draws of the law μ_k of the particles, and sums over them stand for integrals
against it, so that M transports ρμ. With many particles and ε of the order of h, ρ_k is μ_k up to O(h) where both are
Gaussian. At the published ε = 0.05 = 50 h the values are close to Γμ_k instead, a kernel density estimate of
bandwidth √ε: an error of O(ε), whatever h. With few particles for the dimension, no other one lies within a few √ε,
Γ is diagonal and every particle keeps the density it started with: `own_share` among the diagnostics is then 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import GradientFlow
from problems.laws import Density
from problems.problem import Problem
from problems.validation import require_counts, require_positive
from solvers.estimates import ParticleDensity
from solvers.limits import STEPS, Limit
from solvers.particles.proximal_fixed_point import Convergence, proximal_step
from solvers.particles.proximal_near_columns import NearKernel
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts
from solvers.threads import Run, workers

# Share of any sum over particles that may be left out, in units of the tolerance.
NEGLIGIBLE = 0.1


@dataclass(frozen=True, eq=False)
class _State:
    """Points x (n, D) with log ρ (n,), and log z and log ξ (n,) of the step that led there, unless it is the first."""

    points: torch.Tensor
    log_density: torch.Tensor
    log_scaling: torch.Tensor | None = None
    log_gibbs: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ProximalRecursion(Solver):
    """Proximal recursion follows ``particles`` with their densities, in steps of ``step_size``.

    ``regularisation`` is the entropic ε of each step, in units of length squared.

    The fixed point of a step is swept, from the scaling z of the step before, until max|Δ log z| ≤ ``tolerance``, or
    ``max_sweeps`` times; the diagnostics count the steps that ended so. The error of log ρ_k is about the tolerance.
    Everything that decides the result is float64.

    Costs N² kernel values a step and as many a sweep, but for the pairs of particles that are out of each other's reach
    where many are; memory O(N), and N²/10 bytes at most. Computes on the CPU, whatever the device.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "proximal-recursion"
    version: ClassVar[int] = 2
    limits: ClassVar[Mapping[str, Limit]] = STEPS
    needs_density: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1,)
    particles: int = 1000
    step_size: float = 1e-3
    regularisation: float = 0.05
    tolerance: float = 1e-5
    max_sweeps: int = 300

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles, max_sweeps=self.max_sweeps)
        require_positive(
            self.name, step_size=self.step_size, regularisation=self.regularisation, tolerance=self.tolerance
        )

    @property
    def _negligible(self) -> float:
        """Share of any sum over particles that may be left out: below the tolerance, no less than rounding."""
        return min(max(NEGLIGIBLE * self.tolerance, torch.finfo(torch.float64).eps), 1e-2)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return particles that carry log-densities at the flow's times.

        Raises ``ValueError`` unless there are more particles than dimensions, and ``Diverged`` where potentials,
        positions or densities are not finite.
        """
        flow = problem.flow
        if self.particles <= flow.dim:
            raise ValueError(
                f"{self.name}: particles must be more than the dimensions, got {self.particles} in dimension {flow.dim}"
            )
        counts = step_counts(flow.times, self.step_size)
        assert isinstance(flow.initial, Density)
        points = flow.initial.sample(self.particles, generator)
        state = _State(points, flow.initial.log_prob(points))
        estimates: list[ParticleDensity] = []
        history: list[Convergence] = []
        with workers() as run:
            for step in range(1, counts[-1] + 1):
                state, convergence = self._advance(flow, state, step, generator, run)
                history.append(convergence)
                if step == counts[len(estimates)]:
                    estimates.append(ParticleDensity(state.points, log_density=state.log_density))
        cost = Cost(gradient_evaluations=self.particles * counts[-1])
        return Solution(flow.times, tuple(estimates), cost, self._diagnostics(flow, history), _traces(history))

    def _advance(
        self, flow: GradientFlow, state: _State, step: int, generator: torch.Generator, run: Run
    ) -> tuple[_State, Convergence]:
        """Return the state after step number ``step``, and how the step converged."""
        h, beta, points = self.step_size, flow.inverse_temperature, state.points
        potential = flow.potential.value(points)
        self._require_finite("the potential is", potential, step)
        noise = torch.randn(points.shape, generator=generator, dtype=points.dtype)
        moved = points - h * flow.potential.gradient(points) + math.sqrt(2 * h / beta) * noise
        self._require_finite("the position is", moved.sum(1), step)
        log_gibbs = -beta * potential - 1
        stiffness = beta * self.regularisation / h
        start = torch.zeros_like(potential)
        if state.log_scaling is not None and state.log_gibbs is not None:
            # z = (ξ / Γᵀy)^{1/(1+κ)}, of which ξ changes more from step to step than Γᵀy, and is known.
            start = state.log_scaling + (log_gibbs - state.log_gibbs) / (1 + stiffness)
        found = proximal_step(
            NearKernel(points, moved, self.regularisation, self._negligible),
            state.log_density,
            log_gibbs,
            stiffness,
            start,
            self.tolerance,
            self.max_sweeps,
            run,
        )
        self._require_finite("the density is", found.log_density, step)
        return _State(moved, found.log_density, found.log_scaling, log_gibbs), found.convergence

    def _require_finite(self, what: str, values: torch.Tensor, step: int) -> None:
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            raise Diverged(
                f"{what} not finite at {bad} of {len(values)} particles in step {step} (t = {step * self.step_size:g})"
            )

    def _diagnostics(self, flow: GradientFlow, history: Sequence[Convergence]) -> dict[str, float | int | str]:
        return {
            "unconverged_steps": sum(not each.residual <= self.tolerance for each in history),
            "largest_residual": max(each.residual for each in history),
            "mean_sweeps": sum(each.sweeps for each in history) / len(history),
            "most_sweeps": max(each.sweeps for each in history),
            "largest_contraction": max(each.contraction for each in history),
            "contraction_bound": 1 / (1 + flow.inverse_temperature * self.regularisation / self.step_size),
            "own_share": history[-1].own_share,
        }


def _traces(history: Sequence[Convergence]) -> dict[str, list[float]]:
    return {
        "iterations": [float(each.sweeps) for each in history],
        "residual": [each.residual for each in history],
    }
