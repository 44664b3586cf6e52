"""Kernels between particles, and the kernel Stein discrepancy of particles from a law that is known by its score.

Kernels are k(x, y) = κ(‖x-y‖²/h) with a bandwidth h > 0, a squared length:

    rbf   κ(u) = e^{-u},          imq   κ(u) = (1 + u)^{-½},

and ∇_y k(x, y) = (2/h) w(u) (x - y) with w = -κ'. The median heuristic h = med/log(n + 1), with med the median of the
squared distances, is that of Liu, Wang, Advances in Neural Information Processing Systems 29 (2016), section 3.1, as in
their code: all n² pairs count, those of a particle with itself too.

The discrepancy of points x_1, …, x_n from the law of score s = ∇log p is (Liu, Lee, Jordan; Chwialkowski, Strathmann,
Gretton, ICML 2016)

    KSD² = n⁻² Σ_{i,j} k_p(x_i, x_j),
    k_p(x, y) = s(x)ᵀs(y) k + s(x)ᵀ∇_y k + s(y)ᵀ∇_x k + ∇_x·∇_y k,

here with k(x, y) = (1 + ‖x-y‖²)^{-½}, which detects non-convergence where the RBF kernel does not (Gorham, Mackey,
ICML 2017, theorems 6 and 8).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch

from solvers.threads import Run

# Elements of an array of pairs: on a CPU it stays in a core's second-level cache, while a GPU wants few large ones. The
# sizes are constants, because they decide in which order numbers are added.
TILE_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}


class Kernel(ABC):
    """A kernel gives κ and w as functions of the squared distance."""

    @abstractmethod
    def weigh(self, squared: torch.Tensor, bandwidth: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return κ and w at u = ``squared``/h, of the shape of ``squared``, which is overwritten.

        ``bandwidth`` is h, a squared length. The two may be the same tensor.
        """


class RBF(Kernel):
    """κ(u) = e^{-u}."""

    def weigh(self, squared: torch.Tensor, bandwidth: float) -> tuple[torch.Tensor, torch.Tensor]:
        # Where float32 underflows its exp is several times slower; e⁻⁸⁰ is as good as nothing beside the κ = 1 of a
        # particle with itself.
        value = squared.mul_(-1 / bandwidth).clamp_(min=-80).exp_()
        return value, value


class IMQ(Kernel):
    """κ(u) = (1 + u)^{-½}, the inverse multiquadric."""

    def weigh(self, squared: torch.Tensor, bandwidth: float) -> tuple[torch.Tensor, torch.Tensor]:
        value = squared.mul_(1 / bandwidth).add_(1).rsqrt_()
        return value, 0.5 * value * value * value


KERNELS: dict[str, Kernel] = {"rbf": RBF(), "imq": IMQ()}


def squared_norms(points: torch.Tensor) -> torch.Tensor:
    """Return ‖x‖² of every x of ``points`` (n, D), shape (n,)."""
    return (points * points).sum(1)


def squared_distances(
    rows: torch.Tensor, row_norms: torch.Tensor, x: torch.Tensor, norms: torch.Tensor
) -> torch.Tensor:
    """Return ‖x-y‖² of ``rows`` (m, D) from ``x`` (n, D), shape (m, n), given their squared norms.

    Rounding errs by about ε max ‖x‖², also below 0, so points should be centred.
    """
    return torch.addmm(norms, rows, x.T, alpha=-2).add_(row_norms[:, None])


def median(values: torch.Tensor) -> float:
    """Return the median of all elements of ``values``, of any shape and at least two.

    It is the mean of the middle two when their number is even.
    """
    count = values.numel()
    half = count // 2
    if values.device.type != "cpu":
        ascending = values.flatten().sort().values
        return float(ascending[half]) if count % 2 else float(ascending[half - 1 : half + 1].mean())
    # numpy selects one element several times faster than two, and than torch does
    parted = np.partition(values.numpy(), half, axis=None)
    return float(parted[half]) if count % 2 else 0.5 * (float(parted[:half].max()) + float(parted[half]))


def kernel_stein_discrepancy(points: torch.Tensor, scores: torch.Tensor, run: Run) -> tuple[float, float]:
    """Return the KSD of ``points`` (n, D) with ``scores`` ∇log p there, and what it is for exact draws.

    The second is (E k_p(X, X)/n)^½, the root of the mean of KSD² over n independent draws of p: all that is left of it
    are the pairs of a point with itself. E is the mean over ``points``.
    """
    n, dim = points.shape
    x, s = points - points.mean(0), scores
    norms, own = squared_norms(x), (s * x).sum(1)

    def total(rows: torch.Tensor) -> float:
        squared = squared_distances(x[rows], norms[rows], x, norms)
        root = (1 + squared).rsqrt_()
        cross = (own[rows, None] + own + dim).addmm_(s[rows], x.T, alpha=-1).addmm_(x[rows], s.T, alpha=-1)
        cubed = root * root * root
        # k ss + cubed (cross - 3 ‖x-y‖² root²), and ‖x-y‖² root² = 1 - root²
        terms = (s[rows] @ s.T).mul_(root).addcmul_(cubed, cross.add_(root * root, alpha=3).sub_(3))
        return float(terms.sum())

    tile = TILE_ELEMENTS[points.device.type]
    blocks = torch.arange(n, device=points.device).split(max(1, tile // n))
    squared_discrepancy = math.fsum(run(total, blocks)) / n**2
    on_diagonal = float(squared_norms(s).mean()) + dim
    return math.sqrt(max(squared_discrepancy, 0.0)), math.sqrt(on_diagonal / n)
