"""The JKO scheme in one dimension, each step solved exactly: the floor of every JKO method on any potential.

On the line W₂ is the L² distance of quantile functions, so that with X = T(Z), Z ~ N(0, 1), the step from T_k is

    T = argmin_T  E[ (T(Z) - T_k(Z))² / 2h + V(T(Z)) - β⁻¹ log T'(Z) ]

(Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29, 1998, in the coordinates of Blanchet, Calvez, Carrillo, SIAM J.
Numer. Anal. 46, 2008). With T known at nodes z_i of normal mass w_i, and ω_j the mass between two nodes Δ apart,

    F(T) = Σ_i w_i [ (T_i - T_{k,i})² / 2h + V(T_i) ] - β⁻¹ Σ_j ω_j log((T_{j+1} - T_j) / Δ).

Its Hessian is tridiagonal: Newton's method with a line search that keeps T increasing takes O(nodes) a step. Other
free energies, power entropies and interactions, take maps of other laws than the normal one, by which edges and heavy
tails are straight (``solvers.one_dimensional.mapped_energy``).

Order 2 is the implicit midpoint in Wasserstein space, half a step of the scheme and as far again: T = 2 T_{½} - T_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.linalg import LinAlgError, solveh_banded

from problems.arrays import Reals
from problems.flow import Entropy, GradientFlow, PowerEntropy
from problems.interactions import LogarithmicInteraction
from problems.potentials import Potential
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import Estimate
from solvers.filtering import Filter, Propagation, equal_steps
from solvers.one_dimensional.mapped_steps import MappedSteps
from solvers.one_dimensional.quantile_map import QuantileMap, initial_values, node_masses
from solvers.solver import Cost, Diverged, step_counts

LEAST_NODES = 32
MOST_ITERATIONS = 200
# Newton decrement, squared, in units of the objective: rounding of the objective itself is about 1e-16.
CONVERGED = 1e-20
SUFFICIENT = 1e-4
SHORTEST = 1e-10


@dataclass(frozen=True, kw_only=True)
class QuantileJKO(Filter):
    """QuantileJKO takes exact JKO steps of at most ``step_size`` on the line, on ``nodes`` normal scores in [-8, 8].

    What is left is the error of the JKO scheme, of order h² in SymKL (h⁴ with ``order`` 2), and that of the nodes, of
    order nodes⁻² in the log-density: orders of magnitude smaller with the default. Between the times asked for and
    those of observations, steps are equal and as long as ``step_size`` allows. A power entropy, no internal energy at
    all and interactions take nodes that suit the edges or tails of the law; interactions that are neither polynomials
    of degree 4 nor a logarithm take nodes² in time and memory, as the logarithm does.

    Diagnostics: ``newton_iterations`` in all, and the largest ``newton_decrement``, which bounds how far above its
    minimum any step's objective was left; for energies other than an entropy and a potential the largest
    ``distance_left`` instead, from the minimiser, over the law's standard deviation.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "quantile-jko"
    internal_energies: ClassVar = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 1
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    step_size: float = 0.05
    nodes: int = 1200
    order: int = 1

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size)
        require_counts(self.name, at_least=LEAST_NODES, nodes=self.nodes)
        require_choice(self.name, "order", self.order, (1, 2))

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        internal, interaction = flow.energy.internal, flow.energy.interaction
        if diffuses(flow):
            return None
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
        return MappedSteps(self.name, flow, self.step_size, self.order, self.nodes)


def diffuses(flow: GradientFlow) -> bool:
    """Return whether the flow is diffusion in a potential, without interaction."""
    return isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None


class QuantileSteps(Propagation):
    """A propagation by exact steps from one map to the next, which counts their iterations."""

    def __init__(self, settings: QuantileJKO, flow: GradientFlow) -> None:
        self.settings, self.flow = settings, flow
        self.iterations, self.decrement = 0, 0.0

    def start(self) -> Estimate:
        return QuantileMap(initial_values(self.flow, self.settings.nodes))

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, QuantileMap)
        values = estimate.values
        count, step_size = equal_steps(stop - start, self.settings.step_size)
        for step in range(1, count + 1):
            order, before = self.settings.order, values
            objective = QuantileObjective(self.flow.potential, self.flow.inverse_temperature, step_size / order, before)
            try:
                values, iterations, decrement = minimise(objective)
                if order == 2:
                    values = 2 * values - before
                    if not np.diff(values).min() > 0:
                        raise Diverged("folds the line, which steps of order 2 do when too long: lower step_size")
            except Diverged as error:
                raise Diverged(f"{self.settings.name}: the step to t = {start + step * step_size:g} {error}") from error
            self.iterations += iterations
            self.decrement = max(self.decrement, decrement)
        return QuantileMap(values)

    def cost(self) -> Cost:
        return Cost(gradient_evaluations=self.iterations * self.settings.nodes)

    def diagnostics(self) -> dict[str, float | int | str]:
        return {"newton_iterations": self.iterations, "newton_decrement": self.decrement}


