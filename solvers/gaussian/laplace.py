"""Laplace's approximation of a stationary law: the Gaussian at its mode, with the curvature of V there.

    exp(-βV) ≈ N(x*, (β ∇²V(x*))⁻¹),   ∇V(x*) = 0,   ∇²V(x*) > 0

(Tierney, Kadane, J. Am. Stat. Assoc. 81, 1986). The mode is found by Newton's method
(``solvers.preconditioning.newton_mode``).

A mode depends on the coordinates, and in many dimensions the mass is elsewhere: with a scale among the unknowns, such
as log α, it may be far off, or not the highest. How far is told by the tail of the importance weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.laws import Gaussian
from problems.linear_algebra import symmetrised
from problems.potentials import MixturePotential
from problems.problem import Problem
from problems.validation import require_counts
from solvers.estimates import Exact
from solvers.gaussian.pareto_smoothing import smoothed_weights
from solvers.limits import IMPORTANCE, Limit
from solvers.preconditioning.newton_mode import find_mode
from solvers.solver import Cost, Diverged, Solution, Solver
from solvers.threads import one_thread


@dataclass(frozen=True, kw_only=True)
class Laplace(Solver):
    """Laplace's method answers with N(x*, (β∇²V(x*))⁻¹) at the mode x* that Newton's method reaches.

    Newton's method starts from the mean of the initial law.

    For stationary laws exp(-βV) only; it is the answer at every time. ``iterations`` is the most Newton steps it takes.

    Diagnostics: ``newton_steps`` and the last ``decrement``, in standard deviations; ``pareto_k`` of the importance
    weights of exp(-βV) against the fit, reliable below 0.7, the ``effective_share`` of draws that these leave, and the
    ``log_evidence_psis`` and ``log_evidence_laplace`` of log ∫ exp(-βV), by these weights and by the fit itself.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "laplace"
    limits: ClassVar[Mapping[str, Limit]] = IMPORTANCE
    stationary_only: ClassVar[bool] = True
    iterations: int = 200

    def __post_init__(self) -> None:
        require_counts(self.name, iterations=self.iterations)

    def unsupported(self, problem: Problem) -> str | None:
        potential = problem.flow.potential
        if isinstance(potential, MixturePotential) and len(potential.stationary.weights) > 1:
            return f"a mixture of {len(potential.stationary.weights)} Gaussians has no one mode to expand about"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the fit; nothing is random, and all of it runs on the CPU.

        Raises ``Diverged`` where no mode is found.
        """
        flow = problem.flow
        potential, beta = flow.potential, flow.inverse_temperature
        start, _ = flow.initial.moments()
        with torch.no_grad(), one_thread():
            mode = find_mode(potential, beta, start, self.iterations)
            factor, failed = torch.linalg.cholesky_ex(beta * mode.hessian)
            if int(failed):
                raise Diverged("the Hessian at the mode is not positive definite to rounding")
            covariance = torch.cholesky_inverse(factor)
            law = Gaussian(mode.point, symmetrised(covariance))
            weights = smoothed_weights(law, potential, beta)
            height = -beta * float(potential.value(mode.point[None])[0])
        volume = 0.5 * flow.dim * math.log(2 * math.pi) - float(factor.diagonal().log().sum())
        return Solution(
            flow.times,
            tuple(Exact(law) for _ in flow.times),
            Cost(gradient_evaluations=mode.steps + 1),
            {
                "newton_steps": mode.steps,
                "decrement": mode.decrement,
                "pareto_k": weights.k,
                "effective_share": weights.effective_share,
                "log_evidence_psis": weights.log_mean,
                "log_evidence_laplace": height + volume,
            },
        )
