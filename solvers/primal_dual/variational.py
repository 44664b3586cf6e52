"""The internal energy of a law as a maximum over densities h: what makes a step in P a saddle point.

For U convex with U(0) = 0 and pressure P(h) = hU'(h) - U(h), convexity gives ∫U(ρ) ≥ ∫U(h) + U'(h)(ρ - h), so that

    ∫U(ρ) = max over h ≥ 0 of  E_ρ[U'(h)] - ∫P(h) dx,    attained at h = ρ.

The last integral is one over a reference law γ > 0: E_γ[P(h)/γ]. With h = γg these are, for the two energies,

    U = β⁻¹ρ log ρ     E_ρ[log γ + log g + 1]/β - E_γ[g]/β                    (Donsker, Varadhan; Nguyen et al.)
    U = ερᵐ/(m-1)      E_ρ[εm/(m-1) (γg)^{m-1}] - E_γ[ε γ^{m-1} gᵐ]

(Fan, Zhang, Taghvaei, Chen, ICML 2022, Table 1: there γ is Gaussian for the first and uniform on a box for the second).
With w(h) = hU''(h) the derivatives by log h are w(h) at points of ρ, and -w(h)g at points of γ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.energies import Entropy, InternalEnergy, PowerEntropy


@dataclass(frozen=True)
class VariationalEnergy:
    """A variational energy is U in units of ``unit`` = U''(γ₀)γ₀ at the highest value γ₀ of the reference density.

    m = ``exponent``; it is 1 for an entropy. ``log_peak`` is log γ₀; log-densities here are relative to it.
    """

    exponent: float
    unit: float
    log_peak: float

    @classmethod
    def of(cls, internal: InternalEnergy, log_peak: float) -> VariationalEnergy:
        """Return the energy ``internal`` beside a reference density whose largest value has the logarithm given.

        Raises ``TypeError`` for an internal energy of another kind.
        """
        if isinstance(internal, Entropy):
            return cls(1.0, 1 / internal.inverse_temperature, log_peak)
        if isinstance(internal, PowerEntropy):
            exponent = internal.exponent
            return cls(exponent, internal.coefficient * math.exp((exponent - 1) * log_peak), log_peak)
        raise TypeError(f"there is no variational form here of the internal energy {internal!r}")

    def weight(self, log_h: torch.Tensor) -> torch.Tensor:
        """Return w(h) at ``log_h`` (n,), in units, shape (n,)."""
        if self.exponent == 1:
            return torch.ones_like(log_h)
        return log_h.mul(self.exponent - 1).exp_().mul_(self.exponent)

    def of_law(self, log_h: torch.Tensor) -> torch.Tensor:
        """Return U'(h), whose mean over the law counts, at ``log_h`` (n,), in energy, shape (n,)."""
        if self.exponent == 1:
            return self.unit * (log_h + (1 + self.log_peak))
        return self.unit / (self.exponent - 1) * self.weight(log_h)

    def of_reference(self, log_h: torch.Tensor, log_g: torch.Tensor) -> torch.Tensor:
        """Return P(h)/γ, whose mean over the reference law is taken off, (n,), in energy."""
        return self.unit / self.exponent * self.weight(log_h) * log_g.exp()
