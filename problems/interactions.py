"""Interactions W of the energy ½∬W(x - y)ρ(x)ρ(y): every mass at y moves one at x along -∇W(x - y).

W(-z) = W(z), so that two masses act on each other with opposite forces and none on itself: ∇W(0) is 0, by convention
where W is singular there, too. The centre of mass then moves by the potential V alone.

    QuadraticInteraction       ½κ|z|²
    QuarticInteraction         ¼a|z|⁴ + ½b|z|²
    LogarithmicInteraction     ½κ|z|² - s log|z|     singular
    GaussianAttraction         -s exp(-|z|²/ℓ²)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.potentials import Potential
from problems.validation import require_counts, require_finite, require_positive

# Points that W must be even at, in multiples of the initial standard deviations: none of them near to 0.
PROBES = 8
EVEN = 1e-9
# Pairs of points whose differences are held at once where sums over all pairs are taken.
PAIRS = 2**18


class Interaction(Potential):
    """An even function W: R^D → R of the difference of two points, with ∇W and ∇²W as those of a potential.

    Subclasses that are singular at 0, such as -log|z|, say so by ``singular``: nobody then asks for W there, and sums
    over pairs of particles leave out each with itself.
    """

    singular: ClassVar[bool] = False

    def mean_value(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None, *, own: bool = False
    ) -> torch.Tensor:
        """Return (W∗ρ)(x) = Σ_j w_j W(x - y_j) at ``x`` (n, D) for ρ of masses w at ``sources`` (k, D), shape (n,).

        ``weights`` (k,) sum to 1; without them all are equal. With ``own`` the sources are the points themselves, and
        each leaves itself out: Σ_{j≠i} w_j W(x_i - x_j) / (1 - w_i), without bias for independent draws. Differentiable
        in ``x`` where the value is. Sums over all pairs by default, in blocks of few of them.
        """
        chosen = equal_weights(sources) if weights is None else weights
        sums = torch.cat([self._values_of_pairs(*block, sources, own) @ chosen for block in blocks(x, len(sources))])
        return sums / (1 - chosen) if own else sums

    def _values_of_pairs(self, start: int, block: torch.Tensor, sources: torch.Tensor, own: bool) -> torch.Tensor:
        differences = block[:, None] - sources
        if own:
            row = torch.arange(len(block), device=block.device)
            diagonal = torch.zeros(len(block), len(sources), dtype=torch.bool, device=block.device)
            diagonal[row, row + start] = True
            # Somewhere that W is finite, for it to be left out: a masked infinity would still spoil its gradient.
            differences = differences.masked_fill(diagonal[:, :, None], 1.0)
            values = self.value(differences.reshape(-1, self.dim)).reshape(len(block), -1)
            return values.masked_fill(diagonal, 0.0)
        return self.value(differences.reshape(-1, self.dim)).reshape(len(block), -1)

    def mean_gradient(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ∇(W∗ρ)(x) = Σ_j w_j ∇W(x - y_j) at ``x`` (n, D) for ρ of masses w at ``sources`` (k, D), (n, D).

        ``weights`` (k,) sum to 1; without them all are equal. A source at x itself does not act on it. Sums over all
        pairs by default, in blocks of few of them.
        """
        chosen = equal_weights(sources) if weights is None else weights
        sums = [
            torch.einsum(
                "k,nkd->nd",
                chosen,
                self.gradient((block[:, None] - sources).reshape(-1, self.dim)).reshape(len(block), -1, self.dim),
            )
            for _, block in blocks(x, len(sources))
        ]
        return torch.cat(sums)


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

    def mean_value(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None, *, own: bool = False
    ) -> torch.Tensor:
        return QuarticInteraction(self.size, 0.0, self.strength).mean_value(x, sources, weights, own=own)

    def mean_gradient(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        chosen = equal_weights(sources) if weights is None else weights
        return self.strength * (x - chosen @ sources)


@dataclass(frozen=True)
class QuarticInteraction(Interaction):
    """The interaction W(z) = ¼ a |z|⁴ + ½ b |z|² in ``size`` dimensions, a = ``quartic``, b = ``quadratic``.

    With a = 1 and b = -1 masses part when near and gather when far. Sums over pairs are worked out from moments.

    Raises ``ValueError`` unless ``size`` is a whole number ≥ 1 and a ≥ 0.
    """

    size: int
    quartic: float = 1.0
    quadratic: float = -1.0

    def __post_init__(self) -> None:
        require_counts("quartic interaction", size=self.size)
        for name, value in (("quartic", self.quartic), ("quadratic", self.quadratic)):
            if not math.isfinite(value):
                raise ValueError(f"quartic interaction: {name} must be finite, got {value:g}")
        if self.quartic < 0:
            raise ValueError(f"quartic interaction: quartic must be at least 0, got {self.quartic:g}")

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        square = x.square().sum(1)
        return square * (0.25 * self.quartic * square + 0.5 * self.quadratic)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (self.quartic * x.square().sum(1, keepdim=True) + self.quadratic) * x

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.size, dtype=x.dtype, device=x.device)
        radial = self.quartic * x.square().sum(1) + self.quadratic
        return radial[:, None, None] * identity + 2 * self.quartic * x[:, :, None] * x[:, None, :]

    def mean_value(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None, *, own: bool = False
    ) -> torch.Tensor:
        chosen = equal_weights(sources) if weights is None else weights
        mean = chosen @ sources
        u, v = x - mean, sources - mean  # about the mean: the moments lose no digits to where the law is
        of_u, of_v = u.square().sum(1), v.square().sum(1)
        second, third = (chosen[:, None] * v).T @ v, (chosen * of_v) @ v
        spread, fourth = chosen @ of_v, chosen @ of_v.square()
        quartic = of_u.square() + fourth + 4 * ((u @ second) * u).sum(1) + 2 * spread * of_u - 4 * u @ third
        sums = 0.25 * self.quartic * quartic + 0.5 * self.quadratic * (of_u + spread)
        return sums / (1 - chosen) if own else sums  # W(0) = 0: what a point adds to its own sum is nothing

    def mean_gradient(
        self, x: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        chosen = equal_weights(sources) if weights is None else weights
        mean = chosen @ sources
        u, v = x - mean, sources - mean
        of_v = v.square().sum(1)
        second, third, spread = (chosen[:, None] * v).T @ v, (chosen * of_v) @ v, chosen @ of_v
        cubic = (u.square().sum(1, keepdim=True) + spread) * u + 2 * u @ second - third
        return self.quartic * cubic + self.quadratic * u


@dataclass(frozen=True)
class LogarithmicInteraction(Interaction):
    """The interaction W(z) = ½ κ |z|² - s log|z| in ``size`` dimensions, s = ``repulsion`` ≠ 0, κ = ``attraction`` ≥ 0.

    On the line and in the plane the logarithm is the field of charges that repel (s > 0) or masses that attract
    (s < 0, Keller and Segel's). It is singular at 0.

    Raises ``ValueError`` for other values.
    """

    singular: ClassVar[bool] = True
    size: int
    repulsion: float = 1.0
    attraction: float = 1.0

    def __post_init__(self) -> None:
        require_counts("logarithmic interaction", size=self.size)
        if not math.isfinite(self.repulsion) or self.repulsion == 0:
            raise ValueError(f"logarithmic interaction: repulsion must be finite and not 0, got {self.repulsion:g}")
        if not (math.isfinite(self.attraction) and self.attraction >= 0):
            raise ValueError(
                f"logarithmic interaction: attraction must be finite and at least 0, got {self.attraction:g}"
            )

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        square = x.square().sum(1)
        return 0.5 * (self.attraction * square - self.repulsion * square.log())

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        square = x.square().sum(1, keepdim=True)
        return self.attraction * x - self.repulsion * x / square.where(square > 0, 1.0)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.size, dtype=x.dtype, device=x.device)
        square = x.square().sum(1)[:, None, None]
        return self.attraction * identity - self.repulsion * (
            identity / square - 2 * x[:, :, None] * x[:, None, :] / square.square()
        )


