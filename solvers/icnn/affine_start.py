"""A network that is an affine map, where the training of a JKO step starts.

ψ(x) = ½ xᵀSx + b·x is a network whose output weights f are 0. Where scales differ by orders of magnitude, as in
posteriors, training then has the shape of the law to find, and not its place and width.
"""

from __future__ import annotations

import torch

from solvers.networks.convex_network import STRONG_CONVEXITY, Weights


def start_at(weights: Weights, matrix: torch.Tensor, shift: torch.Tensor) -> None:
    """Make ∇ψ of one network (S = 1) the map x ↦ ``matrix`` x + ``shift``, in place; the hidden units keep their forms.

    ``matrix`` is (D, D), symmetric, and ``shift`` (D,). Eigenvalues below the network's strong convexity are raised to
    it.
    """
    values, vectors = torch.linalg.eigh(matrix)
    root = vectors * (values - STRONG_CONVEXITY).clamp(min=0).sqrt()
    weights.root[0].copy_(root @ vectors.T)
    weights.shift[0].copy_(shift)
    weights.output[0].zero_()
