"""The JKO scheme carried out exactly on Barenblatt's laws, and on all that stay elliptical.

The scheme (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29, 1998) is

    ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + ∫ V ρ + ∫ U(ρ) + ½ ∬ W(x-y) ρ ρ.

In the porous medium flow and fast diffusion, U = ερᵐ/(m-1), with V linear or quadratic and W quadratic, the minimiser
from a Barenblatt law is one again, at the root of one equation in any dimension (``solvers.barenblatt.exact_step``).
This is what any JKO method of the same step can at best attain there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.barenblatt import Barenblatt
from problems.flow import Entropy, InternalEnergy, PowerEntropy
from problems.laws import Gaussian
from problems.problem import Problem
from problems.references.elliptical_energy import elliptical_energy, not_elliptical
from problems.validation import require_choice, require_positive
from solvers.barenblatt.exact_step import ExactSteps, NoStep
from solvers.estimates import Estimate, Exact
from solvers.solver import Diverged, Solution, Solver, step_counts
from solvers.threads import one_thread


@dataclass(frozen=True, kw_only=True)
class BarenblattJKO(Solver):
    """Exact JKO steps from a Barenblatt law or a Gaussian, where these stay what they are.

    That is: Barenblatt's under a power entropy of their exponent, Gaussians under an entropy, both without an internal
    energy; V flat, linear or quadratic; W quadratic or absent. ``order=1`` is the scheme itself; ``order=2`` its
    implicit midpoint rule, a step of h/2 carried on as far again, or with ``second_order="fitted"`` exponentially
    fitted to the curvature of V and W, which damps what is stiff. Steps exist for m > D/(D+2). The trace
    ``free_energy`` has F before the first step and after each.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "barenblatt-jko"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (PowerEntropy, Entropy, None)
    interacts: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    step_size: float = 0.001
    order: int = 1
    second_order: str = "midpoint"

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, (1, 2))
        require_choice(self.name, "second_order", self.second_order, ("midpoint", "fitted"))

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        reason = not_elliptical(flow)
        if reason is None and flow.energy.internal is not None:
            return flow.energy.internal.without_step(flow.dim)
        return reason

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the laws at the flow's times; nothing is random, and all of it runs on the CPU.

        Raises ``Diverged`` with the step at which a step of order 2 leaves its domain.
        """
        flow, counts = problem.flow, step_counts(problem.flow.times, self.step_size)
        law = flow.initial
        assert isinstance(law, Gaussian | Barenblatt)
        estimates: list[Estimate] = []
        with one_thread():
            energy = elliptical_energy(flow)
            step = ExactSteps(energy, self.step_size, self.order, self.order == 2 and self.second_order == "fitted")
            values = [energy.value(law)]
            for number in range(1, counts[-1] + 1):
                try:
                    law = step(law)
                except (NoStep, ValueError) as error:
                    raise Diverged(
                        f"step {number} (t = {number * self.step_size:g}): {error}; "
                        f"a step_size below {self.step_size:g} may help"
                    ) from error
                values.append(energy.value(law))
                if number in counts:
                    estimates.append(Exact(law))
        return Solution(flow.times, tuple(estimates), traces={"free_energy": values})