@dataclass(frozen=True)
class GaussianAttraction(Interaction):
    """The attraction W(z) = -s exp(-|z|²/ℓ²) in ``size`` dimensions, s = ``strength`` > 0, ℓ = ``width`` > 0.

    Raises ``ValueError`` for other values.
    """

    size: int
    strength: float = 1 / math.pi
    width: float = 1.0

    def __post_init__(self) -> None:
        require_counts("gaussian attraction", size=self.size)
        require_positive("gaussian attraction", strength=self.strength, width=self.width)

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -self.strength * torch.exp(-x.square().sum(1) / self.width**2)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return -2 / self.width**2 * self.value(x)[:, None] * x

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.size, dtype=x.dtype, device=x.device)
        rate = 2 / self.width**2
        return -rate * self.value(x)[:, None, None] * (identity - rate * x[:, :, None] * x[:, None, :])


def equal_weights(sources: torch.Tensor) -> torch.Tensor:
    """Return weights (k,) of 1/k each for ``sources`` (k, D), in their dtype."""
    return torch.full((len(sources),), 1 / len(sources), dtype=sources.dtype, device=sources.device)


def blocks(x: torch.Tensor, sources: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield consecutive rows of ``x`` (n, D) and where they start: so few that they make few pairs with all sources."""
    size = max(1, PAIRS // sources)
    return ((start, x[start : start + size]) for start in range(0, len(x), size))


def require_even(owner: str, interaction: Interaction, scale: torch.Tensor) -> None:
    """Raise ``ValueError`` unless W is finite and W(z) = W(-z) at some points z of the size of ``scale`` (D,)."""
    turns = torch.arange(1, PROBES * len(scale) + 1, dtype=torch.float64).reshape(PROBES, len(scale))
    points = scale * (1.5 + turns.sin()) * torch.sign(torch.cos(2 * turns))
    there, back = interaction.value(points), interaction.value(-points)
    require_finite(owner, **{"W(z) of the interaction": there, "W(-z) of the interaction": back})
    gap = float((there - back).abs().max())
    if gap > EVEN * float(there.abs().max()):
        raise ValueError(f"{owner}: the interaction must be even, but W(z) and W(-z) differ by {gap:.3g}")
