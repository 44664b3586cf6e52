"""Marginals of a flow by finite volumes on three grids, the finer two of which say how far the finest is off.

With differences d₁ and d₂ of consecutive grids in L1, seen on the cells of the coarser, the order is log₂(d₁/d₂), at
least 1 and at most the scheme's 2, and the finest is off by d₂ / (2^order - 1) (Richardson 1911). So it is for E.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from problems.arrays import Reals
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import GradientFlow
from problems.laws import Density
from problems.references.cell_law_2d import CellLaw2D
from problems.references.finite_volumes import FiniteVolumes
from problems.references.finite_volumes_box import GIVEN, HEAVY_GIVEN, Box, heavy, initial_density, walls_watched
from problems.references.finite_volumes_steps import Trace, march
from problems.references.grid_law import GridLaw

GRIDS = 3


@dataclass(frozen=True, eq=False)
class Marginals:
    """The solution on the finest grid, at each time: densities and E, and by the coarser grids how far they are off.

    ``errors`` are in L1, ``orders`` those that they have been worked out by, ``energy_limits`` what E is extrapolated
    to. ``trace`` is that of the steps on the finest grid.
    """

    scheme: FiniteVolumes
    densities: tuple[Reals, ...]
    energies: tuple[float, ...]
    errors: tuple[float, ...]
    orders: tuple[float, ...]
    energy_limits: tuple[float, ...]
    trace: Trace

    def law(self, index: int) -> GridLaw | CellLaw2D:
        """Return the law at the time number ``index``."""
        return law_of(self.scheme, self.densities[index])


def marginals(flow: GradientFlow, box: Box, shape: Sequence[int], limiter: float = 2.0) -> Marginals:
    """Return the flow's marginals on ``shape`` cells of the ``box``, numbers that four divides.

    Raises ``ValueError`` where the box or the cells miss part of the initial law, ``AtTheWall`` where mass comes to a
    wall, and ``Stuck`` where steps shrink to nothing.
    """
    assert isinstance(flow.initial, Density)
    density = initial_density(flow.initial, *box, shape)
    found: list[tuple[FiniteVolumes, list[Reals], list[float], Trace]] = []
    for level in range(GRIDS):
        factor = 2**level
        scheme = FiniteVolumes(flow.energy, *box, tuple(size // factor for size in shape), limiter)
        trace = Trace()
        # Coarse cells let mass seep further than it goes: only the finest say whether the box is large enough.
        watch = walls_watched(scheme, HEAVY_GIVEN if heavy(flow) else GIVEN) if level == 0 else None
        densities = list(march(scheme, coarsened(density, factor), flow.times, trace, watch))
        found.append((scheme, densities, [scheme.state(each).energy for each in densities], trace))
    errors, orders, limits = [], [], []
    for index in range(len(flow.times)):
        fine, middle, coarse = (densities[index] for _, densities, _, _ in found)
        last, before = (
            scheme.volume * float(np.abs(coarsened(finer, 2) - rougher).sum())
            for scheme, finer, rougher in ((found[1][0], fine, middle), (found[2][0], middle, coarse))
        )
        order = _order(before, last)
        errors.append(last / (2**order - 1))
        orders.append(order)
        of_fine, of_middle, of_coarse = (energies[index] for _, _, energies, _ in found)
        change = of_fine - of_middle
        limits.append(of_fine + change / (2 ** _order(of_middle - of_coarse, change) - 1))
    scheme, densities, of_finest, trace = found[0]
    return Marginals(
        scheme,
        tuple(densities),
        tuple(of_finest),
        tuple(errors),
        tuple(orders),
        tuple(limits),
        trace,
    )


def _order(before: float, last: float) -> float:
    """Return the order by which one change became the next, from 1 to 2; 2 where they have different signs."""
    return min(2.0, max(1.0, math.log2(before / last))) if before * last > 0 else 2.0


def coarsened(density: Reals, factor: int) -> Reals:
    """Return the means (m / factor,) or (m / factor, n / factor) over cells that are merged ``factor`` at a time."""
    if density.ndim == 1:
        return np.asarray(density.reshape(-1, factor).mean(1))
    m, n = density.shape
    return np.asarray(density.reshape(m // factor, factor, n // factor, factor).mean(axis=(1, 3)))


def _fills_space(internal: InternalEnergy | None) -> bool:
    """Return whether mass is everywhere at once: by entropy and fast diffusion, not by ρᵐ with m > 1."""
    return isinstance(internal, Entropy) or (isinstance(internal, PowerEntropy) and internal.exponent < 1)


def law_of(scheme: FiniteVolumes, density: Reals) -> GridLaw | CellLaw2D:
    """Return the law of a density (m,) or (m, n) on the cells of ``scheme``."""
    masses = torch.from_numpy(scheme.volume * density)
    if scheme.dim == 1:
        return GridLaw(scheme.lower[0], scheme.upper[0], masses, bounded=not _fills_space(scheme.energy.internal))
    (x0, y0), (x1, y1) = scheme.lower, scheme.upper
    return CellLaw2D((x0, y0), (x1, y1), masses)
