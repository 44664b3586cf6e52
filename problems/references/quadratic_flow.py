"""The exact law of a Gaussian, or a mixture of them, that flows in a quadratic potential V(x) = ½ (x-b)ᵀA(x-b).

From N(m₀, Σ₀) the law at time t of dX = -A(X-b) dt + √(2/β) dW is N(m_t, Σ_t) with

    m_t = b + e^{-At} (m₀-b)
    Σ_t = e^{-At} Σ₀ e^{-At} + β⁻¹ A⁻¹ (I - e^{-2At})

(Risken, The Fokker-Planck Equation, 1989, section 6.5), and a mixture flows component by component, since the
Fokker-Planck equation is linear.
"""

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
