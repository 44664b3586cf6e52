"""What a map of a step is judged by: its objective at particles, its stationarity, and what a hidden unit would gain.

With the affine map of least objective in the place of T, the output weights f ≥ 0 of hidden units z_j are worth having
if and only if the objective falls along one of them (the first-order condition of a convex problem in f):

    g_j = E[ T̄·∇z_j + H̄:∇²z_j ] + shrinkage < 0    for some j.

On particles that had no part in finding the map, g_j has a standard error, and what is within a few of them is noise.
The error is right only where many particles lie on either side of where the unit bends: of a unit that bends in a tail
the mean hangs on the few beyond it, and what the rarest of them would lose is as a rule not among the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch

from problems.linear_algebra import symmetrised
from solvers.icnn.step_objective import StepObjective, derivatives_of
from solvers.networks.convex_derivatives import Folded, derivatives, fold, pullback
from solvers.networks.convex_network import Weights
from solvers.threads import Run

EXAMINED_AT_ONCE = 512
# Sums that tell a derivative's error, at least: Student's t is then near normal.
SUMS = 64
# Draws on either side of a unit's bend, at least, for the standard error of its derivative to be one. At rest the
# largest t = -g / error of 384 units in 800 searches, in one and in four dimensions, was 6.9 with half as many and 15
# with any.
FEWEST = 100
# Widths, in their own, to which particles are spread where a step may have no minimum.
WIDTHS = (64.0, 256.0, 1024.0)

MapWithJacobian = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Gives T (n, D) and ∇T at points (n, D), (n, D, D) or, where it is the same at all of them, (1, D, D)."""


