"""Where the training of a JKO step starts, if not at the map of the step before: at the best affine map.

Among affine maps, the JKO step from a law of mean m and covariance Σ is that of N(m, Σ) among Gaussians
(``solvers.gaussian.flow_among_gaussians``), except that V is averaged over a Gaussian instead of the law itself: from
N(m, Σ) to N(m⁺, Σ⁺) by

    x ↦ m⁺ + S (x - m),    S = Σ^{-½} (Σ^{½} Σ⁺ Σ^{½})^{½} Σ^{-½},

and ψ(x) = ½ xᵀSx + (m⁺ - Sm)·x is a network whose output weights f are 0. Where scales differ by orders of magnitude,
as in posteriors, training then has the shape of the law to find, and not its place and width.
"""

from __future__ import annotations

import torch

from problems.linear_algebra import symmetrised, transport_between
from problems.potentials import Potential
from solvers.gaussian.averages import Averages
from solvers.gaussian.flow_among_gaussians import Course, jko_step
from solvers.networks.convex_network import STRONG_CONVEXITY, Weights

# Nodes that potentials are averaged by where they know no closed form.
NODES = 1024


def best_affine(
    points: torch.Tensor, potential: Potential, beta: float, step_size: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return S (D, D) and m⁺ - Sm (D,), float64, of the affine step from the law of ``points`` (n, D).

    Raises ``Diverged`` where the step has no minimum among Gaussians.
    """
    x = points.double().cpu()
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / (len(x) - 1)
    stepped, target = jko_step((mean, covariance), Averages(potential, NODES), beta, step_size, Course())
    matrix = transport_between(covariance, target)
    return symmetrised(matrix), stepped - matrix @ mean


def start_at(weights: Weights, matrix: torch.Tensor, shift: torch.Tensor) -> None:
    """Make ∇ψ of one network (S = 1) the map x ↦ ``matrix`` x + ``shift``, in place; the hidden units keep their forms.

    Eigenvalues below the network's strong convexity are raised to it.
    """
    values, vectors = torch.linalg.eigh(matrix)
    root = vectors * (values - STRONG_CONVEXITY).clamp(min=0).sqrt()
    weights.root[0].copy_(root @ vectors.T)
    weights.shift[0].copy_(shift)
    weights.output[0].zero_()
