"""The exact JKO step ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + ∫ V ρ + β⁻¹ ∫ ρ log ρ from a Gaussian in a quadratic potential.

For V = ½ (x-b)ᵀA(x-b) and ρ_k = N(m, Σ) the minimiser is N(m⁺, Σ⁺) with M = I + hA, τ = h/β and

    m⁺ = M⁻¹ (m + hAb)
    C  = M^{-½} Σ M^{-½}
    Σ⁺ = M^{-½} · ½ [C + 2τI + (C² + 4τC)^{½}] · M^{-½},

whether or not A and Σ commute: the optimal map from ρ⁺ to ρ_k is x + h∇V + τ∇log ρ⁺, of gradient M - τ(Σ⁺)⁻¹, so that
Σ = (M - τ(Σ⁺)⁻¹) Σ⁺ (M - τ(Σ⁺)⁻¹), which is the quadratic equation S - 2τI + τ²S⁻¹ = C of S = M^{½} Σ⁺ M^{½}.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from problems.laws import Gaussian
from problems.linear_algebra import symmetrised
from problems.potentials import Quadratic

Moments = tuple[torch.Tensor, torch.Tensor]


def jko_covariance(covariance: torch.Tensor, rates: torch.Tensor, step_size: float, temperature: float) -> torch.Tensor:
    """Return Σ⁺ of one exact step from Σ (D, D), both in the eigenbasis of A, whose eigenvalues are ``rates`` (D,)."""
    scale = (1 + step_size * rates).rsqrt()
    tau = step_size * temperature
    spectrum, basis = torch.linalg.eigh(scale[:, None] * covariance * scale)
    spectrum = spectrum.clamp(min=0)  # an eigenvalue near 0 may come out negative
    solved = 0.5 * (spectrum + 2 * tau + (spectrum * (spectrum + 4 * tau)).sqrt())
    stepped: torch.Tensor = scale[:, None] * ((basis * solved) @ basis.T) * scale
    return symmetrised(stepped)


def jko_moments(
    initial: Gaussian, potential: Quadratic, inverse_temperature: float, step_size: float, counts: Sequence[int]
) -> list[Moments]:
    """Return mean (D,) and covariance (D, D) after each of the increasing numbers of steps ``counts``."""
    rates, basis = torch.linalg.eigh(potential.precision)
    offset = basis.T @ (initial.mean - potential.centre)
    covariance = basis.T @ initial.covariance @ basis
    moments = []
    for done, count in pairwise((0, *counts)):
        for _ in range(done, count):
            covariance = jko_covariance(covariance, rates, step_size, 1 / inverse_temperature)
        mean = potential.centre + basis @ (offset / (1 + step_size * rates) ** count)
        moments.append((mean, basis @ covariance @ basis.T))
    return moments
