"""Wasserstein gradient flows: where they start, which free energy they descend, and when they are looked at."""

from __future__ import annotations

from dataclasses import dataclass

from problems.laws import Law
from problems.potentials import Potential
from problems.validation import require_positive, require_times


@dataclass(frozen=True)
class Entropy:
    """The internal energy U(ρ) = β⁻¹ ρ log ρ, whose flow is diffusion at temperature 1/β."""

    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("entropy", inverse_temperature=self.inverse_temperature)


@dataclass(frozen=True)
class FreeEnergy:
    """F(ρ) = ∫ V ρ + ∫ U(ρ) + ½ ∬ W(x - y) ρ(x) ρ(y); a term that is ``None`` is absent.

    With ``internal=Entropy(β)`` and no interaction the flow is the Fokker-Planck equation
    ∂ρ = ∇·(ρ∇V) + β⁻¹ Δρ (Jordan, Kinderlehrer, Otto 1998).
    """

    potential: Potential
    internal: Entropy
    interaction: Potential | None = None


@dataclass(frozen=True)
class GradientFlow:
    """The flow of ``energy`` from ``initial`` at time 0, observed at increasing ``times`` > 0."""

    initial: Law
    energy: FreeEnergy
    times: tuple[float, ...]

    def __post_init__(self) -> None:
        require_times("flow", self.times)
        if self.initial.dim != self.energy.potential.dim:
            raise ValueError(
                f"flow: the initial law lives in dimension {self.initial.dim}, "
                f"the potential in dimension {self.energy.potential.dim}"
            )

    @property
    def dim(self) -> int:
        """Dimension D."""
        return self.initial.dim

    @property
    def potential(self) -> Potential:
        """The potential V."""
        return self.energy.potential

    @property
    def inverse_temperature(self) -> float:
        """β of the diffusion β⁻¹ Δρ."""
        return self.energy.internal.inverse_temperature

    @property
    def horizon(self) -> float:
        """The last time looked at."""
        return self.times[-1]
