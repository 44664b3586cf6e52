"""The JKO scheme carried out exactly on Gaussian laws in a quadratic potential.

The scheme (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29, 1998) is backward Euler in Wasserstein space,

    ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + ∫ V ρ + β⁻¹ ∫ ρ log ρ.

For V = ½ (x-b)ᵀA(x-b) and a Gaussian ρ_k the minimiser is a Gaussian in closed form (``solvers.gaussian.exact_step``).
The stationary law N(b, β⁻¹A⁻¹) is a fixed point. This is what any JKO method of the same step can at best attain.

Second order is had by extrapolation of whole runs, by the implicit midpoint, or by exponentially fitted steps, which
damp stiff modes as the flow does (``solvers.gaussian.fitted_step``).

With observations it is a filter: exact in its conditioning where they are linear with Gaussian noise, and in the other
cases, or in a potential that is not quadratic, the assumed-density filter of ``solvers.gaussian.assumed_density``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from problems.flow import GradientFlow
from problems.laws import Gaussian
from problems.linear_algebra import symmetrised
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.validation import require_choice
from solvers.adaptive_steps import require_steps
from solvers.estimates import Estimate, Exact
from solvers.filtering import Filter, Propagation, assimilate, equal_steps
from solvers.gaussian.assumed_density import AssumedGaussian, restricted_step
from solvers.gaussian.exact_step import Moments, jko_moments
from solvers.gaussian.extrapolation import extrapolated, require_definite
from solvers.gaussian.fitted_steps import FittedSteps
from solvers.gaussian.quadrature import NODES
from solvers.solver import Diverged, Solution, step_counts
from solvers.threads import one_thread

SECOND_ORDER = ("extrapolated", "midpoint", "fitted", "fitted-energy")


@dataclass(frozen=True, kw_only=True)
class GaussianJKO(Filter):
    """Exact JKO steps from a Gaussian law in a quadratic potential, and a filter that stays Gaussian in any.

    ``order=1`` is the scheme itself, with an error of O(h) in the moments and O(h²) in SymKL. ``order=2``, O(h⁴) in
    SymKL, is by default an extrapolation of the moments of whole runs (Richardson): twice those of a run at
    ``step_size``/2 minus those of a run at ``step_size``; a filter does so from one observation to the next. Other
    values of ``second_order`` have it in every step: "midpoint", which overshoots where the step times the curvature
    exceeds 2, "fitted", which is exponentially fitted to the curvature of V and for the mean exact, and
    "fitted-energy", fitted to that of the free energy, and more accurate still.

    With ``step_size="auto"`` each step's size is chosen by an estimate of its error, for a SymKL of about
    ``tolerance`` or less to the exact law: "fitted-energy" steps, or where there is none one of order 1
    (``solvers.adaptive_steps``, which has the diagnostics, too); the traces are ``step_size`` and ``step_order``.

    Without observations a potential that is not quadratic is declined: ``gaussian-variational`` takes the stationary
    problems among these. With observations that are not linear with Gaussian noise, or in such a potential, the filter
    keeps the moments alone, by quadrature in at most three dimensions.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "gaussian-jko"
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    step_size: float | Literal["auto"] = 0.05
    order: int = 1
    second_order: str = "extrapolated"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_choice(self.name, "order", self.order, (1, 2))
        require_choice(self.name, "second_order", self.second_order, SECOND_ORDER)
        require_steps(self)

    @property
    def order_in_time(self) -> int | None:
        return None if self.step_size == "auto" else self.order

    def check_times(self, times: Sequence[float]) -> None:
        if self.step_size != "auto":
            step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if not isinstance(flow.initial, Gaussian):
            return f"the initial law must be Gaussian, not {type(flow.initial).__name__}"
        quadratic, observations = isinstance(flow.potential, Quadratic), problem.observations
        if observations is None:
            if quadratic:
                return None
            reason = f"the potential must be quadratic, not {type(flow.potential).__name__}"
            return f"{reason}: gaussian-variational takes any" if problem.stationary else reason
        exact = len(observations) == 0 or observations.likelihood(0).linear_gaussian
        if not (quadratic and exact) and flow.dim not in NODES:
            return f"without a closed form at most {max(NODES)} dimensions are integrated over, not {flow.dim}"
        return None

    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Propagation:
        if self.step_size == "auto" or (self.order == 2 and self.second_order != "extrapolated"):
            return FittedSteps(self, flow)
        return GaussianSteps(self, flow, self.step_size)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the Gaussians at the flow's times, given the observations by then if there are any.

        Nothing is random, and all of it runs on the CPU. Raises ``Diverged`` with the time at which an extrapolation is
        no Gaussian, or a step of a filter finds no minimum.
        """
        steps = self.propagation(problem.flow, generator, device)
        if problem.observations is not None or not isinstance(steps, GaussianSteps):
            return assimilate(steps, problem, generator)
        flow, initial, potential = problem.flow, problem.flow.initial, problem.flow.potential
        assert isinstance(initial, Gaussian)
        assert isinstance(potential, Quadratic)
        beta, step_size = flow.inverse_temperature, steps.step_size
        counts = step_counts(flow.times, step_size)
        moments = jko_moments(initial, potential, beta, step_size, counts)
        if self.order == 2:
            halves = jko_moments(initial, potential, beta, step_size / 2, [2 * count for count in counts])
            moments = [extrapolated(fine, coarse) for fine, coarse in zip(halves, moments, strict=True)]
        for time, (_, covariance) in zip(flow.times, moments, strict=True):
            require_definite(covariance, time, step_size)
        return Solution(flow.times, tuple(Exact(Gaussian(mean, covariance)) for mean, covariance in moments))


class GaussianSteps(Propagation):
    """Steps from one Gaussian to the next, extrapolated over each leg where the order is 2."""

    def __init__(self, settings: GaussianJKO, flow: GradientFlow, step_size: float) -> None:
        self.settings, self.flow, self.step_size = settings, flow, step_size

    def start(self) -> Estimate:
        assert isinstance(self.flow.initial, Gaussian)
        return AssumedGaussian(self.flow.initial)

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, AssumedGaussian)
        count, step_size = equal_steps(stop - start, self.step_size)
        try:
            with one_thread():
                moments = self._run(estimate.law, count, step_size)
                if self.settings.order == 2:
                    moments = extrapolated(self._run(estimate.law, 2 * count, 0.5 * step_size), moments)
        except Diverged as error:
            raise Diverged(f"between t = {start:g} and {stop:g}, {error}") from error
        mean, covariance = moments
        require_definite(covariance, stop, self.step_size)
        return AssumedGaussian(Gaussian(mean, symmetrised(covariance)))

    def _run(self, law: Gaussian, count: int, step_size: float) -> Moments:
        potential, beta = self.flow.potential, self.flow.inverse_temperature
        if isinstance(potential, Quadratic):
            return jko_moments(law, potential, beta, step_size, (count,))[0]
        for _ in range(count):
            law = Gaussian(*restricted_step(law, potential, beta, step_size))
        return law.mean, law.covariance
