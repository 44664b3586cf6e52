"""One JKO step on the line for a potential and an entropy, by Newton's method, in the Euclidean or another metric.

With T known at nodes z_i of normal mass w_i, and ω_j the mass between two nodes Δ apart, the minimiser of

    F(T) = Σ_i w_i [ (T_i - T_{k,i})² / 2h_i + V(T_i) ] - β⁻¹ Σ_j ω_j log((T_{j+1} - T_j) / Δ),

h_i = h in a plain step and hΘ_i in the metric (hΘ)⁻¹. Its Hessian is tridiagonal.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import LinAlgError, solveh_banded

from problems.arrays import Reals
from problems.potentials import Potential
from solvers.one_dimensional.quantile_map import node_masses
from solvers.solver import Diverged

MOST_ITERATIONS = 200
# Newton decrement, squared, in units of the objective: rounding of the objective itself is about 1e-16.
CONVERGED = 1e-20
# Below this a decrement that no longer falls to a quarter in an iteration is rounding: of where a law is, or of V.
ROUNDED = 1e-9
SUFFICIENT = 1e-4
SHORTEST = 1e-10


class QuantileObjective:
    """F of the module's equation for the step from ``before`` (n,), and its derivatives, at values (n,).

    ``step_size`` is h, or the h_i (n,).
    """

    def __init__(
        self, potential: Potential, inverse_temperature: float, step_size: float | Reals, before: Reals
    ) -> None:
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


def minimise(
    objective: QuantileObjective, guess: Reals | None = None, converged: float = CONVERGED
) -> tuple[Reals, int, float]:
    """Return the minimiser (n,), the number of iterations and the last Newton decrement gᵀH⁻¹g.

    It starts from where the step does, or from a ``guess`` (n,) that is better, and ends with the Newton step whose
    decrement is at most ``converged``, or as small as rounding leaves it.

    Raises ``Diverged`` when the objective or a derivative is not finite or the line search finds nothing lower.
    """
    values = objective.before
    level = objective.value(values)
    if guess is not None and (lower := objective.value(guess)) < level:
        values, level = guess, lower
    if not np.isfinite(level):
        raise Diverged("starts from quantiles that do not increase, or where the potential is not finite")
    previous = np.inf
    for iteration in range(1, MOST_ITERATIONS + 1):
        gradient, diagonal, beside = objective.derivatives(values)
        if not (np.isfinite(gradient).all() and np.isfinite(diagonal).all()):
            raise Diverged("meets derivatives of the potential that are not finite")
        direction = newton_direction(gradient, diagonal, beside, objective)
        decrement = float(-gradient @ direction)
        if decrement <= converged or 0.25 * previous <= decrement <= ROUNDED:
            return values + direction, iteration, max(0.0, decrement)
        previous = decrement
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

    Rows and columns are scaled by the square roots of the masses, which span thirty orders of magnitude. Raises
    ``Diverged`` where there is no such direction, in the floating-point numbers that there are.
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
    try:
        return np.asarray(-scale * solveh_banded(bands, scale * gradient, check_finite=False))
    except LinAlgError as error:
        raise Diverged("found no direction of descent, as from a law that is too narrow for the step") from error


def longest(values: Reals, direction: Reals) -> float:
    """Return the longest step, at most 1, that leaves a tenth of each gap; both arguments are (n,)."""
    gaps, closing = np.diff(values), -np.diff(direction)
    shrink = closing > 0
    return float(min(1.0, 0.9 * (gaps[shrink] / closing[shrink]).min(initial=np.inf)))
