"""The JKO step on the line by Newton's method, safeguarded, with tolerances in the units of the law itself.

Lengths are compared with the law's width L: a step counts as solved when what is left of it, by the Newton decrement,
is 1e-11 L in the root mean square, or when rounding of the objective allows no more.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solveh_banded

from problems.arrays import Reals
from solvers.one_dimensional.mapped_energy import Derivatives, MappedEnergy
from solvers.solver import Diverged

MOST_ITERATIONS = 300
# Of the law's width: how far from the minimiser, in the root mean square, a step may be left.
NEAR = 1e-11
NEARLY = 1e-4
# Iterations after which Newton's method starts again, and the least share of the typical internal energy in a cell.
DIRECT = 40
LEAST_SHARE = 1e-16
SUFFICIENT = 1e-4
SHORTEST = 1e-12
ROUNDING = 4e-16


def objective(energy: MappedEnergy, step_size: float, before: Reals, values: Reals) -> tuple[float, float]:
    """Return the step's objective at ``values`` (n,), +inf where it does not exist, and the size of what it sums."""
    if energy.keeps_apart and not np.diff(values).min() > 0:
        return np.inf, np.inf
    x, w = energy.points(values)
    start, _ = energy.points(before)
    terms = [0.5 / step_size * w * (x - start) ** 2, *energy.terms(values)]
    total = sum(float(term.sum()) for term in terms)
    size = sum(float(np.abs(term).sum()) for term in terms)
    return (total, size) if np.isfinite(total) else (np.inf, np.inf)


def minimise(energy: MappedEnergy, step_size: float, before: Reals) -> tuple[Reals, int, float]:
    """Return the minimiser (n,), the number of iterations and the distance left, over the law's width.

    Where nodes with next to no mass are swept together, Newton's method from ``before`` (n,) takes many short steps: it
    then starts again from minimisers with more internal energy there, less and less of it.

    Raises ``Diverged`` where the objective or a derivative is not finite, or nothing lower is found.
    """
    weights = energy.mesh.around
    mean = float((weights * before).sum() / weights.sum())
    width = float(np.sqrt((weights * (before - mean) ** 2).sum()))
    width = max(width, 1e-15 * float(np.abs(before).max()), 1e-300)
    values, count, left = descend(energy, step_size, before, before, width, NEAR, DIRECT)
    if left > NEAR and count >= DIRECT and energy.coefficients is not None:
        values, share = before, 1.0
        while share > LEAST_SHARE:
            share *= 0.1
            stiff = energy.stiffened(share)
            values, more, _ = descend(stiff, step_size, before, values, width, NEARLY, MOST_ITERATIONS)
            count += more
    if left > NEAR and count >= DIRECT:
        values, more, left = descend(energy, step_size, before, values, width, NEAR, MOST_ITERATIONS)
        count += more
        if more >= MOST_ITERATIONS:
            raise Diverged(f"did not converge in {count} iterations ({left:.3g} of the law's width left)")
    return values, count, left


def descend(
    energy: MappedEnergy, step_size: float, before: Reals, values: Reals, width: float, near: float, most: int
) -> tuple[Reals, int, float]:
    """Return values (n,) after at most so many iterations from ``values`` (n,), their number, and the distance left.

    Raises ``Diverged`` where the objective or a derivative is not finite, or nothing lower is found.
    """
    weights, left, last = energy.mesh.around, np.inf, np.inf
    level, size = objective(energy, step_size, before, values)
    if not np.isfinite(level):
        raise Diverged("starts from quantiles that do not increase, or where the potential is not finite")
    for iteration in range(1, most + 1):
        found = energy.derivatives(values, step_size, before)
        if not (np.isfinite(found.gradient).all() and np.isfinite(found.diagonal).all()):
            raise Diverged("meets derivatives of the potential that are not finite")
        direction = newton_direction(found, weights)
        decrement = float(-(found.gradient * direction).sum())
        left = float(np.sqrt(step_size * max(0.0, decrement))) / width
        rounding = ROUNDING * (size + found.noise)
        length = longest(values, direction) if energy.keeps_apart else 1.0
        if left <= near or (decrement <= 100 * rounding and decrement >= 0.1 * last):
            return values + length * direction, iteration, left
        last = decrement
        # Where a few gaps would close, the others first go all the way all the same.
        trial = values + direction if length == 1.0 else with_gaps_kept(values, direction, weights)
        while True:
            lower, trial_size = objective(energy, step_size, before, trial)
            if lower <= level - SUFFICIENT * length * decrement + 10 * rounding:
                break
            trial = values + length * direction
            length *= 0.5
            if length < SHORTEST:
                raise Diverged(f"found no lower objective ({left:.3g} of the law's width from the minimum)")
        values, level, size = trial, lower, trial_size
    return values, most, left


