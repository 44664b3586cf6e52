"""The exact JKO step ρ⁺ = argmin_ρ  W₂²(ρ, ρ_k) / 2h + F(ρ) between elliptical laws.

For the free energies of ``problems.references.elliptical_energy``, G = A + κI and rate of spreading c(det S), the
optimal map from ρ⁺ to ρ_k is x + h∇δF/δρ⁺, affine with gradient B - hc⁺(S⁺)⁻¹, B = I + hG: a law of the same kind
meets it. For m ≥ 1 - 1/D, F is displacement convex (McCann, Adv. Math. 128, 1997), so that no other law is better;
below, it is the one critical point among laws of its kind. With H = B^{-½} S B^{-½} = P diag(η) Pᵀ

    γ = (½ (√η + √(η + 4hc⁺)))²
    S⁺ = B^{-½} P diag(γ) Pᵀ B^{-½}
    c⁺ = c(∏γ / det B)                    one equation of one unknown
    T = B^{-½} P diag(√(γ/η)) Pᵀ B^{-½}   the map from ρ_k to ρ⁺, S⁺ = T S T

and the mean takes an implicit Euler step in V alone. For balls the equation reads R⁺ - R = hεκ (R⁺)^{-(D(m-1)+1)}.

The implicit midpoint rule (order 2) is a JKO step of h/2, carried on as far again along its map: T₂ = 2T - I. An
exponentially fitted step is one in the metric (hΘ)⁻¹, Θ = θ(hG) for the deviations and θ(hA) for the mean
(``solvers.exponential_fitting``): in the coordinates Θ^{-½}x the step from Θ^{-½}SΘ^{-½} above, with GΘ for G and
c(det S⁺ det Θ) for c, whose map T carries on to T₂ = I + Θ⁻¹(Θ^{½}TΘ^{-½} - I). G and Θ have the same axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from problems.linear_algebra import symmetrised
from problems.potentials import Linear, Quadratic
from problems.references.elliptical_energy import Elliptical, EllipticalEnergy, matrix_of, moved
from solvers.exponential_fitting import fitted_weight

ITERATIONS = 200


class NoStep(ArithmeticError):
    """The error of a step whose map would fold the law over; the message says how."""


@dataclass(frozen=True, eq=False)
class ExactSteps:
    """Exact steps of ``step_size`` h and ``order`` 1 or 2 for one ``energy``; those of order 2 may be ``fitted``."""

    energy: EllipticalEnergy
    step_size: float
    order: int
    fitted: bool = False

    @property
    def _part(self) -> float:
        return self.step_size / self.order

    @cached_property
    def _widths(self) -> tuple[torch.Tensor, float]:
        """B^{-½} (D, D) and log det B."""
        rates, basis = torch.linalg.eigh(self.energy.stiffness)
        widths = 1 + self._part * rates.clamp(min=0)
        return (basis * widths.rsqrt()) @ basis.T, float(widths.log().sum())

    def __call__(self, law: Elliptical) -> Elliptical:
        """Return the law after one step; raises ``NoStep`` where the map of order 2 is not one to one."""
        if self.fitted:
            return self._fitted(law)
        mean = law.mean + self.order * (self._mean(law.mean) - law.mean)
        root, matrix = self._widths[0], matrix_of(law)
        values, axes = torch.linalg.eigh(symmetrised(root @ matrix @ root))
        spread = math.exp(self._log_spreading(values.tolist(), law, self._part, self._widths[1], 0.0))
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

    def _fitted(self, law: Elliptical) -> Elliptical:
        h, matrix = self.step_size, matrix_of(law)
        rates, axes = torch.linalg.eigh(self.energy.stiffness)
        share = torch.from_numpy(fitted_weight(h * rates.numpy()))
        widths = 1 + h * share * rates
        narrow, root = widths.rsqrt(), share.sqrt()
        scale = narrow / root
        values, turned = torch.linalg.eigh(symmetrised(scale[:, None] * (axes.T @ matrix @ axes) * scale))
        log_det, log_share = float(widths.log().sum()), float(share.log().sum())
        spread = math.exp(self._log_spreading(values.tolist(), law, h, log_det, log_share))
        stretch = 0.5 * (1 + (1 + 4 * h * spread / values).sqrt())
        across = scale[:, None] * turned
        full = axes @ (torch.diag(1 - 1 / share) + (across * stretch) @ across.T) @ axes.T
        smallest = float(torch.linalg.eigvalsh(full)[0])
        if smallest <= 0:
            raise NoStep(f"the fitted step turns the law inside out (its map has the eigenvalue {smallest:.3g})")
        return moved(law, self._fitted_mean(law.mean), symmetrised(full @ matrix @ full))

    def _fitted_mean(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the mean (D,) after the step, which is exact."""
        potential = self.energy.potential
        if isinstance(potential, Quadratic):
            decay: torch.Tensor = torch.linalg.matrix_exp(-self.step_size * potential.precision)
            return potential.centre + decay @ (mean - potential.centre)
        return mean - self.step_size * potential.slope if isinstance(potential, Linear) else mean

    def _log_spreading(
        self, values: list[float], law: Elliptical, part: float, log_det: float, log_share: float
    ) -> float:
        """Return log c⁺ for the eigenvalues η of H, to rounding, by Newton's method in a bracket.

        ``part`` is h, ``log_det`` log det B, ``log_share`` log det Θ.

        f(x) = x - log c(∏γ(eˣ)/det B) rises with x at a rate between 1 and 1 + s D, s the stiffening, since γ rises by
        a power of c between 0 and 1; s > -1/D wherever mass is kept.
        """
        energy, stiffening = self.energy, self.energy.stiffening
        log_det = log_det - log_share
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
