"""What plots show of the truth that no cell keeps: the density in two coordinates of a problem, the energy as a curve.

A problem with such a ``View``, or whose energy is known at every time, is built again for it, which needs torch and the
problem's data; the projections of others are never rebuilt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.catalogue import catalogue, import_target, make
from problems.arrays import Reals
from problems.data.data_folder import data_in

if TYPE_CHECKING:
    from problems.problem import Problem

NODES = 81
MARGIN = 0.25
"""Of the range of the exact draws, on each side."""
MASSES = (0.99, 0.95, 0.8, 0.5, 0.2)
"""Of the regions of highest density whose edges are drawn."""
TILE = 512


@dataclass(frozen=True)
class ExactDensity:
    """The names of the two coordinates, and the density [y, x] at the nodes of a grid, of mass 1 on it."""

    names: tuple[str, str]
    x: Reals
    y: Reals
    density: Reals

    def levels(self) -> list[float]:
        """Return the densities, rising, at the edges of the regions of highest density that hold ``MASSES``."""
        falling = np.sort(self.density, axis=None)[::-1]
        held = np.cumsum(falling) / falling.sum()
        return [float(falling[np.searchsorted(held, mass)]) for mass in MASSES]


def in_own_coordinates(size: int, share: float) -> bool:
    """Return whether draws stored with this share of the variance are in coordinates of the problem's ``View``."""
    return size > 2 and share == 1


def exact_density(problem: str, settings: str, size: int, truth: Reals, data: str | None = None) -> ExactDensity | None:
    """Return the exact density around draws ``truth`` (n, 2), or ``None`` where the problem cannot be built here.

    That is so where its data set, or the plugin that it comes from, is not at hand: it is looked for in the folder
    ``data``, if that is there, and never fetched.
    """
    with offline(data):
        instance = _built(problem, settings, size)
    if instance is None or instance.view is None:
        return None
    import torch

    low, high = truth.min(0), truth.max(0)
    reach = MARGIN * (high - low)
    x, y = (np.linspace(low[axis] - reach[axis], high[axis] + reach[axis], NODES) for axis in (0, 1))
    nodes = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    values = torch.cat([instance.view.log_density(tile) for tile in nodes.split(TILE)]).double().numpy()
    density = np.exp(values - values.max()).reshape(NODES, NODES)
    return ExactDensity(instance.view.names, x, y, density / (density.sum() * (x[1] - x[0]) * (y[1] - y[0])))


def offline(folder: str | None) -> AbstractContextManager[None]:
    """Have data sets looked for in a folder, if it is there, and nowhere but on this machine."""
    return data_in(folder if folder is not None and Path(folder).is_dir() else None, offline=True)


def _built(problem: str, settings: str, size: int) -> Problem | None:
    from harness.errors import UsageError
    from harness.projection import INSTANCE
    from harness.streams import stream
    from problems.unavailable import Unavailable

    try:
        family = make("problem", import_target(catalogue().target("problem", problem)), json.loads(settings))
        found: Problem = family.build(size, INSTANCE, stream("problem", problem, size, INSTANCE))
    except (OSError, Unavailable, UsageError, ValueError):
        return None
    return found


def exact_energy(problem: str, settings: str, size: int, times: Sequence[float]) -> list[float]:
    """Return the free energy of the true law of instance 0 at times ≥ 0, NaN where it is not known.

    Only problems are built again that know it between the times that they are asked for.
    """
    from harness.errors import UsageError

    unknown = [math.nan] * len(times)
    try:
        family = import_target(catalogue().target("problem", problem))
    except UsageError:
        return unknown
    if not family.known_between:
        return unknown
    with offline(None):
        instance = _built(problem, settings, size)
    if instance is None or instance.free_energy is None:
        return unknown
    return [instance.free_energy(t) for t in times]
