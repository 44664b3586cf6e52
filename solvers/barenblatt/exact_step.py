"""The exact JKO step ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + F(ρ) between elliptical laws.

For the free energies of ``problems.references.elliptical_energy``, G = A + κI and rate of spreading c(det S), the
optimal map from ρ⁺ to ρ_k is x + h∇δF/δρ⁺, affine with gradient B - hc⁺(S⁺)⁻¹, B = I + hG: a law of the same kind
meets it, and F is displacement convex, so that no other is better. With H = B^{-½} S B^{-½} = P diag(η) P'

    γ = (½ (√η + √(η + 4hc⁺)))²
    S⁺ = B^{-½} P diag(γ) P' B^{-½}
    c⁺ = c(∏γ / det B)                    one equation of one unknown
    T = B^{-½} P diag(√(γ/η)) P' B^{½}…   the map from ρ_k to ρ⁺, S⁺ = T S T

and the mean takes an implicit Euler step in V alone. For balls the equation reads R⁺ - R = hεκ (R⁺)^{-(n(m-1)+1)}.

The implicit midpoint rule (order 2) is a JKO step of h/2, carried on as far again along its map: T₂ = 2T - I.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.linear_algebra import symmetrised
from problems.potentials import Linear, Quadratic
from problems.references.elliptical_energy import Elliptical, EllipticalEnergy, matrix_of, moved

ITERATIONS = 200


class NoStep(ArithmeticError):
    """The error of a step whose map would fold the law over; the message says how."""


@dataclass(frozen=True, eq=False)
class ExactSteps:
    """Exact steps of ``step_size`` h and ``order`` 1 or 2 for one ``energy``."""

    energy: EllipticalEnergy
    step_size: float
    order: int

    def __post_init__(self) -> None:
        rates, basis = torch.linalg.eigh(self.energy.stiffness)
        widths = 1 + self._part * rates.clamp(min=0)
        object.__setattr__(self, "_root", (basis * widths.rsqrt()) @ basis.T)
        object.__setattr__(self, "_log_det", float(widths.log().sum()))

    @property
    def _part(self) -> float:
        return self.step_size / self.order

    def __call__(self, law: Elliptical) -> Elliptical:
        """Return the law after one step; raises ``NoStep`` where the map of order 2 is not one to one."""
        mean = law.mean + self.order * (self._mean(law.mean) - law.mean)
        root: torch.Tensor = self._root  # type: ignore[attr-defined]
        matrix = matrix_of(law)
        values, axes = torch.linalg.eigh(symmetrised(root @ matrix @ root))
        spread = math.exp(self._log_spreading(values.tolist(), law))
        solved = (0.5 * (values.sqrt() + (values + 4 * self._part * spread).sqrt())).square()
        across = root @ axes
        if self.order == 1:
            return moved(law, mean, symmetrised((across * solved) @ across.T))
        half = symmetrised((across * (solved / values).sqrt()) @ across.T)
        full = 2 * half - torch.eye(law.dim, dtype=half.dtype)
        smallest = float(torch.linalg.eigvalsh(full)[0])
        if smallest <= 0:
            raise NoStep(f"the midpoint rule turns the law inside out (its map has the eigenvalue {smallest:.3g})")
        return moved(law, mean, symmetrised(full @ matrix @ full))

    def _mean(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the mean (D,) after an implicit Euler step of h/order in V."""
        potential = self.energy.potential
        if isinstance(potential, Linear):
            return mean - self._part * potential.slope
        if isinstance(potential, Quadratic):
            matrix = torch.eye(len(mean), dtype=mean.dtype) + self._part * potential.precision
            solved: torch.Tensor = torch.linalg.solve(matrix, mean - potential.centre)
            return potential.centre + solved
        return mean

    def _log_spreading(self, values: list[float], law: Elliptical) -> float:
        """Return log c⁺ for the eigenvalues η of H, to rounding, by Newton's method in a bracket.

        f(x) = x - log c(∏γ(eˣ)/det B) rises with x at a rate between 1 and 1 + s D, s the stiffening, since γ rises by
        a power of c between 0 and 1; s > -1/D wherever mass is kept.
        """
        energy, part = self.energy, self._part
        log_det: float = self._log_det  # type: ignore[attr-defined]
        stiffening = energy.stiffening
        if not stiffening:
            return energy.log_spreading(0.0)

        def miss(x: float) -> tuple[float, float]:
            grown = [4 * part * math.exp(x) + value for value in values]
            logs = sum(
                2 * math.log(0.5 * (math.sqrt(old) + math.sqrt(new))) for old, new in zip(values, grown, strict=True)
            )
            powers = sum(
                (new - old) / (math.sqrt(new) * (math.sqrt(old) + math.sqrt(new)))
                for old, new in zip(values, grown, strict=True)
            )
            return x - energy.log_spreading(logs - log_det), 1 + stiffening * powers

        x = energy.log_spreading(sum(map(math.log, values)) - log_det)
        reach = abs(miss(x)[0]) / min(1.0, 1 + stiffening * law.dim)
        low, high = x - reach, x + reach
        for _ in range(ITERATIONS):
            value, slope = miss(x)
            low, high = (x, high) if value < 0 else (low, x)
            following = x - value / slope
            if not low <= following <= high:
                following = 0.5 * (low + high)
            if abs(following - x) <= 4e-16 * max(1.0, abs(x)):
                break
            x = following
        return following
