"""The JKO scheme carried out exactly on Gaussian laws in a quadratic potential.

The scheme (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29, 1998) is backward Euler in Wasserstein space,

    ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + ∫ V ρ + β⁻¹ ∫ ρ log ρ.

For V = ½ (x-b)ᵀA(x-b) and ρ_k = N(m, Σ) the minimiser is N(m⁺, Σ⁺) with M = I + hA, τ = h/β and

    m⁺ = M⁻¹ (m + hAb)
    C  = M^{-½} Σ M^{-½}
    Σ⁺ = M^{-½} · ½ [C + 2τI + (C² + 4τC)^{½}] · M^{-½},

whether or not A and Σ commute: the optimal map from ρ⁺ to ρ_k is x + h∇V + τ∇log ρ⁺, of gradient M - τ(Σ⁺)⁻¹, so that
Σ = (M - τ(Σ⁺)⁻¹) Σ⁺ (M - τ(Σ⁺)⁻¹), which is the quadratic equation S - 2τI + τ²S⁻¹ = C of S = M^{½} Σ⁺ M^{½}.
The stationary law N(b, β⁻¹A⁻¹) is a fixed point. This is what any JKO method of the same step can at best attain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch

from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.validation import require_choice, require_positive
from solvers.estimates import Exact
from solvers.solver import Diverged, Solution, Solver, step_counts

Moments = tuple[torch.Tensor, torch.Tensor]


def jko_covariance(covariance: torch.Tensor, rates: torch.Tensor, step_size: float, temperature: float) -> torch.Tensor:
    """Return Σ⁺ of one exact step from Σ (D, D), both in the eigenbasis of A, whose eigenvalues are ``rates`` (D,)."""
    scale = (1 + step_size * rates).rsqrt()
    tau = step_size * temperature
    spectrum, basis = torch.linalg.eigh(scale[:, None] * covariance * scale)
    spectrum = spectrum.clamp(min=0)  # an eigenvalue near 0 may come out negative
    solved = 0.5 * (spectrum + 2 * tau + (spectrum * (spectrum + 4 * tau)).sqrt())
    stepped: torch.Tensor = scale[:, None] * ((basis * solved) @ basis.T) * scale
    return 0.5 * (stepped + stepped.T)


def jko_moments(
    initial: Gaussian, potential: Quadratic, inverse_temperature: float, step_size: float, counts: Sequence[int]
) -> list[Moments]:
    """Return mean (D,) and covariance (D, D) after each of the increasing numbers of steps ``counts``."""
    rates, basis = torch.linalg.eigh(potential.precision)
    offset = basis.T @ (initial.mean - potential.centre)
    covariance = basis.T @ initial.covariance @ basis
    moments = []
    for done, count in pairwise((0, *counts)):
        for _ in range(done, count):
            covariance = jko_covariance(covariance, rates, step_size, 1 / inverse_temperature)
        mean = potential.centre + basis @ (offset / (1 + step_size * rates) ** count)
        moments.append((mean, basis @ covariance @ basis.T))
    return moments


@dataclass(frozen=True, kw_only=True)
class GaussianJKO(Solver):
    """Exact JKO steps from a Gaussian law in a quadratic potential.

    ``order=1`` is the scheme itself, with an error of O(h) in the moments and O(h²) in SymKL. ``order=2`` extrapolates
    the moments of whole runs (Richardson): twice those of a run at ``step_size``/2 minus those of a run at
    ``step_size``.
    """

    name: ClassVar[str] = "gaussian-jko"
    step_size: float = 0.05
    order: int = 1

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, (1, 2))

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if not isinstance(flow.initial, Gaussian):
            return f"the initial law must be Gaussian, not {type(flow.initial).__name__}"
        if not isinstance(flow.potential, Quadratic):
            return f"the potential must be quadratic, not {type(flow.potential).__name__}"
        if flow.energy.interaction is not None:
            return "the free energy must have no interaction term"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow, initial, potential = problem.flow, problem.flow.initial, problem.flow.potential
        assert isinstance(initial, Gaussian)
        assert isinstance(potential, Quadratic)
        counts = step_counts(flow.times, self.step_size)

        def run(refinement: int) -> list[Moments]:
            refined = [refinement * count for count in counts]
            return jko_moments(initial, potential, flow.inverse_temperature, self.step_size / refinement, refined)

        moments = run(1)
        if self.order == 2:
            moments = [
                (2 * fine_mean - mean, 2 * fine_covariance - covariance)
                for (fine_mean, fine_covariance), (mean, covariance) in zip(run(2), moments, strict=True)
            ]
        for time, (_, covariance) in zip(flow.times, moments, strict=True):
            smallest = float(torch.linalg.eigvalsh(covariance)[0])
            if not smallest > 0:
                raise Diverged(
                    f"the covariance at t = {time:g} is not positive definite (smallest eigenvalue {smallest:.3g}); "
                    f"a step_size below {self.step_size:g} may help"
                )
        return Solution(flow.times, tuple(Exact(Gaussian(mean, covariance)) for mean, covariance in moments))
