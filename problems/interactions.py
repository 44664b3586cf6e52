"""Interactions W of the energy ½∬W(x - y)ρ(x)ρ(y): every mass at y moves one at x along -∇W(x - y).

W(-z) = W(z), so that two masses act on each other with opposite forces and none on itself, ∇W(0) = 0, except where W is
singular there. The centre of mass then moves by the potential V alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.potentials import Potential
from problems.validation import require_counts, require_finite, require_positive

# Points that W must be even at, in multiples of the initial standard deviations: none of them near to 0.
PROBES = 8
EVEN = 1e-9


class Interaction(Potential):
    """An even function W: R^D → R of the difference of two points, with ∇W and ∇²W as those of a potential.

    Subclasses that are singular at 0, such as -log|z|, say so by ``singular``: nobody then asks for W there, and sums
    over pairs of particles leave out each with itself.
    """

    singular: ClassVar[bool] = False


@dataclass(frozen=True)
class QuadraticInteraction(Interaction):
    """The attraction W(z) = ½ κ |z|² in ``size`` dimensions, with κ = ``strength`` > 0.

    Every mass moves towards the mean of all at κ times its distance.

    Raises ``ValueError`` unless ``size`` is a whole number ≥ 1 and ``strength`` finite and > 0.
    """

    size: int
    strength: float = 1.0

    def __post_init__(self) -> None:
        require_counts("quadratic interaction", size=self.size)
        require_positive("quadratic interaction", strength=self.strength)

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.strength * x.square().sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.strength * x

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.size, dtype=x.dtype, device=x.device)
        return (self.strength * identity).expand(len(x), -1, -1)


def require_even(owner: str, interaction: Interaction, scale: torch.Tensor) -> None:
    """Raise ``ValueError`` unless W is finite and W(z) = W(-z) at some points z of the size of ``scale`` (D,)."""
    turns = torch.arange(1, PROBES * len(scale) + 1, dtype=torch.float64).reshape(PROBES, len(scale))
    points = scale * (1.5 + turns.sin()) * torch.sign(torch.cos(2 * turns))
    there, back = interaction.value(points), interaction.value(-points)
    require_finite(owner, **{"W(z) of the interaction": there, "W(-z) of the interaction": back})
    gap = float((there - back).abs().max())
    if gap > EVEN * (1 + float(there.abs().max())):
        raise ValueError(f"{owner}: the interaction must be even, but W(z) and W(-z) differ by {gap:.3g}")
