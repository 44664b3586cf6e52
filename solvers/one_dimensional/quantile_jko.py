"""The JKO scheme in one dimension, each step solved exactly: the floor of every JKO method on any potential.

On the line W₂ is the L² distance of quantile functions, so that with X = T(Z), Z ~ N(0, 1), the step from T_k is

    T = argmin_T  E[ (T(Z) - T_k(Z))² / 2h + V(T(Z)) - β⁻¹ log T'(Z) ]

(Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29, 1998, in the coordinates of Blanchet, Calvez, Carrillo, SIAM J.
Numer. Anal. 46, 2008). With T known at nodes z_i of normal mass w_i, and ω_j the mass between two nodes Δ apart,

    F(T) = Σ_i w_i [ (T_i - T_{k,i})² / 2h + V(T_i) ] - β⁻¹ Σ_j ω_j log((T_{j+1} - T_j) / Δ).

Its Hessian is tridiagonal: Newton's method with a line search that keeps T increasing takes O(nodes) a step. Other
free energies, power entropies and interactions, take maps of other laws than the normal one, by which edges and heavy
tails are straight (``solvers.one_dimensional.mapped_energy``).

Order 2 is the implicit midpoint in Wasserstein space, half a step of the scheme and as far again: T = 2 T_{½} - T_k. Or
it is an exponentially fitted step, which damps what is stiff (``solvers.one_dimensional.fitted_weights``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from problems.flow import Entropy, GradientFlow, PowerEntropy
from problems.interactions import LogarithmicInteraction
from problems.problem import Problem
from problems.validation import require_choice, require_counts
from solvers.adaptive_steps import require_steps
from solvers.filtering import Filter, Propagation
from solvers.one_dimensional.mapped_steps import MappedSteps
from solvers.one_dimensional.quantile_steps import QuantileSteps
from solvers.solver import step_counts

LEAST_NODES = 32
SECOND_ORDER = ("midpoint", "fitted")


@dataclass(frozen=True, kw_only=True)
class QuantileJKO(Filter):
    """QuantileJKO takes exact JKO steps of at most ``step_size`` on the line, on ``nodes`` normal scores in [-8, 8].

    What is left is the error of the JKO scheme, of order h² in SymKL (h⁴ with ``order`` 2), and that of the nodes, of
    order nodes⁻² in the log-density: orders of magnitude smaller with the default. Between the times asked for and
    those of observations, steps are equal and as long as ``step_size`` allows. A power entropy, no internal energy at
    all and interactions take nodes that suit the edges or tails of the law; interactions that are neither polynomials
    of degree 4 nor a logarithm take nodes² in time and memory, as the logarithm does.

    Steps of order 2 are by default those of the implicit midpoint, which fold the line, and diverge, where the step
    times the curvature of V much exceeds 2. With ``second_order="fitted"`` they are exponentially fitted; a step that
    would fold the line all the same is taken at order 1, and counted. With ``step_size="auto"`` each step's size and
    order are chosen by an estimate of its error, for a SymKL of about ``tolerance`` or less to the exact law at the
    horizon (``solvers.adaptive_steps``, which has the diagnostics, too), down to what the nodes leave, 5e-8 in the sine
    well by default; the traces are then ``step_size`` and ``step_order``. Both need an entropy and no interaction.

    Diagnostics: ``newton_iterations`` in all, and the largest ``newton_decrement``, which bounds how far above its
    minimum any step's objective was left; for energies other than an entropy and a potential the largest
    ``distance_left`` instead, from the minimiser, over the law's standard deviation.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "quantile-jko"
    version: ClassVar[int] = 2
    internal_energies: ClassVar = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 1
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    step_size: float | Literal["auto"] = 0.05
    nodes: int = 1200
    order: int = 1
    second_order: str = "midpoint"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_counts(self.name, at_least=LEAST_NODES, nodes=self.nodes)
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
        internal, interaction = flow.energy.internal, flow.energy.interaction
        if diffuses(flow):
            return None
        if self.step_size == "auto" or self.second_order == "fitted":
            return "steps are fitted and chosen only where the free energy is an entropy and a potential"
        if problem.observations is not None:
            return "observations are taken in only where the free energy is an entropy and a potential"
        if isinstance(internal, PowerEntropy) and (why := internal.without_step(1)) is not None:
            return why
        if isinstance(interaction, LogarithmicInteraction):
            if interaction.repulsion < 0:
                return "a logarithm that attracts has no JKO steps here: masses run into one point"
        elif interaction is not None and interaction.singular:
            return f"of singular interactions the logarithm only, not {type(interaction).__name__}"
        return None

    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Propagation:
        if diffuses(flow):
            return QuantileSteps(self, flow)
        assert self.step_size != "auto"
        return MappedSteps(self.name, flow, self.step_size, self.order, self.nodes)


def diffuses(flow: GradientFlow) -> bool:
    """Return whether the flow is diffusion in a potential, without interaction."""
    return isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None