def newton_direction(found: Derivatives, masses: Reals) -> Reals:
    """Return -H⁻¹g (n,), with what makes H indefinite left out of it where it is.

    Rows and columns are scaled by the square roots of the ``masses`` (n,), which span many orders of magnitude. Raises
    ``Diverged`` where there is no direction of descent.
    """
    scale = 1 / np.sqrt(np.maximum(masses, 1e-300))
    for diagonal, beside, factors, dense in (
        (found.diagonal, found.beside, found.factors, found.dense),
        (found.safe, found.safe_beside, None, found.safe_dense),
    ):
        try:
            direction = solve(diagonal, beside, factors, dense, found.gradient, scale)
        except LinAlgError:
            continue
        if np.isfinite(direction).all() and float((found.gradient * direction).sum()) <= 0:
            return direction
    raise Diverged("found no direction of descent")


def solve(
    diagonal: Reals,
    beside: Reals,
    factors: tuple[Reals, Reals] | None,
    dense: Reals | None,
    gradient: Reals,
    scale: Reals,
) -> Reals:
    """Return -H⁻¹g (n,) of a Hessian as ``Derivatives`` has it, in rows and columns times ``scale`` (n,)."""
    right = scale * gradient
    if dense is not None:
        full = dense * scale * scale[:, None]
        at = np.arange(len(scale))
        full[at, at] += diagonal * scale * scale
        full[at[1:], at[:-1]] += beside * scale[1:] * scale[:-1]
        full[at[:-1], at[1:]] += beside * scale[1:] * scale[:-1]
        if factors is not None:
            sides = factors[0] * scale[:, None]
            full += sides @ factors[1] @ sides.T
        return np.asarray(
            -scale * cho_solve(cho_factor(full, lower=True, check_finite=False), right, check_finite=False)
        )
    bands = np.zeros((2, len(diagonal)))
    bands[0, 1:] = beside * scale[1:] * scale[:-1]
    bands[1] = diagonal * scale * scale
    if factors is None:
        return np.asarray(-scale * solveh_banded(bands, right, check_finite=False))
    # (B + U C Uᵀ)⁻¹ g = B⁻¹g - B⁻¹U (I + C UᵀB⁻¹U)⁻¹ C UᵀB⁻¹g (Woodbury 1950).
    sides = factors[0] * scale[:, None]
    solved = solveh_banded(bands, np.column_stack([right, sides]), check_finite=False)
    plain, of_sides = solved[:, 0], solved[:, 1:]
    inner = np.eye(sides.shape[1]) + factors[1] @ (sides.T @ of_sides)
    return np.asarray(-scale * (plain - of_sides @ np.linalg.solve(inner, factors[1] @ (sides.T @ plain))))


def with_gaps_kept(values: Reals, direction: Reals, masses: Reals) -> Reals:
    """Return values (n,) moved all the way, but for gaps that lose more than nine tenths: those keep a tenth.

    The node in the middle of the ``masses`` (n,) goes where it would.
    """
    gaps = np.diff(values)
    middle = int(np.searchsorted(np.cumsum(masses), 0.5 * masses.sum()))
    moved = np.concatenate([[0.0], np.cumsum(np.maximum(gaps + np.diff(direction), 0.1 * gaps))])
    return np.asarray(values[middle] + direction[middle] + (moved - moved[middle]))


def longest(values: Reals, direction: Reals) -> float:
    """Return the longest step, at most 1, that leaves a tenth of each gap; both arguments are (n,)."""
    gaps, closing = np.diff(values), -np.diff(direction)
    shrink = closing > 0
    return float(min(1.0, 0.9 * (gaps[shrink] / closing[shrink]).min(initial=np.inf)))
