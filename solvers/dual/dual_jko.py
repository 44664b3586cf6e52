"""JKO steps solved in their dual, on finite bases: Frogner & Poggio, AISTATS 2020 (arXiv:1806.04542).

The step ρ⁺ = argmin_ρ W₂²(ρ, ρ_k) + τ [∫Vρ + β⁻¹∫ρ(log ρ - 1)], τ = 2h (Jordan, Kinderlehrer, Otto 1998; the -1 adds a
constant among densities). By Kantorovich duality W₂²(ρ, ρ_k) = sup ∫gρ + ∫hρ_k over g(x) + h(y) ≤ |x-y|², and for given
g the minimum over ρ ≥ 0 of ∫(g + τV)ρ + (τ/β)∫ρ(log ρ - 1), pointwise, lies at

    ρ⁺(x) = exp(-β (g(x)/τ + V(x))),     of value -(τ/β)∫ρ⁺,

which leaves the concave problem

    max over g, h of  ∫h ρ_k - (τ/β) ∫exp(-β(g/τ + V))   subject to  g(x) + h(y) ≤ |x-y|².

Adding a constant to g and taking it from h shows that ∫ρ⁺ = ∫ρ_k at the maximum. The constraint is replaced by a
penalty, which regularises the transport: ∫∫ max(g + h - c, 0)²/2γ dm, the dual of a squared L² norm of the plan's
density with respect to m, or γ∫∫ exp((g + h - c)/γ) dm, the dual of its entropy. g and h are taken from the span of a
basis, integrals are means over a sample of pairs (``solvers.dual.reference_pairs``), and L-BFGS finds the minimum
(``solvers.dual.objective``). ρ⁺ is known up to its constant, and this is all that the next step asks for.

The implementation that published figures come from (Mokrov et al., NeurIPS 2021) samples x and y independently on a
box Q, scales ρ_k to maximum 1 over the sample, takes m to be Lebesgue measure on Q×Q, g and h from small multiples of
the monomials, and leaves it to SciPy's defaults when to stop. With M the mass of the scaled ρ_k its γ is one of γM/|Q|²
relative to the sampling law: 1e-16 for γ = 1e-6 in six dimensions and 1e-22 in twelve, where one of 20,000 points lies
in the mass of ρ_k. L-BFGS then ends after two or three iterations, next to where it starts: at g = 0, the stationary
law exp(-βV). ``reference="published"`` does this; "uniform" solves the same problem with γ relative to the sampling
law; the default pairs points that the step may take to each other, and follows the mass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import GradientFlow
from problems.problem import Problem
from solvers.dual.basis import polynomial_count
from solvers.dual.settings import DualSettings
from solvers.dual.steps import DualPropagation
from solvers.filtering import Filter
from solvers.limits import STEPS, Limit
from solvers.solver import step_counts

MOST_KERNEL_DIMENSIONS = 3
TOO_NARROW = 1e-6
"""Of the variance that a step adds: polynomials of what starts narrower lose it, and give the law at rest for it."""


@dataclass(frozen=True, kw_only=True)
class DualJKO(DualSettings, Filter):
    """DualJKO takes dual JKO steps of ``step_size`` on ``samples`` pairs of points.

    ``basis`` is "polynomial", of at most ``degree``, or "gaussian", for few dimensions: the constant and ``kernels``
    Gaussians of variance ``kernel_variance`` about the first points of the sample; outside its region g is what it is
    at the edge, on the way to the centre. ``reference`` says where pairs are drawn: "coupled", or "uniform" on a box
    about the initial mean whose coordinates have variance ``box_variance``, or "published", which is uniform and
    everything else as in the published runs (see the module).
    ``regularisation`` is "quadratic" or "entropic" with ``penalty`` γ, a squared length: in units of the initial law's
    mean variance, but with Gaussian kernels or a box, whose variances are lengths themselves, in those of x. Neither is
    better for what it costs: on ``ornstein-uhlenbeck`` in two dimensions (t = 0.5, 10,000 samples, median of 3 seeds)
    quadratic steps are .0013 in SymKL from the exact ones after 430 evaluations at γ = 1e-3 and .0002 after 1,150 at
    1e-4, entropic ones .0012 after 790 at 1e-2 and below .0001 after 3,050 at 1e-3.

    L-BFGS stops when no entry of the gradient exceeds ``tolerance``, on bases orthonormal under the reference law and
    for unit mass, or after ``iterations``.

    Diagnostics: ``unconverged_steps`` and why the last of them ``stopped``; ``largest_residual`` of the gradient;
    ``smallest_effective_sample``, the effective sample size that the integral of h over ρ_k rests on;
    ``largest_step_outside``, the greatest share of the mass that an estimate has outside the region of the last sample,
    and ``smallest_effective_share`` of the draws that the estimates were normalised by (1: by a grid). Traces for
    every step: ``evaluations``, ``residual``, ``effective_sample`` and ``seconds``.

    All of it runs on the CPU. Raises ``ValueError`` for settings out of range. ``solve`` raises ``Diverged``, naming
    the step, when the potential is NaN or -inf somewhere, when no point of the sample has mass, or when most of an
    estimate's mass is outside the region that it was fitted on.
    """

    name: ClassVar[str] = "dual-jko"
    version: ClassVar[int] = 7
    limits: ClassVar[Mapping[str, Limit]] = STEPS
    needs_density: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1,)

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def not_alike(self) -> Mapping[str, str]:
        if self.in_own_units:
            return {}
        given = "kernel_variance" if self.basis == "gaussian" else "box_variance"
        reason = f"{given} and penalty are squared lengths"
        turned = {} if self.reference == "coupled" else {"turn": "a box has axes"}
        return {"small units": reason, "large units": reason, **turned}

    def unsupported(self, problem: Problem) -> str | None:
        variance = float(problem.flow.initial.moments()[1].diagonal().mean())
        noise = 2 * self.step_size / problem.flow.inverse_temperature
        if self.in_own_units and variance < TOO_NARROW * noise:
            return (
                f"the initial law is too narrow: its variance {variance:.3g} is nothing beside 2 step_size/β = "
                f"{noise:.3g} that a step adds; lower step_size"
            )
        flow = problem.flow
        if self.basis == "gaussian":
            if flow.dim > MOST_KERNEL_DIMENSIONS:
                return f"Gaussian kernels are for at most {MOST_KERNEL_DIMENSIONS} dimensions, not {flow.dim}"
            return None
        count = polynomial_count(flow.dim, self.degree)
        if count > self.samples:
            return (
                f"a basis must not be larger than the sample: in {flow.dim} dimensions there are {count} monomials "
                f"of degree <= {self.degree}, samples are {self.samples}"
            )
        return None

    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> DualPropagation:
        return DualPropagation(self, flow, generator)
