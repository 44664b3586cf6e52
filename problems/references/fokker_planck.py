"""The one-dimensional Fokker-Planck equation ∂ρ = ∂(ρ V') + β⁻¹ ∂²ρ on uniform cells, between walls without flux.

The flux between neighbouring cells is that of Scharfetter & Gummel (1969), IEEE Trans. Electron Devices 16, which
is the scheme of Chang & Cooper (1970), J. Comput. Phys. 6, for constant diffusion: with B(z) = z / (eᶻ - 1),

    J_{i+½} = (B(z_i) p_i - B(-z_i) p_{i+1}) / (β width²),    z_i = β (V_{i+1} - V_i),    dp_i/dt = J_{i-½} - J_{i+½}.

It is of second order in the width, keeps masses positive and their sum constant, and exp(-βV) at the cell centres is
stationary. Written dp/dt = L p, the matrix L is the generator of a birth-and-death chain.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.references.birth_death import ContourIntegral, factorise, rational_step
from problems.references.grid_law import GridLaw

# Masses sum to one, so a mass this far below zero is rounding.
ROUNDING = -1e-16

# How far two rational steps may be from one; of order 11, they are themselves about 2⁻¹¹ of that from the limit.
STEP_TOLERANCE = 1e-10

# Times that a propagator keeps its eliminations of, 3 kB a cell each: two, as equal gaps between decimals are often
# two numbers of the last digit.
TIMES_KEPT = 2


@dataclass(frozen=True, eq=False)
class FokkerPlanck:
    """The generator L on m uniform cells of [lower, upper], by rates of leaving each cell, ``left`` and ``right`` (m,).

    Masses are numpy arrays of shape (m,). ``left[0]`` and ``right[-1]`` are zero: nothing passes the walls.
    """

    lower: float
    upper: float
    left: Reals
    right: Reals

    @classmethod
    def discretise(cls, flow: GradientFlow, lower: float, upper: float, cells: int) -> FokkerPlanck:
        """Return the generator of a one-dimensional ``flow`` on ``cells`` cells of [lower, upper].

        Raises ``ValueError`` where the potential is not finite at a cell centre.
        """
        centres = lower + (upper - lower) / cells * (np.arange(cells) + 0.5)
        potential = flow.potential.value(torch.from_numpy(centres)[:, None]).double().numpy()
        if not np.isfinite(potential).all():
            where = centres[~np.isfinite(potential)][0]
            raise ValueError(f"Fokker-Planck grid: the potential is not finite at x = {where:g}")
        beta = flow.inverse_temperature
        drop = beta * np.diff(potential)
        scale = 1 / (beta * ((upper - lower) / cells) ** 2)
        left, right = np.zeros(cells), np.zeros(cells)
        left[1:], right[:-1] = scale * bernoulli(-drop), scale * bernoulli(drop)
        return cls(lower, upper, left, right)

    def apply(self, masses: Reals) -> Reals:
        """Return L p of masses p (m,), shape (m,), as differences of fluxes, which sum to zero."""
        flux: Reals = np.zeros(len(masses) + 1)
        flux[1:-1] = self.right[:-1] * masses[:-1] - self.left[1:] * masses[1:]
        return np.asarray(flux[:-1] - flux[1:])

    def law(self, masses: Reals) -> GridLaw:
        """Return the law with these cell masses (m,); raises ``ValueError`` unless they sum to 1."""
        return GridLaw(self.lower, self.upper, torch.from_numpy(masses))

    def propagate(self, masses: Reals, time: float) -> Reals:
        """Return exp(time L) p of masses p (m,), shape (m,), to about 1e-13 in L1.

        One contour integral reaches any time, unless drift so outweighs diffusion that L is far from normal; the
        integral then shows it, and rational steps go ahead until it no longer does.

        Raises ``ArithmeticError`` when the steps shrink to nothing.
        """
        return self._propagated(masses, time, self._contour)

    def propagator(self) -> Callable[[Reals, float], Reals]:
        """Return the map of masses p (m,) and a time to what :meth:`propagate` gives, shape (m,), to the same bits.

        It keeps what the last times need, and is several times faster for many laws over equal times. It raises what
        that raises.
        """
        return functools.partial(self._propagated, contour=functools.lru_cache(TIMES_KEPT)(self._contour))

    def _contour(self, time: float) -> ContourIntegral:
        return ContourIntegral(self.left * time, self.right * time)

    def _propagated(self, masses: Reals, time: float, contour: Callable[[float], ContourIntegral]) -> Reals:
        remaining, step, attempts = time, time / 4, 4
        while True:
            advanced, reliable = contour(remaining)(masses)
            if reliable:
                return advanced
            for _ in range(attempts):
                step = min(step, remaining)
                advanced, error = self._two_rational_steps(masses, step)
                if error <= STEP_TOLERANCE:
                    masses, remaining = advanced, remaining - step
                    if remaining <= 0:
                        return masses
                growth = 0.9 * (STEP_TOLERANCE / error) ** (1 / 12) if error > 0 else 2.0
                step *= min(2.0, max(0.1, growth)) if np.isfinite(error) else 0.1
                if step < 1e-12 * time:
                    raise ArithmeticError(
                        f"Fokker-Planck grid: steps to time {time:g} shrink to {step:.3g} with {remaining:g} to go"
                    )
            attempts *= 2

    def _two_rational_steps(self, masses: Reals, time: float) -> tuple[Reals, float]:
        """Return p after two steps of half the time, and its distance in L1, relative to p, from a single step."""
        once = rational_step(self.left * time, self.right * time, masses)
        left, right = self.left * (0.5 * time), self.right * (0.5 * time)
        twice = rational_step(left, right, rational_step(left, right, masses))
        return twice, float(np.abs(twice - once).sum() / np.abs(masses).sum())

    def stepper(self, step_size: float) -> Callable[[Reals], Reals]:
        """Return the L-stable SDIRK step of order 2, p (m,) ↦ p⁺ (m,) (Alexander 1977, SIAM J. Numer. Anal. 14).

        With γ = 1 - 1/√2: (I - γhL) k₁ = hL p, (I - γhL) k₂ = hL (p + (1 - γ) k₁), p⁺ = p + (1 - γ) k₁ + γ k₂. The
        factors are made once. The increments come from differences of fluxes, so that rounding cannot drain mass step
        by step. No linear step of order 2 keeps masses positive whatever its size (Bolley & Crouzeix 1978, RAIRO 12);
        where this one is too long for some fast transient, ``_without_holes`` repairs what it leaves behind.
        """
        gamma = 1 - 0.5**0.5
        solve = factorise(gamma * step_size * self.left, gamma * step_size * self.right)

        def step(masses: Reals) -> Reals:
            stage = masses + (1 - gamma) * solve(step_size * self.apply(masses))
            advanced: Reals = stage + gamma * solve(step_size * self.apply(stage))
            return _without_holes(advanced) if advanced.min() < ROUNDING else advanced

        return step


def bernoulli(z: Reals) -> Reals:
    """Return B(z) = z / (eᶻ - 1), B(0) = 1, for any finite ``z`` (...,) without overflow, of its shape."""
    size = np.abs(z)
    falling = np.divide(size, -np.expm1(-size), out=np.ones_like(size), where=size > 0)
    return np.asarray(np.where(z > 0, falling * np.exp(-size), falling))


def _without_holes(masses: Reals) -> Reals:
    """Return the non-negative masses of the same sum whose distribution function is nearest in the maximum norm.

    That is the mean of the running maximum from the left and the running minimum from the right; it moves mass, half
    of what is negative at the most, between neighbours only, and leaves all other cells alone.
    """
    below = np.concatenate([[0.0], np.cumsum(masses)])
    within = np.clip(below, 0.0, below[-1])
    monotone = 0.5 * (np.maximum.accumulate(within) + np.minimum.accumulate(within[::-1])[::-1])
    return np.asarray(masses + np.diff(monotone - below))
