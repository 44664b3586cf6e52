r"""Expectations over a Gaussian of the negative log-posterior of a logistic regression with unknown prior precision.

A logistic variable is a normal one of random deviation 2K, K having Kolmogorov's distribution (Andrews, Mallows,
J. R. Stat. Soc. B 36, 1974). So σ(m) = E Φ(m/2K), and over a normal margin m ~ N(μ, s²), with r² = 4K² + s²,

    E log(1 + e^-m) = E_K [ r φ(μ/r) - μ Φ(-μ/r) ],   E σ(-m) = E_K Φ(-μ/r),   E σ'(m) = E_K φ(μ/r)/r.

The integrand in K is the smoother the larger s. Its density falls off doubly exponentially on both sides in log K,
where the trapezoidal rule therefore converges exponentially: ``NODES`` of them, the same for all margins, leave an
error of 1e-11 at s = 0, where it is largest. Whatever it is, each of the three is the derivative of the one before.
A mixture of normals in place of the logistic is an idea of Monahan and Stefanski (Handbook of the Logistic
Distribution, 1992, chapter 22).

Tilting N(m, Σ) by e^ℓ moves its mean by Σe_ℓ, e_ℓ the direction of ℓ, and its mass to exp(m_ℓ + Σ_ℓℓ/2): with that the
terms e^ℓ (b + ½‖w‖²) of the prior have closed forms.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from problems.arrays import Reals
from problems.gaussian_expectations import Expectations

NODES = 20
SMALLEST, LARGEST = 0.17, 4.0

# Cases that are averaged at a time, so that arrays stay in the cache.
BLOCK = 2**12


@functools.cache
def kolmogorov_nodes() -> tuple[tuple[float, float], ...]:
    """Return pairs (4K², weight) of the trapezoidal rule in log K for Kolmogorov's distribution."""
    places = np.linspace(math.log(SMALLEST), math.log(LARGEST), NODES)
    k = np.exp(places)
    weights = k * kolmogorov_density(k)
    return tuple(zip((4 * k * k).tolist(), (weights / weights.sum()).tolist(), strict=True))


def kolmogorov_density(k: Reals) -> Reals:
    """Return Kolmogorov's density 8k Σ_j (-1)^{j-1} j² e^{-2j²k²} at points ``k`` > 0 (n,), shape (n,).

    Below 1 it is summed by the theta function's other series.
    """
    j = np.arange(1, 20)[:, None]
    rates = (math.pi * (2 * j - 1)) ** 2 / 8
    small = math.sqrt(2 * math.pi) * (np.exp(-rates / k**2) * (2 * rates / k**4 - 1 / k**2)).sum(0)
    large = 8 * k * (-((-1.0) ** j) * j**2 * np.exp(-2 * (j * k) ** 2)).sum(0)
    density: Reals = np.where(k < 1, small, large)
    return density


def averaged_loss(mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return E log(1 + e^-m), E σ(-m) and E σ'(m) for m ~ N(``mean`` (n,), ``variance`` (n,)), each of shape (n,)."""
    loss, misfit, curvature = (torch.zeros_like(mean) for _ in range(3))
    for square, weight in kolmogorov_nodes():
        deviation = (variance + square).sqrt_()
        score = mean / deviation
        below = torch.special.ndtr(-score).mul_(weight)
        density = score.square_().mul_(-0.5).exp_().mul_(weight / math.sqrt(2 * math.pi))
        misfit += below
        loss.addcmul_(deviation, density).addcmul_(mean, below, value=-1)
        curvature.addcdiv_(density, deviation)
    return loss, misfit, curvature


def logistic_expectations(
    signed_features: torch.Tensor,
    prior_shape: float,
    prior_rate: float,
    likelihood_weight: float,
    mean: torch.Tensor,
    covariance: torch.Tensor,
) -> Expectations:
    """Return E V, E ∇V (D,) and E ∇²V (D, D) over N(``mean`` (D,), ``covariance`` (D, D)), D = d + 1.

    V is that of ``problems.posterior.logistic_posterior``, for ``signed_features`` y_i φ_i of shape (cases, d).
    """
    d = signed_features.shape[1]
    weights, spread = mean[:-1], covariance[:-1, :-1]
    loss, gradient, hessian = 0.0, torch.zeros_like(mean), torch.zeros_like(covariance)
    for features in signed_features.split(BLOCK):
        # a variance that rounding made negative is 0
        variances = ((features @ spread) * features).sum(1).clamp_(min=0)
        losses, misfit, curvature = averaged_loss(features @ weights, variances)
        loss += float(losses.sum())
        gradient[:-1] -= misfit @ features
        hessian[:-1, :-1] += (features * curvature[:, None]).T @ features
    gradient *= likelihood_weight
    hessian *= likelihood_weight

    precision = torch.exp(mean[-1] + 0.5 * covariance[-1, -1])
    tilted = weights + covariance[:-1, -1]
    scale = precision * (prior_rate + 0.5 * (tilted @ tilted + spread.trace()))
    power = 0.5 * d + prior_shape
    gradient[:-1] += precision * tilted
    gradient[-1] += scale - power
    hessian.diagonal()[:-1].add_(precision)
    hessian[:-1, -1] = hessian[-1, :-1] = precision * tilted
    hessian[-1, -1] = scale
    constant = 0.5 * d * math.log(2 * math.pi) + math.lgamma(prior_shape) - prior_shape * math.log(prior_rate)
    value = likelihood_weight * loss + float(scale - power * mean[-1]) + constant
    return Expectations(value, gradient, hessian)
