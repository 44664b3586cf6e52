"""The objective of a step at a map, from a density that particles carry: without the dual, and without training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from problems.flow import GradientFlow
from problems.interactions import Interaction
from solvers.maps import InvertibleMap


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Particles x (n, D) of a law, their log-densities (n,), and others y (k, D) that stand for ρ in W∗ρ; float64."""

    points: torch.Tensor
    log_density: torch.Tensor
    sources: torch.Tensor

    def pushed(self, step: InvertibleMap, with_sources: bool = True) -> HeldOut:
        """Return the particles moved by a map, with the densities that this gives them."""
        mapped, log_det = step.forward(self.points)
        return HeldOut(mapped, self.log_density - log_det, step.push(self.sources) if with_sources else self.sources)


def free_energy_values(law: HeldOut, flow: GradientFlow, interaction: Interaction | None) -> torch.Tensor:
    """Return what the free energy is the mean of at each particle, shape (n,); NaN where a density is not defined."""
    values = flow.potential.value(law.points)
    if flow.energy.internal is not None:
        values = values + flow.energy.internal.energy(law.log_density)
    if interaction is not None:
        values = values + 0.5 * interaction.mean_value(law.points, law.sources)
    return torch.where(law.log_density.isnan(), torch.nan, values)


def objective_values(
    law: HeldOut, step: InvertibleMap, flow: GradientFlow, interaction: Interaction | None, step_size: float
) -> torch.Tensor:
    """Return what the objective of a step is the mean of at each particle of ``law``, shape (n,)."""
    moved = law.pushed(step, interaction is not None)
    distance = (moved.points - law.points).square().sum(1) / (2 * step_size)
    return distance + free_energy_values(moved, flow, interaction)


def gain_of(start: torch.Tensor, now: torch.Tensor) -> tuple[float, float]:
    """Return by how much the mean of ``now`` (n,) is below that of ``start`` (n,), and the standard error of that."""
    differences = start - now
    return float(differences.mean()), float(differences.std()) / math.sqrt(len(differences))


def judge_of(
    law: HeldOut,
    start: InvertibleMap,
    maps_of: Callable[[torch.Tensor], tuple[InvertibleMap, InvertibleMap | None]],
    flow: GradientFlow,
    interaction: Interaction | None,
    step_size: float,
) -> Callable[[torch.Tensor], tuple[float, float]]:
    """Return what gives the gain over the map ``start``, and its error, of the maps of a network's parameters.

    ``maps_of`` gives, of parameters (size,), the map to the intermediate point and, if it is another, that of the whole
    step, which has to be invertible, too. A map that folds at some particle gains NaN.
    """
    before = objective_values(law, start, flow, interaction, step_size)

    def judge(parameters: torch.Tensor) -> tuple[float, float]:
        between, whole = maps_of(parameters)
        now = objective_values(law, between, flow, interaction, step_size)
        if whole is not None:
            now = torch.where(whole.forward(law.points)[1].isnan(), torch.nan, now)
        return gain_of(before, now)

    return judge
