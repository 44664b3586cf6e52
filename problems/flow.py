"""Wasserstein gradient flows: initial law, free energy, and the times at which the marginals are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from problems.energies import Entropy as Entropy
from problems.energies import InternalEnergy as InternalEnergy
from problems.energies import PowerEntropy as PowerEntropy
from problems.interactions import Interaction, require_even
from problems.laws import Law
from problems.potentials import Potential
from problems.validation import require_times


@dataclass(frozen=True)
class FreeEnergy:
    """The free energy F(ρ) = ∫ V ρ + ∫ U(ρ) + ½ ∬ W(x - y) ρ(x) ρ(y).

    ``potential`` is V, ``internal`` U and ``interaction`` W; the last two may be absent, ``None``.
    Its flow is ∂ρ = ∇·(ρ ∇(V + U'(ρ) + W∗ρ)). With ``internal=Entropy(β)`` and no interaction that is the Fokker-Planck
    equation ∂ρ = ∇·(ρ∇V) + β⁻¹ Δρ (Jordan, Kinderlehrer, Otto 1998). No potential is ``Flat(dim)``.

    Raises ``TypeError`` for a part that is something else.
    """

    potential: Potential
    internal: InternalEnergy | None
    interaction: Interaction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.potential, Potential):
            raise TypeError(
                f"free energy: potential must be a Potential, such as Flat(dim) for none, got {self.potential!r}"
            )
        if not isinstance(self.internal, InternalEnergy | None):
            raise TypeError(f"free energy: internal must be an InternalEnergy or None, got {self.internal!r}")
        if not isinstance(self.interaction, Interaction | None):
            raise TypeError(f"free energy: interaction must be an Interaction or None, got {self.interaction!r}")


@dataclass(frozen=True)
class GradientFlow:
    """The flow of ``energy`` from ``initial`` at time 0, observed at increasing ``times`` > 0.

    Raises ``ValueError`` for parts of different dimensions, an internal energy that has no flow in this one, and an
    interaction that is not even.
    """

    initial: Law
    energy: FreeEnergy
    times: tuple[float, ...]

    def __post_init__(self) -> None:
        require_times("flow", self.times)
        dim, potential, interaction = self.initial.dim, self.energy.potential, self.energy.interaction
        for what, part in (("potential", potential), ("interaction", interaction)):
            if part is not None and part.dim != dim:
                raise ValueError(f"flow: the initial law lives in dimension {dim}, the {what} in dimension {part.dim}")
        if self.energy.internal is not None and (why := self.energy.internal.without_flow(dim)) is not None:
            raise ValueError(f"flow: {why}")
        if interaction is not None:
            require_even("flow", interaction, self.initial.moments()[1].diagonal().double().sqrt())

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
        """β of the diffusion β⁻¹ Δρ; raises ``TypeError`` where the internal energy is no entropy."""
        internal = self.energy.internal
        if not isinstance(internal, Entropy):
            given = "absent" if internal is None else f"{internal!r}"
            raise TypeError(f"flow: only an Entropy has an inverse temperature, the internal energy is {given}")
        return internal.inverse_temperature

    @property
    def horizon(self) -> float:
        """The last of the times."""
        return self.times[-1]
