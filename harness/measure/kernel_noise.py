"""How far a figure of particles' kernel density ρ is from what other particles give: a jackknife over parts of them.

For J(ρ) = ∫ F(ρ, σ) and points x with weights that stand for the mixture g = ½(ρ + σ), J of the density without a part
of the particles is E_g[ F(ρ_b/g, σ/g) ] at the same points, F being homogeneous. The kernel stays that of all.
Sixteen parts tell that variance by 15 degrees of freedom, for which the error is enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import expit

from harness.measure.groups import allowing_for
from harness.measure.kde import KernelDensity
from problems.arrays import Reals

PARTS = 16
Integrand = Callable[[Reals, Reals], Reals]


def particle_variance(
    log_fit: torch.Tensor, log_without: torch.Tensor, log_truth: torch.Tensor, weights: Reals, integrand: Integrand
) -> float:
    """Return the variance of the sum of F by ``weights`` (k,), given log-densities (k,), (k, parts) and (k,).

    ``integrand`` is F of ρ/g and σ/g, each (k,).
    """
    ratio = (log_fit - log_truth).double().numpy()
    fit, truth = 2 * expit(ratio), 2 * expit(-ratio)
    changes = (log_without - log_fit[:, None]).exp().numpy()
    return jackknife(np.array([np.sum(weights * integrand(fit * change, truth)) for change in changes.T]))


def with_particles(of_draws: float, of_particles: float) -> float:
    """Return the variance of a figure, of which 1.96 roots hold 95 %, by that of draws and that of particles."""
    return allowing_for(PARTS - 1, of_particles, of_draws + of_particles)


def jackknife(without: Reals) -> float:
    """Return the variance by figures ``without`` (parts,) each part; infinite where one is not finite."""
    if not np.isfinite(without).all():
        return math.inf
    return (len(without) - 1) * float(np.var(without))


def kernel_variance(
    kde: KernelDensity, points: torch.Tensor, log_truth: torch.Tensor, weights: Reals, integrand: Integrand
) -> float:
    """Return what :func:`particle_variance` does, at ``points`` (k, D)."""
    return particle_variance(*kde.log_prob_by_parts(points, PARTS), log_truth, weights, integrand)
