import math

import torch

from false_alarms import sigmas
from problems.linear_algebra import random_spd
from seeding import generator


def test_random_eigenvectors_are_isotropic():
    """E[Q Λ Qᵀ] = tr(Λ)/D I; of Λ = diag(0, 0, 1) the entries are q_i q_j, and E q_i⁴ = 3/15 on the sphere."""
    eigenvalues = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    stream = generator(3)
    draws = torch.stack([random_spd(eigenvalues, stream) for _ in range(4000)])
    # standard deviations are below 0.3, and twelve figures are looked at
    far = sigmas(12) * 0.3 / math.sqrt(4000)
    torch.testing.assert_close(draws.mean(0), torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=far)
    fourth = (draws.diagonal(dim1=1, dim2=2) ** 2).mean(0)
    torch.testing.assert_close(fourth, torch.full((3,), 0.2, dtype=torch.float64), rtol=0, atol=far)
