"""Particles that move together: Euler-Maruyama for the mean-field limit of interacting particles.

The law of dX = -∇V(X) dt - ∇(W∗ρ)(X) dt + √(2/β) dB, ρ being the law of X itself, solves the equation of McKean and
Vlasov, ∂ρ = ∇·(ρ∇(V + W∗ρ)) + β⁻¹Δρ. N particles take each other for the law,

    X_i ← X_i - h ∇V(X_i) - h/N Σ_j ∇W(X_i - X_j) + √(2h/β) ξ_i,

from which theirs differs by O(1/N), beside the error O(h) of the step (Sznitman, École d'Été de Probabilités de
Saint-Flour XIX, 1991; Bossy, Talay, Math. Comput. 66, 1997). Heun's method takes the mean of both drifts at both ends
of the step, which are then off by O(h²). Without an entropy there is no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from problems.devices import to_device
from problems.flow import FreeEnergy
from solvers.particles.interaction_field import field_noise, field_of, meeting
from solvers.particles.path_steps import path_step
from solvers.solver import Diverged
from solvers.threads import workers

STEPS_BETWEEN_CHECKS = 100


@dataclass(frozen=True)
class InteractingParticles:
    """Particles that move together in steps of ``step_size``, by the potential and the interaction of ``energy``.

    Steps of ``order`` 1 are Euler-Maruyama's, of order 2 Heun's. ``noise_scale`` is √(2h/β), 0 for no noise. They are
    worked on on ``device`` and in ``dtype``.
    """

    energy: FreeEnergy
    step_size: float
    order: int
    noise_scale: float
    device: torch.device
    dtype: torch.dtype

    def follow(
        self, points: torch.Tensor, block: int, streams: Sequence[torch.Generator], counts: Sequence[int]
    ) -> tuple[list[torch.Tensor], float]:
        """Return the particles from ``points`` (n, D) after each of so many steps as ``counts`` says, and their noise.

        A tensor (n, D), float64 on the CPU, for each count. Every ``block`` of particles draws from a stream of its
        own, in the order of ``streams``; all threads share out blocks. The noise is the largest ``field_noise`` of
        those times.

        Raises ``Diverged`` when particles are not finite, and where a singular interaction moves them too far or they
        meet, with the step and the time.
        """
        interaction = to_device(self.energy.interaction, self.device, self.dtype)
        potential = to_device(self.energy.potential, self.device, self.dtype)
        assert interaction is not None
        state = points.to(self.device, self.dtype, copy=True)
        if interaction.singular and self.noise_scale == 0 and (together := meeting(state)):
            raise Diverged(f"at step 0 {together} particles lie where others do, and the interaction is singular there")
        spread = float(torch.linalg.vector_norm(state - state.mean(0), dim=1).square().mean().sqrt())
        noise = torch.zeros_like(state)
        predicted = torch.empty_like(state) if self.order == 2 else None
        noises = list(zip(noise.split(block), streams, strict=True))

        def draw(part: tuple[torch.Tensor, torch.Generator]) -> None:
            mine, stream = part
            if self.noise_scale > 0:
                mine.normal_(0, self.noise_scale, generator=stream)
            else:
                mine.zero_()

        def fall(part: tuple[torch.Tensor, torch.Tensor]) -> None:
            mine, at = part
            mine.sub_(potential.gradient(at), alpha=self.step_size)

        def add_drift(moved: torch.Tensor, at: torch.Tensor) -> None:
            run(fall, zip(moved.split(block), at.split(block), strict=True))
            field = field_of(interaction, at, at, None, run)
            if interaction.singular:
                self._require_short(field, spread, step)
            moved.sub_(field, alpha=self.step_size)

        observed: list[torch.Tensor] = []
        loudest = 0.0
        with workers() as run:
            for step in range(1, counts[-1] + 1):
                run(draw, noises)
                path_step(add_drift, state, noise, predicted)
                if step % STEPS_BETWEEN_CHECKS == 0 or step == counts[len(observed)]:
                    if not bool(torch.isfinite(state).all()):
                        raise Diverged(
                            f"particles are not finite by step {step} (t = {step * self.step_size:g}); "
                            f"a step_size below {self.step_size:g} may help"
                        )
                    if step == counts[len(observed)]:
                        observed.append(state.to("cpu", torch.float64, copy=True))
                        loudest = max(loudest, field_noise(interaction, state, run))
        return observed, loudest

    def _require_short(self, field: torch.Tensor, spread: float, step: int) -> None:
        moved = self.step_size * math.sqrt(float(field.square().sum(1).max()))
        if not moved <= spread:
            raise Diverged(
                f"at step {step} (t = {step * self.step_size:g}) the interaction, which is singular where particles "
                f"meet, moves one by {moved:.3g}, and they are spread by {spread:.3g}; a step_size below "
                f"{self.step_size:g} may help"
            )