class QuantileObjective:
    """F of the module's equation for the step from ``before`` (n,), and its derivatives, at values (n,)."""

    def __init__(self, potential: Potential, inverse_temperature: float, step_size: float, before: Reals) -> None:
        self.potential, self.step_size, self.before = potential, step_size, before
        self.around, between = node_masses(len(before))
        self.entropy = between / inverse_temperature

    def value(self, values: Reals) -> float:
        """Return F at ``values`` (n,) up to a constant; +inf where they do not increase or V is not finite."""
        gaps = np.diff(values)
        if not gaps.min() > 0:
            return np.inf
        energy = self.potential.value(torch.from_numpy(values)[:, None]).double().numpy()
        moved = values - self.before
        total = self.around @ (0.5 / self.step_size * moved * moved + energy) - self.entropy @ np.log(gaps)
        return float(total) if np.isfinite(total) else np.inf

    def derivatives(self, values: Reals) -> tuple[Reals, Reals, Reals]:
        """Return the gradient (n,), and of the tridiagonal Hessian the diagonal (n,) and the one beside it (n - 1,)."""
        x = torch.from_numpy(values)[:, None]
        slope = self.potential.gradient(x).double().numpy()[:, 0]
        curvature = self.potential.hessian(x).double().numpy()[:, 0, 0]
        pull = self.entropy / np.diff(values)
        stiffness = pull / np.diff(values)
        gradient = self.around * ((values - self.before) / self.step_size + slope)
        gradient[:-1] += pull
        gradient[1:] -= pull
        diagonal = self.around * (1 / self.step_size + curvature)
        diagonal[:-1] += stiffness
        diagonal[1:] += stiffness
        return gradient, diagonal, -stiffness


def minimise(objective: QuantileObjective) -> tuple[Reals, int, float]:
    """Return the minimiser (n,), the number of iterations and the last Newton decrement gᵀH⁻¹g.

    Raises ``Diverged`` when the objective or a derivative is not finite or the line search finds nothing lower.
    """
    values = objective.before
    level = objective.value(values)
    if not np.isfinite(level):
        raise Diverged("starts from quantiles that do not increase, or where the potential is not finite")
    for iteration in range(1, MOST_ITERATIONS + 1):
        gradient, diagonal, beside = objective.derivatives(values)
        if not (np.isfinite(gradient).all() and np.isfinite(diagonal).all()):
            raise Diverged("meets derivatives of the potential that are not finite")
        direction = newton_direction(gradient, diagonal, beside, objective)
        decrement = float(-gradient @ direction)
        if decrement <= CONVERGED:
            return values + direction, iteration, max(0.0, decrement)
        length = longest(values, direction)
        while True:
            trial = values + length * direction
            lower = objective.value(trial)
            if lower <= level - SUFFICIENT * length * decrement + 4e-16 * abs(level):
                break
            length *= 0.5
            if length < SHORTEST:
                raise Diverged(f"found no lower objective (Newton decrement {decrement:.3g})")
        values, level = trial, lower
    raise Diverged(f"did not converge in {MOST_ITERATIONS} iterations (Newton decrement {decrement:.3g})")


def newton_direction(gradient: Reals, diagonal: Reals, beside: Reals, objective: QuantileObjective) -> Reals:
    """Return -H⁻¹g (n,), with V's curvature left out of H where it makes H indefinite.

    ``gradient`` g and ``diagonal`` are (n,), ``beside`` is (n - 1,), as from ``derivatives``.

    Rows and columns are scaled by the square roots of the masses, which span thirty orders of magnitude.
    """
    scale = 1 / np.sqrt(objective.around)
    bands = np.zeros((2, len(diagonal)))
    bands[0, 1:] = beside * scale[1:] * scale[:-1]
    bands[1] = diagonal * scale * scale
    try:
        return np.asarray(-scale * solveh_banded(bands, scale * gradient, check_finite=False))
    except LinAlgError:
        stiffness = np.concatenate([[0.0], -beside, [0.0]])
        bands[1] = (stiffness[1:] + stiffness[:-1]) * scale * scale + 1 / objective.step_size
        return np.asarray(-scale * solveh_banded(bands, scale * gradient, check_finite=False))


def longest(values: Reals, direction: Reals) -> float:
    """Return the longest step, at most 1, that leaves a tenth of each gap; both arguments are (n,)."""
    gaps, closing = np.diff(values), -np.diff(direction)
    shrink = closing > 0
    return float(min(1.0, 0.9 * (gaps[shrink] / closing[shrink]).min(initial=np.inf)))
