"""The end of a JKO step: the best output weights f ≥ 0, Q and m for the hidden units at hand, by Newton's method.

The step's objective J is convex in w = (f, Q, m) but for V and W (``solvers.icnn.output_objective``). From w on, the
minimiser y of its quadratic model

    ½ (y - w)ᵀH(y - w) + g·(y - w)    over f ≥ 0

is found exactly, as the non-negative least squares problem that is left when Q and m are eliminated (Lawson, Hanson,
Solving Least Squares Problems, 1974, chapter 23), and a part of the way to it is gone on which J falls enough
(sequential quadratic programming; Nocedal, Wright, Numerical Optimization, 2006, chapter 18). Near the solution that is
all of the way, and the method Newton's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from problems.arrays import Reals
from solvers.icnn.output_objective import OutputObjective
from solvers.networks.convex_network import STRONG_CONVEXITY

MOST_ITERATIONS = 20
SUFFICIENT = 1e-4
SHORTEST = 2.0**-20
# How far from the minimiser the particles may be left, by the model, in their own spread.
DISTANCE = 1e-6
# The residual of the best affine map, lengths in the spread of the particles, at which it is a minimiser as well if no
# unit is worth its penalty.
SETTLED = 1e-6
# What is added to the curvature by each weight, as a share of its own: units may be copies of each other.
RIDGE = 1e-9
# The share of the way to where Q is no more above the network's strong convexity that a step may go.
WITHIN = 0.9


@dataclass(frozen=True)
class OutputSolution:
    """w with the number of iterations, the distance left as the model has it, and what the objective gained."""

    w: torch.Tensor
    iterations: int
    distance: float
    gain: float


def solve_outputs(
    problem: OutputObjective,
    start: torch.Tensor,
    penalty: torch.Tensor,
    allowed: torch.Tensor | None = None,
    slope: torch.Tensor | None = None,
) -> OutputSolution:
    """Return the minimiser of J + ``penalty``·f over f ≥ 0, from w = ``start`` (K,), where J is finite, on.

    ``penalty`` is (W,). Units not ``allowed`` (W,) have f = 0. ``slope`` (K,) is J's gradient at ``start``, if known.
    """
    units, step = problem.units, problem.objective.step_size
    least = np.full(len(start), -np.inf)
    least[:units] = 0.0 if allowed is None else np.where(allowed.cpu().numpy(), 0.0, np.inf)
    if problem.dim == 1:
        least[units] = STRONG_CONVEXITY
    costs = torch.zeros_like(start)
    costs[:units] = penalty

    def value(w: torch.Tensor) -> float:
        return problem.value(w) + float(costs @ w)

    gradient = (problem.gradient(start)[0] if slope is None else slope) + costs
    left = step * float(gradient[units:].norm())
    falling = gradient[:units] < 0 if allowed is None else (gradient[:units] < 0) & allowed
    if left < SETTLED and not bool(start[:units].any()) and not bool(falling.any()):
        return OutputSolution(start, 0, left, 0.0)
    w, reached, distance = start.clone(), value(start), math.inf
    began = reached
    for iteration in range(MOST_ITERATIONS):
        gradient, curvature = problem.derivatives(w)
        target = model_minimiser(w.cpu().numpy(), (gradient + costs).cpu().numpy(), curvature.cpu().numpy(), least)
        direction = torch.from_numpy(target).to(w) - w
        fall = -float((gradient + costs) @ direction)
        distance = math.sqrt(max(0.0, step * fall))
        if not distance > DISTANCE:
            return OutputSolution(w, iteration, distance, began - reached)
        length = 1.0 if problem.dim == 1 else longest(problem.matrix(w), problem.matrix(direction))
        while length >= SHORTEST:
            trial = w + length * direction
            found = value(trial)
            if found <= reached - SUFFICIENT * length * fall:
                break
            length /= 2
        else:
            return OutputSolution(w, iteration, distance, began - reached)
        w, reached = trial, found
    return OutputSolution(w, MOST_ITERATIONS, distance, began - reached)


def longest(matrix: torch.Tensor, change: torch.Tensor) -> float:
    """Return the length up to 1 by which Q = ``matrix`` (D, D) may move along ``change`` and stay convex enough."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    spare = matrix - STRONG_CONVEXITY * identity
    factor, failed = torch.linalg.cholesky_ex(spare)
    if bool(failed):
        return 1.0
    root = torch.linalg.solve_triangular(factor, identity, upper=False)
    least = float(torch.linalg.eigvalsh(root @ change @ root.T)[0])
    return 1.0 if least > -WITHIN else -WITHIN / least


def model_minimiser(w: Reals, gradient: Reals, curvature: Reals, least: Reals) -> Reals:
    """Return the minimiser of the quadratic model about ``w`` (K,) over w ≥ ``least`` (K,): -inf is no bound.

    A weight of which +inf is asked is 0.
    """
    matrix = curvature + np.diag(RIDGE * np.diag(curvature) + RIDGE**2 * np.diag(curvature).max())
    bounded, free = np.flatnonzero(np.isfinite(least)), np.flatnonzero(np.isneginf(least))
    target = np.where(np.isposinf(least), 0.0, w)
    slope = gradient + matrix @ (target - w)
    factor = cho_factor(matrix[np.ix_(free, free)], lower=True)
    if len(bounded):
        cross = matrix[np.ix_(free, bounded)]
        reduced = matrix[np.ix_(bounded, bounded)] - cross.T @ cho_solve(factor, cross)
        reduced += np.diag(RIDGE * np.diag(matrix)[bounded])
        spare = w[bounded] - least[bounded]
        slopes = slope[bounded] - cross.T @ cho_solve(factor, slope[free]) - reduced @ spare
        # Scaled, so that units of any steepness count alike.
        scale = 1 / np.sqrt(np.diag(reduced))
        root = cholesky(reduced * np.outer(scale, scale), lower=False)
        above, _ = nnls(root, -solve_triangular(root, scale * slopes, trans="T"), maxiter=30 * len(bounded))
        target[bounded] = least[bounded] + scale * above
        slope = gradient + matrix @ (target - w)
    target[free] = w[free] - cho_solve(factor, slope[free])
    return target
