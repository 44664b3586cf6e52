"""The best affine map of a JKO step, where the training of its network starts.

Among maps x ↦ m⁺ + S(x - m), S symmetric positive definite, of a law of mean m and covariance Σ the step minimises

    |m⁺ - m|²/2h + tr[(S-I)Σ(S-I)]/2h + E V(T) + ½E W(T - T') + U(S),

    U(S) = -β⁻¹ log det S  for an entropy,     U(S) = G det(S)^{-(m-1)}  for a power entropy of value G = ∫U(ρ_k),

since ρ becomes ρ/det S along an affine map. In a quadratic V (and W) the step from a Gaussian law, and from a
Barenblatt profile under a power entropy, is affine (Otto, Comm. Partial Differential Equations 26, 2001): nothing is
then left to learn. The slope of U is -τS⁻¹, of temperature τ = (m-1) G det(S)^{-(m-1)} for a power, so that its step is
that of an entropy at the temperature that fits: one equation in log τ whose left side rises and whose right one falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import brentq

from problems.flow import FreeEnergy
from problems.gaussian_expectations import Expectations
from problems.interactions import Interaction, QuadraticInteraction
from problems.linear_algebra import symmetric_factor, symmetrised, transport_between
from problems.potentials import Flat, Potential, Quadratic
from solvers.gaussian.flow_among_gaussians import NotConvex, implicit_step

# Particles that V and W are averaged over where they are not quadratic, and the accuracy of log τ.
AVERAGED, PAIRED = 4096, 1024
ACCURACY = 1e-11
GRADIENT_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Affine:
    """The map x ↦ m⁺ + S (x - m) with m = ``mean``, m⁺ = ``moved`` (D,) and S = ``matrix`` (D, D)."""

    mean: torch.Tensor
    moved: torch.Tensor
    matrix: torch.Tensor


@dataclass(frozen=True, eq=False)
class ParticleAverages:
    """Averages of V and its derivatives, and of those of ½W∗ρ, over particles moved by affine maps.

    Quadratic parts are averaged by the two moments, others over ``points`` (n, D).
    """

    points: torch.Tensor
    potential: Potential
    interaction: Interaction | None

    def from_law(
        self, mean: torch.Tensor, covariance: torch.Tensor
    ) -> Callable[[torch.Tensor, torch.Tensor], Expectations]:
        """Return what maps (m', S) to the averages over the law of m' + S(X - m)."""
        centred = self.points - mean
        exact = isinstance(self.potential, Flat | Quadratic)
        constant = torch.zeros_like(covariance)
        if isinstance(self.potential, Quadratic):
            constant = constant + self.potential.precision
        alone = constant
        if isinstance(self.interaction, QuadraticInteraction):
            constant = constant + self.interaction.strength * torch.eye(len(mean), dtype=mean.dtype)
        paired = self.interaction is not None and not isinstance(self.interaction, QuadraticInteraction)

        def averages(moved: torch.Tensor, transport: torch.Tensor) -> Expectations:
            value = 0.5 * float(torch.sum(constant * (transport @ covariance @ transport)))
            gradient = torch.zeros_like(moved)
            if isinstance(self.potential, Quadratic):
                value += float(self.potential.value(moved[None])[0])
                gradient = alone @ (moved - self.potential.centre)
            by_transport = torch.zeros_like(covariance)
            if not exact:
                places = moved + centred @ transport
                slopes = torch.cat([self.potential.gradient(block) for block in places.split(GRADIENT_BLOCK)])
                value += float(self.potential.value(places).mean())
                gradient = slopes.mean(0)
                by_transport = by_transport + slopes.T @ centred / len(centred)
            if paired:
                assert self.interaction is not None
                few = centred[:PAIRED]
                places = moved + few @ transport
                value += 0.5 * float(self.interaction.mean_value(places, places, own=True).mean())
                by_transport = by_transport + self.interaction.mean_gradient(places, places).T @ few / len(few)
            if exact and not paired:
                return Expectations(value, gradient, constant)
            # As an average of Hessians has it, by Stein's identity.
            curvature = symmetric_factor(by_transport, transport @ covariance)
            return Expectations(value, gradient, constant + curvature)

        return averages


def best_affine(
    points: torch.Tensor, energy: FreeEnergy, exponent: float, internal_scale: float, step_size: float
) -> Affine | None:
    """Return the affine step from the law of ``points`` (n, D), float64, or ``None`` where none is found.

    ``exponent`` is m, 1 for an entropy, and ``internal_scale`` then β⁻¹; for a power entropy it is (m-1)G, and 0 where
    there is no internal energy. Raises ``Diverged`` where V or its derivatives are not finite on average.
    """
    mean = points.mean(0)
    covariance = (points - mean).T @ (points - mean) / len(points)
    averages = ParticleAverages(points[:AVERAGED], energy.potential, energy.interaction)
    if not internal_scale:
        # Nothing spreads: a temperature that moves nothing by more than rounding keeps S positive definite.
        exponent, internal_scale = 1.0, 1e-12 * float(covariance.diagonal().mean()) / step_size

    def step(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        moved, reached, _ = implicit_step((mean, covariance), averages, 1 / temperature, step_size)  # type: ignore[arg-type]
        return moved, reached

    def mismatch(log_temperature: float) -> float:
        _, reached = step(math.exp(log_temperature))
        log_det = 0.5 * float(torch.linalg.slogdet(reached)[1] - torch.linalg.slogdet(covariance)[1])
        return log_temperature + (exponent - 1) * log_det - math.log(internal_scale)

    try:
        log_temperature = math.log(internal_scale)
        if exponent != 1:
            gap = mismatch(log_temperature)
            # The left side rises at least as fast as log τ does: the root is within ``gap`` of here.
            ends = sorted((log_temperature, log_temperature - gap))
            if abs(gap) > ACCURACY:
                slack = 1e-9 * (1 + abs(gap))
                log_temperature = brentq(mismatch, ends[0] - slack, ends[1] + slack, xtol=ACCURACY)
        moved, reached = step(math.exp(log_temperature))
    except (NotConvex, ValueError):
        return None
    return Affine(mean, moved, symmetrised(transport_between(covariance, reached)))
