"""A preconditioner that samplers learn from where they have been: the Σ that makes exp(-βV) nearly spherical.

Of C, the covariance of positions, and G, that of the gradients there, it is the geometric mean of C and G⁻¹,

    ΣGΣ = C,   Σ = L M^{-½} Lᵀ  with  C = LLᵀ,  M = LᵀGL,

where tr(Σ⁻¹C) + tr(ΣG) is least, and with it a Fisher divergence (Seyboldt, Carlson, Carpenter, arXiv:2603.18845,
2026). Where V is quadratic, G = HCH for any positions in all directions, and Σ = H⁻¹: they need not have spread over
the law yet. C alone, as in Haario, Saksman, Tamminen (Bernoulli 7, 2001), is right only once they have.
"""

from __future__ import annotations

import torch

# Spherical draws per dimension that join the others: some, so that few positions leave no matrix singular, but with as
# many as 1 conditions above n are not seen, and flat directions are found out slowly.
SHRINKAGE = 1e-3


def refined(factor: torch.Tensor, points: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return a factor A, AAᵀ = Σ, of shape (D, D), given an earlier one and the ``gradients`` at ``points`` (n, D).

    C and G are taken in the coordinates z = A₀⁻¹x of the earlier one, and each drawn towards the multiple of I with its
    trace, by little: directions in which few points do not vary are left in proportion to A₀.
    """
    root = torch.linalg.cholesky(_covariance(torch.linalg.solve(factor, points.T).T))
    values, vectors = torch.linalg.eigh(root.T @ _covariance(gradients @ factor) @ root)
    values = values.clamp(min=torch.finfo(values.dtype).eps * float(values[-1]))  # less is rounding
    scaled: torch.Tensor = factor @ root @ vectors * values**-0.25
    return scaled


def _covariance(draws: torch.Tensor) -> torch.Tensor:
    """Return the covariance of ``draws`` (n, D), shrunk as if by ``SHRINKAGE`` · D more of a spherical law as wide."""
    n, dim = draws.shape
    covariance = torch.cov(draws.T).view(dim, dim) * (n / (n + SHRINKAGE * dim))
    covariance.diagonal().add_(SHRINKAGE / n * (float(covariance.trace()) or 1.0))
    return covariance
