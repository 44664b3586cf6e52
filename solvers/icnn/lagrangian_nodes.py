"""Nodes and masses by which the mean over a law is a quadrature, and stays one as maps move the nodes.

With ρ_k the law of T_k∘…∘T_1(X), X ~ ρ_0, a mean over ρ_k is one over ρ_0 of a function as smooth as the maps are,

    E_{ρ_k} φ = ∫ φ(T_k∘…∘T_1(x)) ρ_0(x) dx ≈ Σ_i w_i φ(x_i),    w_i ∝ ρ_0(x_0i) Δ_i,

with x_0i a tensor grid over ρ_0, and x_i where the maps take them. The trapezoidal rule meets it far better than any
draws: what matters in a step of the flow is the noise of the *derivative* of a density, which draws have much of. Grids
are even in asinh of coordinates in standard deviations: they reach far into tails, and are finest in the middle.
"""

from __future__ import annotations

import torch

from problems.laws import Density

# Nodes in one and in two dimensions; where sums over pairs are taken, fewer.
NODES = {1: 2048, 2: 96**2}
PAIRED_NODES = {1: 1024, 2: 32**2}
# Draws that show where a law is, and by how much of their range the grid goes beyond them.
DRAWS = 2**15
MARGIN = 0.05
# Mass that a node must have, as a share of that of an average one, to stay.
LEAST_MASS = 1e-9
# By how much the masses may fail to sum to 1 and to have the law's moments, in its own units.
ACCURACY = 1e-2


def lagrangian_nodes(
    law: Density, generator: torch.Generator, paired: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Return nodes (n, D), their log-densities (n,) and masses (n,) that sum to 1, float64; ``None`` above D = 2.

    ``None``, too, where the grid does not meet the law's mass and moments. Nodes are moved by an affine map that makes
    the moments exact.
    """
    counts = PAIRED_NODES if paired else NODES
    if law.dim not in counts:
        return None
    mean, covariance = law.moments()
    scales = covariance.diagonal().sqrt()
    reach = torch.asinh((law.sample(DRAWS, generator) - mean) / scales)
    low, high = reach.amin(0), reach.amax(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    number = round(counts[law.dim] ** (1 / law.dim))
    shares = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    axes = [start + (stop - start) * shares for start, stop in zip(low, high, strict=True)]
    places = torch.cartesian_prod(*axes).view(-1, law.dim)
    points = mean + scales * places.sinh()
    stretch = places.cosh().log().sum(1) + scales.log().sum() + ((high - low) / number).log().sum()
    log_density = law.log_prob(points)
    masses = torch.exp(log_density + stretch)
    total = float(masses.sum())
    kept = masses > LEAST_MASS / len(masses)
    if not abs(total - 1) < ACCURACY or not bool(kept.any()):
        return None
    points, log_density, masses = points[kept], log_density[kept], masses[kept] / masses[kept].sum()
    centred = (points - masses @ points) / scales
    moments = (centred * masses[:, None]).T @ centred
    wanted = covariance / scales[:, None] / scales
    shift = float(((masses @ points - mean) / scales).abs().max())
    if not max(shift, float((moments - wanted).abs().max())) < ACCURACY:
        return None
    return points, log_density, masses
