"""Free energies whose flow and JKO steps keep a law elliptical: Gaussians Gaussian, Barenblatt's Barenblatt's.

    F(ρ) = ∫ V ρ + ∫ U(ρ) + ½ ∬ ½κ|x-y|² ρ ρ,    V linear or ½ (x-b)ᵀA(x-b),

with U = β⁻¹ρ log ρ for N(μ, S), U = ερᵐ/(m-1) for Barenblatt's law of exponent m and matrix S, or none. On such a law
every velocity is affine in x: with G = A + κI and the rate of spreading

    c = β⁻¹ (Gaussian),    c = ε κ_m det(S)^{-(m-1)/2} (Barenblatt, ``problems.barenblatt.log_pressure``),    0 (no U)

the flow moves x along cS⁻¹(x-μ) - G(x-μ) - ∇V(μ). (Vázquez, The Porous Medium Equation, 2007, section 17.5; Carrillo,
McCann, Villani, Rev. Mat. Iberoam. 19, 2003.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.barenblatt import Barenblatt, log_pressure
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian, Law
from problems.potentials import Flat, Linear, Potential, Quadratic

Elliptical = Gaussian | Barenblatt


def not_elliptical(flow: GradientFlow) -> str | None:
    """Return in one line why the laws of a flow do not stay elliptical, or ``None`` where they do."""
    law, energy = flow.initial, flow.energy
    if not isinstance(law, Gaussian | Barenblatt):
        return f"the initial law must be a Gaussian or a Barenblatt law, not {type(law).__name__}"
    if not isinstance(energy.potential, Flat | Linear | Quadratic):
        return f"the potential must be flat, linear or quadratic, not {type(energy.potential).__name__}"
    if not isinstance(energy.interaction, QuadraticInteraction | None):
        return f"the interaction must be quadratic, not {type(energy.interaction).__name__}"
    internal = energy.internal
    if internal is None:
        return None
    if isinstance(law, Gaussian):
        return None if isinstance(internal, Entropy) else f"a Gaussian does not stay one under {internal}"
    if not isinstance(internal, PowerEntropy):
        return f"a Barenblatt law does not stay one under {internal}"
    if internal.exponent != law.exponent:
        return f"the initial law has exponent {law.exponent:g}, the power entropy {internal.exponent:g}"
    return None


def matrix_of(law: Elliptical) -> torch.Tensor:
    """Return the S (D, D) of a law: a Gaussian's covariance, a Barenblatt law's shape."""
    return law.covariance if isinstance(law, Gaussian) else law.shape


def moved(law: Elliptical, mean: torch.Tensor, matrix: torch.Tensor) -> Elliptical:
    """Return the law of the same kind with this ``mean`` (D,) and S = ``matrix`` (D, D)."""
    return Gaussian(mean, matrix) if isinstance(law, Gaussian) else Barenblatt(mean, matrix, law.exponent)


@dataclass(frozen=True, eq=False)
class EllipticalEnergy:
    """The parts of such a free energy: V, U, and the ``attraction`` κ ≥ 0 of W = ½κ|z|²."""

    potential: Potential
    internal: InternalEnergy | None
    attraction: float

    @property
    def precision(self) -> torch.Tensor:
        """A (D, D), zero where V is not quadratic."""
        potential = self.potential
        if isinstance(potential, Quadratic):
            return potential.precision
        return torch.zeros(potential.dim, potential.dim, dtype=torch.float64)

    @property
    def stiffness(self) -> torch.Tensor:
        """G = A + κI (D, D), what draws a law together about its mean."""
        return self.precision + self.attraction * torch.eye(self.potential.dim, dtype=torch.float64)

    @property
    def stiffening(self) -> float:
        """The power s by which spreading slows, c ~ det(S)⁻ˢ: ½(m-1), 0 for an entropy and for none."""
        return 0.5 * (self.internal.exponent - 1) if isinstance(self.internal, PowerEntropy) else 0.0

    def log_spreading(self, log_det: float) -> float:
        """Return log c on laws with log det S = ``log_det``; -inf without an internal energy."""
        internal = self.internal
        if isinstance(internal, Entropy):
            return -math.log(internal.inverse_temperature)
        if not isinstance(internal, PowerEntropy):
            return -math.inf
        log_rate = math.log(internal.coefficient) + log_pressure(internal.exponent, self.potential.dim)
        return log_rate - self.stiffening * log_det

    def value(self, law: Law) -> float:
        """Return F of an elliptical law, or of any where there is no internal energy.

        Raises ``TypeError`` for other laws.
        """
        mean, covariance = law.moments()
        external = float(self.potential.value(mean[None])[0]) + 0.5 * float((self.stiffness * covariance).sum())
        if self.internal is None:
            return external
        if isinstance(law, Barenblatt):
            return external + law.internal_energy(self.internal)
        if not isinstance(law, Gaussian):
            raise TypeError(f"elliptical energy: the law must be a Gaussian or a Barenblatt law, got {law!r}")
        log_det = 2 * float(law.cholesky.diagonal().log().sum())
        entropy = 0.5 * (law.dim * math.log(2 * math.pi * math.e) + log_det)
        return external - entropy * math.exp(self.log_spreading(log_det))


def elliptical_energy(flow: GradientFlow) -> EllipticalEnergy:
    """Return the parts of a flow's free energy; raises ``ValueError`` where its laws do not stay elliptical."""
    reason = not_elliptical(flow)
    if reason is not None:
        raise ValueError(reason)
    interaction = flow.energy.interaction
    attraction = interaction.strength if isinstance(interaction, QuadraticInteraction) else 0.0
    return EllipticalEnergy(flow.energy.potential, flow.energy.internal, attraction)
