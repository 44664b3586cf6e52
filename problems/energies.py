"""Internal energies ∫U(ρ): what makes a law spread, ∂ρ = ΔP(ρ) with the pressure P(ρ) = ρU'(ρ) - U(ρ).

    entropy         U(ρ) = β⁻¹ ρ log ρ        P(ρ) = β⁻¹ρ    diffusion
    power entropy   U(ρ) = ε ρᵐ/(m - 1)       P(ρ) = ερᵐ     porous medium for m > 1, fast diffusion for m < 1

(Otto, Comm. Partial Differential Equations 26, 2001; Vázquez, The Porous Medium Equation, 2007). All is worked out from
log-densities, which do not underflow, and per unit of mass: what has to be averaged over draws of ρ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from problems.validation import require_positive


class InternalEnergy(ABC):
    """An internal energy ∫U(ρ), U convex with U(0) = 0, as functions of log ρ at points.

    Subclasses are frozen dataclasses of their parameters.
    """

    @abstractmethod
    def energy(self, log_density: torch.Tensor) -> torch.Tensor:
        """Return U(ρ)/ρ of log-densities (n,), shape (n,): its mean over draws of ρ is the internal energy."""

    @abstractmethod
    def pressure(self, log_density: torch.Tensor) -> torch.Tensor:
        """Return P(ρ)/ρ = U'(ρ) - U(ρ)/ρ of log-densities (n,), shape (n,).

        Spreading widens E|X|² at the rate of 2D times its mean over draws of ρ.
        """

    @abstractmethod
    def conjugate(self, slope: torch.Tensor) -> torch.Tensor:
        """Return U*(h) = sup over ρ ≥ 0 of hρ - U(ρ) at slopes h = ``slope`` (n,), shape (n,); +inf where unbounded.

        At h = U'(ρ) it is the pressure P(ρ).
        """

    def derivative(self, log_density: torch.Tensor) -> torch.Tensor:
        """Return U'(ρ) of log-densities (n,), shape (n,): mass flows down its gradient."""
        return self.energy(log_density) + self.pressure(log_density)

    def without_flow(self, dim: int) -> str | None:
        """Return why this energy has no flow that keeps the mass in dimension ``dim``, or ``None`` where it has."""
        return None

    def without_step(self, dim: int) -> str | None:
        """Return why F and its JKO steps are not finite in dimension ``dim``, or ``None`` where they are.

        A flow may exist all the same.
        """
        return self.without_flow(dim)


@dataclass(frozen=True)
class Entropy(InternalEnergy):
    """The internal energy U(ρ) = β⁻¹ ρ log ρ, whose flow is diffusion at temperature 1/β.

    Raises ``ValueError`` unless β = ``inverse_temperature`` is finite and > 0.
    """

    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("entropy", inverse_temperature=self.inverse_temperature)

    def energy(self, log_density: torch.Tensor) -> torch.Tensor:
        return log_density / self.inverse_temperature

    def pressure(self, log_density: torch.Tensor) -> torch.Tensor:
        return torch.full_like(log_density, 1 / self.inverse_temperature)

    def conjugate(self, slope: torch.Tensor) -> torch.Tensor:
        return torch.exp(self.inverse_temperature * slope - 1) / self.inverse_temperature


@dataclass(frozen=True)
class PowerEntropy(InternalEnergy):
    """The internal energy U(ρ) = ε ρᵐ/(m - 1) with m = ``exponent`` and ε = ``coefficient``, both > 0, m ≠ 1.

    For m > 1 laws have edges, which move at finite speed; for m < 1 they have heavy tails, and in D dimensions mass is
    kept only by m > 1 - 2/D, E|X|² and the energy finite only by m > D/(D + 2). As m → 1 the flow becomes that of
    ``Entropy(1/ε)``, the energy but for a constant.

    Raises ``ValueError`` for other exponents and coefficients.
    """

    exponent: float
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        require_positive("power entropy", exponent=self.exponent, coefficient=self.coefficient)
        if self.exponent == 1:
            raise ValueError(
                f"power entropy: exponent must not be 1, the limit there is Entropy({1 / self.coefficient:g})"
            )

    def energy(self, log_density: torch.Tensor) -> torch.Tensor:
        return self.pressure(log_density) / (self.exponent - 1)

    def pressure(self, log_density: torch.Tensor) -> torch.Tensor:
        return self.coefficient * torch.exp((self.exponent - 1) * log_density)

    def conjugate(self, slope: torch.Tensor) -> torch.Tensor:
        # U'(ρ) = ε m ρ^(m-1)/(m-1), so that ρ^(m-1) is: (negative where no density has that slope)
        power = (self.exponent - 1) / (self.coefficient * self.exponent) * slope
        # For m > 1 that is at slopes below U'(0) = 0, where ρ = 0 is best; for m < 1 at slopes above U'(∞) = 0, where
        # the supremum is 0 to a negative power: +inf, of -0, too.
        return self.coefficient * power.clamp(min=0).abs() ** (self.exponent / (self.exponent - 1))

    def without_flow(self, dim: int) -> str | None:
        if self.exponent <= 1 - 2 / dim:
            return (
                f"in dimension {dim} the exponent of a power entropy must be above 1 - 2/{dim} = {1 - 2 / dim:.4g}, "
                f"or mass is lost, got {self.exponent:g}"
            )
        return None

    def without_step(self, dim: int) -> str | None:
        if self.exponent <= dim / (dim + 2):
            return (
                f"in dimension {dim} the exponent of a power entropy must be above {dim}/{dim + 2}, "
                f"or its energy is not finite, got {self.exponent:g}"
            )
        return None
