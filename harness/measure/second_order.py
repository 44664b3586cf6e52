"""What draws do to a squared distance beyond first order, where it is small or bends.

A figure |r|² is that of r̂ + Σ_b ζ_b in a Hilbert space, with independent ζ_b of mean zero, one a block of draws; W₂² on
the line is that of a difference of quantile functions. With C = Σ E ζ_b ⊗ ζ_b and Gaussian noise

    Var |r̂ + Σ ζ_b|² = 4 ⟨r̂, C r̂⟩ + 2 tr C².

The first term is that of the influence, the second that of equal laws, r̂ = 0. By chance r̂ is shorter than what it
stands for, and the first term smaller with it: the figures that are too low would be those that state the least error.
With both, as a bootstrap has it, an error is never below that of equal laws.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.measure.groups import as_they_occur, blocks
from problems.arrays import Reals

BLOCKS = 32
LEVELS = 32


def equal_variance(noises: list[Reals]) -> float:
    """Return 2 tr C² by the noises ζ_b (blocks, k) of independent samples: twice the sum of ⟨ζ_b, ζ_c⟩² over b ≠ c."""
    rows = np.concatenate(noises)
    products = np.einsum("bk,ck->bc", rows, rows) ** 2
    return 2 * float(products.sum() - np.trace(products))


def quantile_noise(ordered: torch.Tensor, order: torch.Tensor, groups: torch.Tensor | None) -> Reals:
    """Return the noise ζ_b (blocks, k) of each block in the quantile functions of samples, columns of ``ordered``.

    Columns (n, m) are rising, ``order`` (n, m) says which draw stands where in them; blocks are of whole ``groups``
    (n,). Quantile functions are taken by their means over 32 equal parts of [0, 1], k = 32 m, in units in which |r|²
    is the mean over parts and columns. ζ_b is what leaving the block out takes away. There are two blocks or more.
    """
    count, columns = ordered.shape
    parts = blocks(count, BLOCKS, None if groups is None else as_they_occur(groups))
    label = torch.empty(count, dtype=torch.int64)
    for number, part in enumerate(parts):
        label[torch.from_numpy(part)] = number
    rising, labels = ordered.T.contiguous(), label[order].T.contiguous()
    ends = torch.arange(LEVELS + 1, dtype=torch.float64) / LEVELS

    def quantiles(values: torch.Tensor) -> Reals:
        """Return the means over each part of [0, 1], between which a value may be divided, shape (k,)."""
        sums = torch.nn.functional.pad(values.cumsum(1), (1, 0))
        place = ends * values.shape[1]
        below = place.long().clamp(max=values.shape[1] - 1)
        at_ends = sums[:, below] + (place - below) * values[:, below]
        return np.asarray((at_ends.diff(dim=1).flatten() * (LEVELS / columns) ** 0.5 / values.shape[1]).numpy())

    whole = quantiles(rising)
    noise = np.stack(
        [
            (whole - quantiles(rising[labels != number].view(columns, count - len(part))))
            * ((count - len(part)) / (len(part) * len(parts)))
            for number, part in enumerate(parts)
        ]
    )
    return np.asarray(noise - noise.mean(0))
