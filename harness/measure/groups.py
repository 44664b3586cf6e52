"""Variances of what is averaged over draws that come in groups: independent between groups, as they like within one.

States of one chain depend on each other, and so do descendants of one particle. For the influence ψ_i of each draw on
a figure, as in a mean with weights w_i, the sums over groups are independent, so that

    Var ≈ G/(G - 1) Σ_g ( Σ_{i in g} w_i (ψ_i - ψ̄) )²,        ψ̄ = Σ w_i ψ_i,

whatever happens within a group (Liang, Zeger, Biometrika 73, 1986; for ancestors in a particle filter Chan, Lai, Ann.
Statist. 41, 2013). Blocks of draws, where a figure is worked out anew without each of them, are of whole groups.

A variance v that is found from few repetitions is uncertain itself. Of a part p of v that k degrees of freedom tell,
and the rest that is well known, v has about k (v/p)² (Welch, Biometrika 34, 1947; Satterthwaite, Biometrics Bull. 2,
1946), and what holds 95 % is Student's t with so many, not 1.96.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from problems.arrays import Reals
from solvers.estimates import Estimate, Nodes, Particles

UPPER = 0.975
QUANTILE = float(ndtri(UPPER))
"""So many standard errors to either side are to hold 95 %: 1.96."""
LEAST_SHARE = 0.1
"""Of an even share of the weight; a block with less is no sample of the whole."""


def allowing_for(degrees: int, part: float, variance: float) -> float:
    """Return the ``variance`` so enlarged that 1.96 of its roots hold 95 %, where ``part`` of it is uncertain.

    That part is known by so many ``degrees`` of freedom only.
    """
    if not 0 < part <= variance < math.inf:
        return variance
    return variance * float(stdtrit(degrees * (variance / part) ** 2, UPPER) / QUANTILE) ** 2


def group_sums(values: Reals, groups: torch.Tensor | None) -> Reals:
    """Return the sums of ``values`` (n, …) over each group, shape (G, …); the values themselves without ``groups``."""
    if groups is None:
        return values
    _, place = np.unique(groups.numpy(), return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, *values.shape[1:]))
    np.add.at(sums, place, values)
    return sums


def mean_variance(influence: Reals, groups: torch.Tensor | None, weights: Reals | None = None) -> float:
    """Return the variance of the mean of ``influence`` (n,), by ``weights`` (n,) that sum to 1, over its groups.

    Infinite where all draws are of one group, and where influences overflow.
    """
    if weights is None:
        weights = np.full(len(influence), 1 / len(influence))
    else:
        present = weights > 0
        influence, weights = influence[present], weights[present]
        groups = None if groups is None else groups[torch.from_numpy(present)]
    sums = group_sums(weights * (influence - np.sum(weights * influence)), groups)
    if len(sums) < 2 or not np.isfinite(sums).all():
        return math.inf
    return float(len(sums) / (len(sums) - 1) * np.sum(sums**2))


def groups_of(estimate: Estimate) -> torch.Tensor | None:
    """Return the groups (n,) of particles that depend on each other, or ``None`` where all draws are independent.

    Particles that say nothing of themselves, but repeat points, are of one group where they are the same.
    """
    if not isinstance(estimate, Particles) or estimate.groups is not None:
        return estimate.groups if isinstance(estimate, Particles) else None
    _, place = np.unique(estimate.points.numpy(), axis=0, return_inverse=True)
    groups = as_they_occur(torch.from_numpy(place.ravel()))
    return None if int(groups.max()) + 1 == len(groups) else groups


def as_they_occur(groups: torch.Tensor) -> torch.Tensor:
    """Return ``groups`` (n,) numbered from 0 in the order in which they first occur.

    Groups may be numbered by where they lie: blocks of neighbours in space would be no sample of the whole.
    """
    _, first, place = np.unique(groups.numpy(), return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[place.ravel()])


def blocks(count: int, most: int, groups: torch.Tensor | None) -> list[Reals]:
    """Return the places (k,) of at most ``most`` blocks, about equal, of ``count`` draws that keep groups whole.

    Without ``groups`` they are contiguous.
    """
    if groups is None:
        return np.array_split(np.arange(count), min(most, count))
    _, place, sizes = np.unique(groups.numpy(), return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - 0.5 * sizes
    block = np.floor(most * middles / count).astype(int)[place]
    order = np.argsort(block, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(block[order])) + 1)


def weighted_blocks(particles: Particles, most: int, generator: torch.Generator) -> list[Reals]:
    """Return the places (k,) of at most ``most`` blocks of particles that keep groups whole, all with some weight.

    They are those of :func:`blocks` where each of these carries its share, as without weights. Where weight sits in few
    of them, blocks that have none would all agree: the particles that have weight, or their groups, independent of each
    other as they are, are then dealt out by chance, to about as much weight each. Nodes have been placed in an order,
    and keep it.
    """
    groups, count = groups_of(particles), len(particles.points)
    parts = blocks(count, most, groups)
    if particles.log_weights is None:
        return parts
    weights = particles.normalised_log_weights.exp().numpy()
    shares = np.array([weights[part].sum() for part in parts])
    if isinstance(particles, Nodes):
        return [part for part, share in zip(parts, shares, strict=True) if share > 0]
    if shares.min() >= LEAST_SHARE / len(parts):
        return parts
    place = np.arange(count) if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]
    of_unit = np.bincount(place, weights)
    present = np.flatnonzero(of_unit > 0)
    dealt = present[torch.randperm(len(present), generator=generator).numpy()]
    middles = np.cumsum(of_unit[dealt]) - 0.5 * of_unit[dealt]
    block = np.full(len(of_unit), -1)
    block[dealt] = np.minimum(most * middles / of_unit.sum(), most - 1).astype(int)
    block = block[place]
    order = np.argsort(block, kind="stable")[np.count_nonzero(block < 0) :]
    return np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
