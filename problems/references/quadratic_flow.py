"""The exact law of a Gaussian, or a mixture of them, that flows in a quadratic potential."""

from __future__ import annotations

import torch

from problems.laws import Gaussian, GaussianMixture
from problems.linear_algebra import symmetrised
from problems.potentials import Quadratic


def ornstein_uhlenbeck_marginal(
    initial: Gaussian | GaussianMixture, potential: Quadratic, inverse_temperature: float, time: float
) -> Gaussian | GaussianMixture:
    """Return the exact law at ``time`` ≥ 0 of the flow that starts from ``initial``; see the formulas above."""
    rates, basis = torch.linalg.eigh(potential.precision)
    decay = (basis * torch.exp(-rates * time)) @ basis.T
    gained = symmetrised((basis * (-torch.expm1(-2 * rates * time) / (inverse_temperature * rates))) @ basis.T)
    centre = potential.centre
    if isinstance(initial, Gaussian):
        mean = centre + decay @ (initial.mean - centre)
        return Gaussian(mean, symmetrised(decay @ initial.covariance @ decay) + gained)
    means = centre + (initial.means - centre) @ decay
    return GaussianMixture(initial.weights, means, symmetrised(decay @ initial.covariances @ decay) + gained)
