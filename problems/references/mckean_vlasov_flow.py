"""The exact law of Gaussians, or a mixture of them, in a quadratic well and a quadratic attraction to each other.

For dX = -A(X-b) dt - κ(X - E X) dt + √(2/β) dW (McKean, Proc. Natl. Acad. Sci. 56, 1966) the mean moves by A alone,

    m_t = b + e^{-At} (m₀-b),

and about it X - m_t is an Ornstein-Uhlenbeck process in the well of stiffness G = A + κI: a Gaussian's covariance is

    Σ_t = e^{-Gt} Σ₀ e^{-Gt} + β⁻¹ G⁻¹ (I - e^{-2Gt}).
"""

from __future__ import annotations

import torch

from problems.laws import Gaussian, GaussianMixture
from problems.potentials import Quadratic
from problems.references.elliptical_energy import EllipticalEnergy
from problems.references.elliptical_flow import moved_mean
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal


def mckean_vlasov_marginal(
    initial: Gaussian | GaussianMixture, energy: EllipticalEnergy, inverse_temperature: float, time: float
) -> Gaussian | GaussianMixture:
    """Return the exact law at ``time`` ≥ 0; an ``inverse_temperature`` of infinity is for no diffusion.

    κ of the ``energy`` must be > 0, or A SPD.
    """
    mean = initial.moments()[0]
    after = moved_mean(mean, energy, time)
    about = Quadratic(energy.stiffness, torch.zeros_like(mean))
    found = ornstein_uhlenbeck_marginal(shifted(initial, -mean), about, inverse_temperature, time)
    return shifted(found, after)


def shifted(law: Gaussian | GaussianMixture, shift: torch.Tensor) -> Gaussian | GaussianMixture:
    """Return the law moved by ``shift`` (D,)."""
    if isinstance(law, Gaussian):
        return Gaussian(law.mean + shift, law.covariance)
    return GaussianMixture(law.weights, law.means + shift, law.covariances)
