"""W∗ρ of masses of equal cells: Σ_j W̄(x_i - x_j) m_j at all cell centres, by the discrete Fourier transform.

The box is doubled, so that nothing comes around (Hockney & Eastwood, Computer Simulation Using Particles, 1988, §6-5):
the sums are those of all pairs, but for rounding. W̄ is W at the difference of the centres, or, for a singular W, its
mean over a cell there, at 0 too: by Gauss's rule, and at 0 by Duffy's (SIAM J. Numer. Anal. 19, 1982) on a grid that
is graded towards the singularity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy import fft

from problems.arrays import Complexes, Reals
from problems.interactions import Interaction
from problems.validation import require_finite

# Places of Gauss's rule along each axis of a cell beside the singularity, and along the graded rays into it.
PLACES = 6
RADIAL_PLACES = 40
# x = u³: what is at most as singular as |x|^(-1/2) becomes smooth enough for Gauss's rule.
GRADING = 3


@dataclass(frozen=True, eq=False)
class Convolution:
    """The convolution with W between cells of ``shape`` (one number or two), by the ``kernel`` W̄ at their differences.

    ``kernel`` holds W̄ at the differences -(m - 1) … m - 1 of cell indices along each axis, shape (2m - 1,) or
    (2m - 1, 2n - 1).
    """

    shape: tuple[int, ...]
    kernel: Reals
    transform: Complexes
    padded: tuple[int, ...]

    @classmethod
    def of(cls, interaction: Interaction, shape: Sequence[int], widths: Sequence[float]) -> Convolution:
        """Return the convolution between cells of ``widths`` along each axis.

        Raises ``ValueError`` where a value of W̄ is not finite.
        """
        kernel = kernel_of(interaction, shape, widths)
        padded = tuple(fft.next_fast_len(2 * size - 1, real=True) for size in shape)
        wrapped = np.zeros(padded)
        wrapped[tuple(slice(0, 2 * size - 1) for size in shape)] = kernel
        # Index 0 is the difference 0.
        wrapped = np.roll(wrapped, [1 - size for size in shape], axis=tuple(range(len(shape))))
        return cls(tuple(shape), kernel, np.asarray(fft.rfftn(wrapped, workers=1)), padded)

    @property
    def largest(self) -> float:
        """The largest |W̄|."""
        return float(np.abs(self.kernel).max())

    def __call__(self, masses: Reals) -> Reals:
        """Return W∗ρ at the centres of cells with these ``masses`` (m,) or (m, n), of their shape."""
        spectrum = fft.rfftn(masses, self.padded, workers=1)
        spectrum *= self.transform
        full = fft.irfftn(spectrum, self.padded, workers=1, overwrite_x=True)
        return np.asarray(full[tuple(slice(0, size) for size in self.shape)])


def kernel_of(interaction: Interaction, shape: Sequence[int], widths: Sequence[float]) -> Reals:
    """Return W̄ at all differences of the centres of cells of ``widths``, shape (2m - 1,) or (2m - 1, 2n - 1).

    Raises ``ValueError`` where one is not finite.
    """
    offsets = [width * np.arange(1 - size, size) for size, width in zip(shape, widths, strict=True)]
    centres = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, len(shape))
    if not interaction.singular:
        values = interaction.value(torch.from_numpy(centres)).double()
    else:
        places, weights = _gauss(PLACES)
        values = torch.zeros(len(centres), dtype=torch.float64)
        for chosen in product(range(PLACES), repeat=len(shape)):
            shift = np.array([0.5 * width * places[k] for k, width in zip(chosen, widths, strict=True)])
            share = float(np.prod([0.5 * weights[k] for k in chosen]))
            values += share * interaction.value(torch.from_numpy(centres + shift)).double()
        values[len(centres) // 2] = mean_at_zero(interaction, widths)
    require_finite("finite volumes", **{"W at differences of cell centres": values})
    return values.numpy().reshape([2 * size - 1 for size in shape])


def mean_at_zero(interaction: Interaction, widths: Sequence[float]) -> float:
    """Return the mean of W over the cell about 0, of ``widths`` along each axis, for a W that may be singular there."""
    places, weights = _gauss(RADIAL_PLACES)
    unit = 0.5 * (places + 1)
    radius, of_radius = unit**GRADING, 0.5 * weights * GRADING * unit ** (GRADING - 1)
    half = 0.5 * np.asarray(widths)
    if len(half) == 1:
        points, shares = radius[:, None] * half, of_radius
    else:
        # Two triangles of the quadrant; W is even and here in each coordinate by taking all four signs below.
        along, across = np.meshgrid(radius, unit, indexing="ij")
        share = (of_radius[:, None] * (0.5 * weights) * along).ravel()
        one = np.stack([along, along * across], axis=-1).reshape(-1, 2)
        points, shares = np.concatenate([one, one[:, ::-1]]) * half, np.concatenate([share, share])
    mean = 0.0
    signs = [(1.0,)] if len(half) == 1 else [(1.0, 1.0), (1.0, -1.0)]  # the others by W(-z) = W(z)
    for sign in signs:
        values = interaction.value(torch.from_numpy(points * np.array(sign))).double().numpy()
        mean += float((shares * values).sum()) / len(signs)
    return mean


def _gauss(count: int) -> tuple[Reals, Reals]:
    places, weights = np.polynomial.legendre.leggauss(count)
    return places, weights
