"""The free energy of particles that carry their log-densities, and its standard error."""

from __future__ import annotations

import math

import torch

from problems.devices import to_device
from problems.flow import FreeEnergy
from problems.potentials import Potential
from solvers.icnn.pairs import mean_values


def free_energy(
    energy: FreeEnergy, potential: Potential, x: torch.Tensor, log_density: torch.Tensor
) -> tuple[float, float]:
    """Return F = E[V + U(ρ)/ρ + ½ W∗ρ] of independent draws ``x`` (n, D), and its standard error.

    ``log_density`` is log ρ at the draws (n,), ``potential`` V on their device. W∗ρ is a mean over other draws: F then
    varies as the mean of V + U(ρ)/ρ + W∗ρ does (Hoeffding, Annals of Mathematical Statistics 19, 1948).
    """
    own = potential.value(x)
    if energy.internal is not None:
        own = own + energy.internal.energy(log_density)
    shared = torch.zeros_like(own)
    if energy.interaction is not None:
        shared = mean_values(to_device(energy.interaction, x.device, x.dtype), x)
    error = float((own + shared).std()) / math.sqrt(len(x))
    return float((own + 0.5 * shared).mean()), error
