"""The field ∇(W∗ρ) of particles at themselves, shared out to threads, and how much it owes to their number.

N independent particles feel the field of N - 1 others in place of the law's. Field and law then differ by O(N^(-1/2)),
the law of one particle from that of the limit by O(1/N) (propagation of chaos; Sznitman, École d'Été de Probabilités de
Saint-Flour XIX, 1991). The first shows without the limit: halves A and B of the particles give two independent fields,
and the half of their difference is as large as the error of the field of all,

    noise² = E |∇(W∗ρ_A) - ∇(W∗ρ_B)|² / 4.
"""

from __future__ import annotations

import math

import torch

from problems.interactions import PAIRS, Interaction
from solvers.threads import Run

# Particles at which the fields of halves are compared.
COMPARED = 1024


def field_of(
    interaction: Interaction, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None, run: Run
) -> torch.Tensor:
    """Return ∇(W∗ρ) at ``x`` (n, D), shape (n, D), for ρ of masses ``weights`` (k,) at ``sources`` (k, D).

    Where W sums over pairs, ``run`` shares out rows; the blocks, and so the bits, depend on no number of threads. Other
    sums are taken at once, on one thread: call it where ``solvers.threads.workers`` gave ``run``.
    """
    if type(interaction).mean_gradient is not Interaction.mean_gradient:
        return interaction.mean_gradient(x, sources, weights)
    rows = x.split(max(1, PAIRS // len(sources)))
    return torch.cat(run(lambda block: interaction.mean_gradient(block, sources, weights), rows))


def field_noise(interaction: Interaction, particles: torch.Tensor, run: Run) -> float:
    """Return the error of the field of independent ``particles`` (n, D) relative to it, both as root mean squares.

    Estimated from halves at a few particles; 0 where there are less than four or no field.
    """
    if len(particles) < 4:
        return 0.0
    first, second = particles[0::2].contiguous(), particles[1::2].contiguous()
    at = particles[:COMPARED]
    one, other = (field_of(interaction, at, half, None, run) for half in (first, second))
    field, gap = 0.5 * (one + other), 0.5 * (one - other)
    size = float(field.double().square().mean())
    return math.sqrt(float(gap.double().square().mean()) / size) if size > 0 else 0.0


def meeting(points: torch.Tensor) -> int:
    """Return how many of the ``points`` (n, D) lie at the very place of another."""
    return len(points) - len(torch.unique(points, dim=0))
