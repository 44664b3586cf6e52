"""The equilibrium of a power entropy and a Gaussian attraction in the plane: U'(ρ) + W∗ρ = C on a disc, ρ = 0 outside.

With U(ρ) = ε ρᵐ/(m - 1), m > 1, and W(z) = -s exp(-|z|²/ℓ²), and in polar coordinates,

    ε m/(m - 1) ρ(r)^(m-1) = (W∗ρ)(r)|_{r=R}^{r},   (W∗ρ)(r) = -s ∫₀ᴿ exp(-(r² + q²)/ℓ²) I₀(2rq/ℓ²) ρ(q) 2πq dq

(Carrillo, Hittmeir, Volzone, Yao, Invent. Math. 218, 2019: such equilibria are radial). ρ^(m-1) is smooth in t = r²/R²
and vanishes at t = 1, so that ρ = (1 - t)^p k(t), p = 1/(m - 1), and Gauss-Jacobi's rule with that weight integrates
to all digits with few nodes; the values there, and R, come from Newton's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import BarycentricInterpolator
from scipy.optimize import minimize_scalar, root
from scipy.special import i0e, roots_jacobi

from problems.arrays import Reals
from problems.energies import PowerEntropy
from problems.interactions import GaussianAttraction
from problems.laws import Density

NODES = 32
RESIDUAL = 1e-12
BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class RadialEquilibrium(Density):
    """The equilibrium about ``mean`` (2,), of ``radius`` R, given by ρ at ``nodes`` t (n,) as ``values`` k (n,).

    ``weights`` (n,) are those of Gauss-Jacobi's rule for ∫₀¹ (1 - t)^p f(t) dt. ``solved`` makes one.
    """

    internal: PowerEntropy
    interaction: GaussianAttraction
    mean: torch.Tensor
    radius: float
    nodes: Reals
    weights: Reals
    values: Reals

    @classmethod
    def solved(
        cls, internal: PowerEntropy, interaction: GaussianAttraction, mean: torch.Tensor, nodes: int = NODES
    ) -> RadialEquilibrium:
        """Return the equilibrium about ``mean`` (2,), by as many Gauss nodes.

        Raises ``ValueError`` unless m > 1 in the plane, and ``ArithmeticError`` where no equilibrium is found.
        """
        if internal.exponent <= 1 or interaction.dim != 2:
            raise ValueError(
                f"radial equilibrium: needs an exponent above 1 in dimension 2, got {internal.exponent:g} in "
                f"dimension {interaction.dim}"
            )
        p = 1 / (internal.exponent - 1)
        place, weight = roots_jacobi(nodes, p, 0.0)
        t, w = 0.5 * (place + 1), weight / 2 ** (p + 1)

        def law(radius: float, values: Reals) -> RadialEquilibrium:
            return cls(internal, interaction, mean, radius, t, w, values)

        def paraboloid(log_radius: float) -> RadialEquilibrium:
            area = math.pi * math.exp(2 * log_radius)
            return law(math.exp(log_radius), np.full(nodes, (p + 1) / area))

        # Of the laws with constant k the one of least energy is near.
        scale = math.log(interaction.width)
        found = minimize_scalar(
            lambda log_radius: paraboloid(log_radius).free_energy(), bounds=(scale - 6, scale + 6), method="bounded"
        )
        start = paraboloid(float(found.x))

        def residual(unknown: Reals) -> Reals:
            trial = law(math.exp(unknown[-1]), np.exp(unknown[:-1]))
            inside = trial._attracted(trial.radius * np.sqrt(t))
            slope = (trial._attracted(np.array([trial.radius])) - inside) / (1 - t)
            factor = internal.coefficient * internal.exponent * p
            return np.append(factor * trial.values ** (1 / p) / interaction.strength - slope / interaction.strength,
                             trial.mass() - 1)  # fmt: skip

        solution = root(residual, np.append(np.log(start.values), math.log(start.radius)), tol=1e-15)
        unknown = solution.x
        for _ in range(3):  # Newton's own steps: the root finder's stop at about 1e-10.
            jacobian = _jacobian(residual, unknown)
            unknown = unknown - np.linalg.solve(jacobian, residual(unknown))
        largest = float(np.abs(residual(unknown)).max())
        if not largest < RESIDUAL:
            raise ArithmeticError(f"radial equilibrium: none is found, the equations are off by {largest:.3g}")
        return law(math.exp(unknown[-1]), np.exp(unknown[:-1]))

    @property
    def dim(self) -> int:
        return 2

    @property
    def power(self) -> float:
        """The power p of 1 - t at the edge."""
        return 1 / (self.internal.exponent - 1)

    @property
    def support_radius(self) -> float:
        return self.radius

    def mass(self) -> float:
        """Return the total mass, which is 1 for an equilibrium that is solved."""
        return math.pi * self.radius**2 * float((self.weights * self.values).sum())

    def _attracted(self, r: Reals) -> Reals:
        """Return W∗ρ at distances r (n,) from the mean, shape (n,)."""
        width, q = self.interaction.width, self.radius * np.sqrt(self.nodes)
        a, b = r[:, None] / width, q / width
        kernel = np.exp(-((a - b) ** 2)) * i0e(2 * a * b)
        masses = math.pi * self.radius**2 * self.weights * self.values
        return np.asarray(-self.interaction.strength * (kernel * masses).sum(1))

    @cached_property
    def level(self) -> float:
        """The constant C = U'(ρ) + W∗ρ on the disc."""
        return float(self._attracted(np.array([self.radius]))[0])

    def density(self, r: Reals) -> Reals:
        """Return ρ at distances r (n,) from the mean, shape (n,), by the equation that it solves."""
        excess = np.maximum(self.level - self._attracted(np.minimum(r, self.radius)), 0)
        factor = self.internal.coefficient * self.internal.exponent * self.power
        return np.where(r < self.radius, (excess / factor) ** self.power, 0.0)

    def free_energy(self) -> float:
        """Return F = ∫U(ρ) + ½∫(W∗ρ)ρ."""
        m, p = self.internal.exponent, self.power
        area = math.pi * self.radius**2
        # ρᵐ = (1 - t)^p (1 - t)^(p(m-1)) kᵐ, and p (m - 1) = 1.
        internal = self.internal.coefficient * p * area
        internal *= float((self.weights * (1 - self.nodes) * self.values**m).sum())
        masses = area * self.weights * self.values
        return internal + 0.5 * float((masses * self._attracted(self.radius * np.sqrt(self.nodes))).sum())

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        density = self.density((x.double() - self.mean).norm(dim=1).numpy())
        return torch.from_numpy(np.log(density, out=np.full(len(density), -np.inf), where=density > 0))

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        square = math.pi * self.radius**4 * float((self.weights * self.nodes * self.values).sum())
        return self.mean, 0.5 * square * torch.eye(2, dtype=torch.float64)

    @cached_property
    def _outer(self) -> BarycentricInterpolator:
        """The mass outside of t over (1 - t)^(p+1), smooth in t, through Chebyshev's nodes."""
        t = 0.5 * (1 - np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES))
        inside = t[:, None] + (1 - t)[:, None] * self.nodes  # 1 - τ = (1 - t)(1 - σ)
        k = self.density(self.radius * np.sqrt(inside.ravel())).reshape(inside.shape) / (1 - inside) ** self.power
        return BarycentricInterpolator(t, math.pi * self.radius**2 * (self.weights * k).sum(1))

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        beyond = 1 - levels.double().numpy()
        low, high = np.zeros(len(beyond)), np.ones(len(beyond))
        for _ in range(BISECTIONS):
            t = 0.5 * (low + high)
            more = (1 - t) ** (self.power + 1) * self._outer(t) > beyond
            low, high = np.where(more, t, low), np.where(more, high, t)
        return torch.from_numpy(self.radius * np.sqrt(0.5 * (low + high)))

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(n, 2, generator=generator, dtype=torch.float64, device=generator.device).cpu()
        angle = 2 * math.pi * draws[:, 1]
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        return self.mean + self.radial_quantiles(draws[:, 0])[:, None] * direction


def _jacobian(function: object, x: Reals) -> Reals:
    """Return the derivative of a function of (n,) to (n,), shape (n, n), by central differences."""
    assert callable(function)
    columns = []
    for index in range(len(x)):
        step = np.zeros(len(x))
        step[index] = 1e-5
        columns.append((function(x + step) - function(x - step)) / 2e-5)
    return np.stack(columns, axis=1)
