"""The mean of ½W(x - y) over independent x, y ~ ρ and its gradient, from one sample of ρ.

Where sums over all pairs come from moments, x_i meets every x_j but itself: a U-statistic, without bias. Otherwise the
sample is cut in halves and every pair has a particle of each: as unbiased, at half the work. A pair always acts on both
of its particles. What it adds to the derivative in a parameter p of the map, ∇W(x_i - x_j)·(∂x_i/∂p - ∂x_j/∂p), then
stays bounded where W has the singularity of a logarithm and particles meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.interactions import Interaction

# Particles that meet each other where means over pairs are looked at: with all the others it would be too many pairs.
GROUP = 128

# Particles of which pairs are taken where one estimate has to do for a whole step.
SOME = 2048


@dataclass(frozen=True, eq=False)
class FramedInteraction(Interaction):
    """W(sz)/e as a function of z, with s = ``length`` and e = ``energy``; its sums over pairs are taken as W's are."""

    interaction: Interaction
    length: float
    energy: float

    @property
    def dim(self) -> int:
        return self.interaction.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.interaction.value(self.length * x) / self.energy

    def mean_value(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None, *, own: bool = False
    ) -> torch.Tensor:
        values = self.interaction.mean_value(self.length * x, self.length * sources, weights, own=own)
        return values / self.energy

    def mean_gradient(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        forces = self.interaction.mean_gradient(self.length * x, self.length * sources, weights)
        return forces * (self.length / self.energy)


def sums_over_pairs(interaction: Interaction) -> bool:
    """Return whether the interaction of n points costs n² operations, and not n by their moments."""
    inner = interaction.interaction if isinstance(interaction, FramedInteraction) else interaction
    return type(inner).mean_gradient is Interaction.mean_gradient


def field(interaction: Interaction, x: torch.Tensor) -> torch.Tensor:
    """Return n times the gradient, in the points ``x`` (n, D), of the estimated mean of ½W(x - y), shape (n, D)."""
    if len(x) < 2:
        return torch.zeros_like(x)
    if not sums_over_pairs(interaction):
        return interaction.mean_gradient(x, x) * (len(x) / (len(x) - 1))
    first, second = x[: len(x) // 2], x[len(x) // 2 :]
    return torch.cat(
        [
            interaction.mean_gradient(own, others) * (len(x) / (2 * len(own)))
            for own, others in ((first, second), (second, first))
        ]
    )


def mean_energy(interaction: Interaction, x: torch.Tensor) -> torch.Tensor:
    """Return the estimate of the mean of ½W(x - y) whose gradient ``field`` is, for points ``x`` (n, D), a scalar."""
    if len(x) < 2:
        return x.new_zeros(())
    if not sums_over_pairs(interaction):
        return 0.5 * interaction.mean_value(x, x, own=True).mean()
    return 0.5 * interaction.mean_value(x[: len(x) // 2], x[len(x) // 2 :]).mean()


def mean_values(interaction: Interaction, x: torch.Tensor) -> torch.Tensor:
    """Return the mean of W(x_i - x_j) over the others of its group, for each of ``x`` (n, D), shape (n,).

    Where the work is that of all pairs, groups are of 128 and the rest. The mean of the values is an estimate without
    bias of the mean of W(x - y).
    """
    if len(x) < 2:
        return x.new_zeros(len(x))
    size = GROUP if sums_over_pairs(interaction) and len(x) >= 2 * GROUP else len(x)
    whole = len(x) // size * size
    groups = list(x[:whole].split(size))
    groups[-1] = torch.cat([groups[-1], x[whole:]])
    return torch.cat([interaction.mean_value(group, group, own=True) for group in groups])