def map_of(weights: Weights) -> MapWithJacobian:
    """Return ∇ψ of one network (S = 1) and its Jacobian."""
    folded = fold(weights)

    def derivatives_at(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, hessian, _ = derivatives(folded, x[None])
        return mapped[0], hessian[0]

    return derivatives_at


def affine_map(matrix: torch.Tensor, shift: torch.Tensor) -> MapWithJacobian:
    """Return x ↦ ``matrix`` x + ``shift``, (D, D) and (D,), and its Jacobian, in the dtype and place of the points."""
    return lambda x: (x @ matrix.to(x) + shift.to(x), matrix.to(x)[None])


def values_of(
    mapping: MapWithJacobian,
    points: torch.Tensor,
    objective: StepObjective,
    run: Run,
    log_density: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the objective less its value for the identity at each of ``points`` (n, D), shape (n,).

    Points interact with those of the same piece. ``log_density`` (n,) is theirs, where the objective carries it.
    """

    def value(piece: tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
        x, density = piece
        return objective.values(x, *mapping(x), density)

    return torch.cat(run(value, pieces(points, log_density)))


def examined(
    mapping: MapWithJacobian,
    points: torch.Tensor,
    objective: StepObjective,
    run: Run,
    log_density: torch.Tensor | None = None,
) -> tuple[torch.Tensor, float]:
    """Return what ``values_of`` does at ``points`` (n, D), shape (n,), and the stationarity of the map."""

    def examine(piece: tuple[torch.Tensor, torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
        x, density = piece
        mapped, hessian = mapping(x)
        mapped_bar, hessian_bar = bars(objective, x, mapped, hessian, density)
        moment = mapped_bar.T @ (x - centre) + hessian_bar.sum(0)
        return objective.values(x, mapped, hessian, density), mapped_bar.sum(0), moment

    centre = points.mean(0)
    gains, forces, moments = zip(*run(examine, pieces(points, log_density)), strict=True)
    force, moment = sum(forces) / len(points), sum(moments) / len(points)
    residual = max(float(force.norm()), float(symmetrised(moment).norm()))
    return torch.cat(gains), objective.step_size * residual


def bars(
    objective: StepObjective,
    x: torch.Tensor,
    mapped: torch.Tensor,
    hessian: torch.Tensor,
    log_density: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T̄ (n, D) and H̄ (n, D, D) at ``x`` (n, D), which interact with each other; ``hessian`` as ∇T is above."""
    fields = None
    if objective.interaction is not None:
        fields = objective.field(objective.intermediate_places(x, mapped))[None]
    carried = None if log_density is None else log_density[None]
    if objective.carries:
        hessian = hessian.expand(len(x), -1, -1)
    mapped_bar, hessian_bar = derivatives_of([objective], x[None], mapped[None], hessian[None], carried, fields)
    return mapped_bar[0], hessian_bar[0].expand(len(x), -1, -1)


def slopes_of_units(
    mapping: MapWithJacobian,
    weights: Weights,
    points: torch.Tensor,
    objective: StepObjective,
    run: Run,
    log_density: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the derivatives of the mean objective in the output weights of one network at a map, and their errors.

    Both are (W,). ``points`` (n, D) are independent draws, and their sums over pieces tell the errors, which are
    infinite where ``known`` says that they tell none.
    """
    folded = fold(weights)
    parts = pieces(points, log_density, min(EXAMINED_AT_ONCE, -(-len(points) // SUMS)))
    found, beyond = torch.stack(run(partial(_slopes, folded, mapping, objective), parts)).unbind(1)
    sizes = found.new_tensor([len(x) for x, _ in parts])[:, None]
    mean = found.sum(0) / len(points)
    spread = ((found - mean * sizes).square() / sizes).sum(0) / (len(sizes) - 1)
    return mean, known((spread / len(points)).sqrt(), beyond.sum(0), len(points))


def known(errors: torch.Tensor, beyond: torch.Tensor, count: int) -> torch.Tensor:
    """Return errors (W,) of units' derivatives, infinite where few of ``count`` draws lie on one side of the bend.

    ``beyond`` (W,) are the sums of s' over the draws: how many of them the unit moves.
    """
    return errors.masked_fill(torch.minimum(beyond, count - beyond) < FEWEST, math.inf)


def _slopes(
    folded: Folded,
    mapping: MapWithJacobian,
    objective: StepObjective,
    piece: tuple[torch.Tensor, torch.Tensor | None],
) -> torch.Tensor:
    x, density = piece
    gradient_bar, hessian_bar = bars(objective, x, *mapping(x), density)
    _, _, tape = derivatives(folded, x[None])
    total = folded.like(x.new_zeros(folded.size))
    pullback(folded, tape, gradient_bar[None], hessian_bar[None], total)
    beyond = tape.slopes[-1][0].sum(0) if tape.slopes else torch.full_like(total.output[0], len(x) / 2)
    return torch.stack([total.output[0], beyond])


def pieces(
    points: torch.Tensor, log_density: torch.Tensor | None, size: int = EXAMINED_AT_ONCE
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Return points (n, D) with their log-densities (n,), if any, in the pieces that are worked on at a time."""
    parts = points.split(size)
    densities = [None] * len(parts) if log_density is None else log_density.split(size)
    return list(zip(parts, densities, strict=True))


def falls_without_end(
    objective: StepObjective, points: torch.Tensor, run: Run, log_density: torch.Tensor | None = None
) -> bool:
    """Return whether the objective falls as ``points`` (n, D) of mean near 0 are spread further and further."""
    identity, origin = torch.eye(points.shape[1], dtype=points.dtype), torch.zeros(points.shape[1], dtype=points.dtype)
    means = [
        float(values_of(affine_map(width * identity, origin), points, objective, run, log_density).mean())
        for width in WIDTHS
    ]
    return means[0] < 0 and all(after < before for before, after in pairwise(means))


def gain(before: torch.Tensor, after: torch.Tensor) -> tuple[float, float]:
    """Return by how much the mean of values at the same points, (n,), has fallen, and its standard error."""
    difference = (before - after).double()
    return float(difference.mean()), float(difference.std()) / math.sqrt(len(difference))


def difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return how far the means of two samples, (n,) and (m,), are apart, in standard errors of their difference."""
    spread = math.sqrt(float(left.var()) / len(left) + float(right.var()) / len(right))
    gap = abs(float(left.mean()) - float(right.mean()))
    return gap / spread if spread else 0.0
