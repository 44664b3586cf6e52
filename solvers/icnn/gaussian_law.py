"""Whether particles are of a Gaussian law, and of which: their scores tell without noise.

The score of N(μ, C) is s(x) = -C⁻¹(x - μ), and no other law's is affine. Where a regression of the scores on the points
leaves nothing, its slope and its root are C⁻¹ and μ to rounding, whatever points were drawn, while their own mean and
covariance err by chance: in a quadratic potential the steps of a network then are those of the exact scheme.
"""

from __future__ import annotations

import torch

from problems.linear_algebra import symmetrised

# Of scores, in root mean square, what may be left by an affine function: they are carried in single precision.
AFFINE = 1e-4
# Different points, for each coefficient of an affine function, below which one fits whatever the law: of a filter's
# particles few may be left.
POINTS = 2


def gaussian_moments(points: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return μ (D,) and C (D, D), float64, of the Gaussian law that has these ``scores`` at ``points``, both (n, D).

    ``None`` where no Gaussian law has, or too few points differ to tell.
    """
    x, s = points.double(), scores.double()
    mean, force = x.mean(0), s.mean(0)
    centred = x - mean
    factor, singular = torch.linalg.cholesky_ex(centred.T @ centred)
    if int(singular):
        return None
    slope = torch.cholesky_solve(centred.T @ (s - force), factor)
    left = (s - force).addmm_(centred, slope, alpha=-1)
    precision, failed = torch.linalg.cholesky_ex(-symmetrised(slope))
    if int(failed) or not float(left.square().mean()) <= AFFINE**2 * float(s.square().mean()):
        return None
    if len(torch.unique(points[:, 0])) < POINTS * (points.shape[1] + 1):
        return None
    covariance = symmetrised(torch.cholesky_inverse(precision))
    return mean + covariance @ force, covariance
