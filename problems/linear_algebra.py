"""Small linear algebra: symmetric and random matrices, spectra, long sums, sums of exponentials.

Sums over many points are numpy's einsum: it adds on one thread, in one order, whatever torch and the BLAS may use. The
bits of a matrix product change with the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch

from problems.arrays import Reals


def symmetrised(matrix: torch.Tensor) -> torch.Tensor:
    """Return the symmetric part ½ (A + Aᵀ) of matrices A (..., D, D), of the same shape.

    It undoes what rounding did to a symmetric product.
    """
    return 0.5 * (matrix + matrix.mT)


def transport_between(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Return the optimal S = Σ^{-½} (Σ^{½} Σ⁺ Σ^{½})^{½} Σ^{-½} from Σ = ``start`` to Σ⁺ = ``end``, all (D, D) and SPD.

    S Σ S = Σ⁺, and S is symmetric but for rounding (Gelbrich, Math. Nachr. 147, 1990).
    """
    values, vectors = torch.linalg.eigh(start)
    root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    values, vectors = torch.linalg.eigh(root @ end @ root)
    transport: torch.Tensor = inverse @ ((vectors * values.clamp(min=0).sqrt()) @ vectors.T) @ inverse
    return transport


def symmetric_factor(target: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """Return the symmetric A (D, D) with sym(A P) = sym(B), B = ``target`` and P = ``product``; NaN unless B is finite.

    With B = E[∇V (X-m)ᵀ] and P = SΣ, X = m' + S(Y-m) and Y ~ N(m, Σ), it is E ∇²V by Stein's identity.
    """
    if not bool(torch.isfinite(target).all()):
        return torch.full_like(product, math.nan)
    found = scipy.linalg.solve_continuous_lyapunov(product.T.numpy(), (target + target.T).numpy())
    return symmetrised(torch.from_numpy(found))


def random_spd(eigenvalues: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return an SPD matrix (D, D) with these eigenvalues (D,) and Haar-distributed eigenvectors.

    They are the Q of a Gaussian matrix; its columns' signs, which QR leaves open (Mezzadri, Notices of the AMS 54,
    2007), cancel.
    """
    dim = len(eigenvalues)
    orthogonal, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=eigenvalues.dtype))
    return symmetrised((orthogonal * eigenvalues) @ orthogonal.T)


def spread(smallest: float, largest: float, count: int) -> torch.Tensor:
    """Return values spaced evenly in the logarithm from ``smallest`` to ``largest``, shape (count,).

    A single one is their geometric mean.
    """
    ends = torch.tensor([smallest, largest], dtype=torch.float64).log()
    if count == 1:
        return ends.mean().exp()[None]
    return (ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, count, dtype=torch.float64)).exp()


def weighted_sum(weights: Reals, points: Reals) -> Reals:
    """Return Σ_n w_n x_n of points (n, D) with weights (n,), shape (D,), added up in one order."""
    total: Reals = np.einsum("n,ni->i", weights, points)
    return total


def sum_of_products(left: Reals, right: Reals) -> Reals:
    """Return Σ_n x_n y_nᵀ of points (n, D) and (n, E), shape (D, E), added up in one order."""
    total: Reals = np.einsum("ni,nj->ij", left, right)
    return total


def bilinear(left: Reals, matrix: Reals, right: Reals) -> float:
    """Return uᵀ M v for u (n,), M (n, m) and v (m,), added up in one order."""
    return float(np.einsum("i,ij,j->", left, matrix, right))


def weighted_moments(weights: Reals, points: Reals) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and covariance (D, D) of points (n, D) with weights (n,) that sum to 1."""
    mean = weighted_sum(weights, points)
    centred = points - mean
    covariance = sum_of_products(centred * weights[:, None], centred)
    return torch.from_numpy(mean), symmetrised(torch.from_numpy(covariance))


def log_sum_exp(terms: torch.Tensor) -> float:
    """Return log Σ exp of ``terms`` (n,), -inf or NaN included, added up in one order whatever the threads."""
    values = terms.double().numpy()
    largest = float(values.max(initial=-math.inf))
    if not math.isfinite(largest):
        return largest
    return largest + math.log(float(np.exp(values - largest).sum()))
