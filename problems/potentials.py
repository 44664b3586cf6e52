"""Potentials V: R^D → R with their derivatives, the drift of dX = -∇V dt + √(2/β) dW."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from problems.laws import GaussianMixture
from problems.validation import require_counts, require_finite, require_positive, require_spd


class Potential(ABC):
    """A potential V: R^D → R. A subclass gives ``dim`` and ``value``.

    Gradient and Hessian come from automatic differentiation unless it gives those as well.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D."""

    @abstractmethod
    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return V at ``x`` (n, D), shape (n,)."""

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Return ∇V at ``x`` (n, D), shape (n, D)."""
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(point).sum(), point)
        return gradient

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return V and ∇V at ``x`` (n, D), shapes (n,) and (n, D): for subclasses that can share work between them."""
        return self.value(x), self.gradient(x)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        """Return ∇²V at ``x`` (n, D), shape (n, D, D)."""
        self.value(x[:1])  # what it caches would come out as a tensor of the transform below, of no use beyond it
        # Twice in reverse mode: forward mode keeps its level in a variable that threads share.
        twice = torch.func.jacrev(torch.func.jacrev(lambda row: self.value(row[None])[0]))
        hessian: torch.Tensor = torch.func.vmap(twice)(x)
        return hessian


class FiniteSum(Potential):
    """A potential V(x) = V₀(x) + Σ_i V_i(x) over many cases i, which random minibatches estimate without bias."""

    @property
    @abstractmethod
    def cases(self) -> int:
        """Number of terms V_i."""

    @abstractmethod
    def subsample(self, chosen: torch.Tensor) -> Potential:
        """Return V₀ + (cases/m) Σ V_i over the m cases ``chosen`` (indices (m,))."""

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator[Potential]:
        """Yield potentials of ``size`` random cases without end; their values, gradients and Hessians have mean V, ….

        Each is the ``subsample`` of a uniformly random subset. The subsets of one pass share no case, and so depend on
        each other: they are consecutive pieces of a permutation, drawn anew for every pass, less its remainder.

        Raises ``ValueError`` unless 1 ≤ size ≤ cases.
        """
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= self.cases:
            raise ValueError(f"minibatches: size must be a whole number from 1 to the {self.cases} cases, got {size!r}")
        return self._minibatches(size, generator)

    def _minibatches(self, size: int, generator: torch.Generator) -> Iterator[Potential]:
        while True:
            order = torch.randperm(self.cases, generator=generator, device=generator.device)
            for start in range(0, self.cases - size + 1, size):
                yield self.subsample(order[start : start + size])


@dataclass(frozen=True)
class Flat(Potential):
    """No potential: V = 0 in ``size`` dimensions; raises ``ValueError`` unless ``size`` is a whole number ≥ 1."""

    size: int

    def __post_init__(self) -> None:
        require_counts("flat potential", size=self.size)

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), self.size, self.size)


@dataclass(frozen=True, eq=False)
class Linear(Potential):
    """The potential V(x) = sᵀx, a tilt by the ``slope`` s (D,): all mass drifts alike, along -s.

    Raises ``ValueError`` for a slope that is no vector or not finite.
    """

    slope: torch.Tensor

    def __post_init__(self) -> None:
        if self.slope.ndim != 1 or len(self.slope) == 0:
            raise ValueError(f"linear potential: slope must have shape (D,), got {tuple(self.slope.shape)}")
        require_finite("linear potential", slope=self.slope)

    @property
    def dim(self) -> int:
        return len(self.slope)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.slope).sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x) + self.slope

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), self.dim, self.dim)


@dataclass(frozen=True, eq=False)
class Quadratic(Potential):
    """The potential V(x) = ½ (x - b)ᵀ A (x - b) with A = ``precision`` (D, D) SPD and b = ``centre`` (D,).

    Raises ``ValueError`` for an A that is not SPD and a b that is not finite or does not fit it.
    """

    precision: torch.Tensor
    centre: torch.Tensor

    def __post_init__(self) -> None:
        require_spd("quadratic potential", "A", self.precision)
        if self.centre.shape != (len(self.precision),):
            raise ValueError(
                f"quadratic potential: b must have shape ({len(self.precision)},) to fit A, "
                f"got {tuple(self.centre.shape)}"
            )
        require_finite("quadratic potential", b=self.centre)

    @property
    def dim(self) -> int:
        return len(self.centre)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - self.centre
        return 0.5 * (centred * (centred @ self.precision)).sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.centre) @ self.precision

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return self.precision.expand(len(x), -1, -1)


@dataclass(frozen=True, eq=False)
class MixturePotential(Potential):
    """The potential V = -β⁻¹ log ρ* of a Gaussian mixture ρ*, which is then the stationary law of the flow.

    Raises ``ValueError`` unless β = ``inverse_temperature`` is finite and > 0.
    """

    stationary: GaussianMixture
    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("mixture potential", inverse_temperature=self.inverse_temperature)

    @property
    def dim(self) -> int:
        return self.stationary.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -self.stationary.log_prob(x) / self.inverse_temperature

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.stationary.score(x) / -self.inverse_temperature


@dataclass(frozen=True)
class SineWell(Potential):
    """The potential V(x) = Σ_i sin(2πx_i)/π + x_i²/4: a quadratic well with a barrier in every unit of length."""

    size: int = 1

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.sin(2 * math.pi * x) / math.pi + 0.25 * x * x).sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        # In place: a particle filter computes this a quarter of a billion times.
        return x.mul(2 * math.pi).cos_().mul_(2).add_(x, alpha=0.5)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return torch.diag_embed(0.5 - 4 * math.pi * torch.sin(2 * math.pi * x))


@dataclass(frozen=True)
class RingWell(Potential):
    """The potential V(x) = (|x|² - 1)²: a double well on the line, a ring in the plane."""

    size: int = 1

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * x).sum(1) - 1).square()

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return 4 * x * ((x * x).sum(1, keepdim=True) - 1)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.size, dtype=x.dtype, device=x.device)
        excess = (x * x).sum(1) - 1
        return 4 * excess[:, None, None] * identity + 8 * x[:, :, None] * x[:, None, :]
