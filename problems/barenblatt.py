"""Barenblatt's laws, which a point mass becomes in the porous medium flow ∂ρ = Δρᵐ and in fast diffusion.

With y = S^{-½}(x - μ) and n dimensions

    m > 1                ρ = Z det(S)^{-½} (1 - |y|²)₊ᵖ      p = 1/(m-1)    Z = Γ(n/2 + p + 1) / (π^{n/2} Γ(p + 1))
    1 - 2/n < m < 1      ρ = Z det(S)^{-½} (1 + |y|²)⁻ᵏ      k = 1/(1-m)    Z = Γ(k) / (π^{n/2} Γ(k - n/2))

(Barenblatt 1952; Vázquez, The Porous Medium Equation, 2007, section 17.5). |y|² is a Beta(n/2, p + 1) variable, for
m < 1 a beta-prime(n/2, k - n/2) one: then y is Student's t. As m → 1 both become Gaussians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.special import betaincinv, digamma, stdtrit

from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.laws import Density, standard_normal
from problems.linear_algebra import transport_between
from problems.validation import require_finite, require_positive, require_spd

ROUND = 1e-12
"""A matrix that differs from a multiple of the identity by no more than this, relatively, is one."""


@dataclass(frozen=True, eq=False)
class Barenblatt(Density):
    """Barenblatt's law with ``mean`` μ (D,), ``shape`` S (D, D) and the ``exponent`` m of the flow that it is of.

    For m > 1 it lives on the ellipsoid (x-μ)ᵀS⁻¹(x-μ) ≤ 1, a ball of radius R where S = R²I; for m < 1 it has heavy
    tails, its mean exists for m > (D-1)/(D+1) and its covariance for m > D/(D+2), and is infinite below.

    Raises ``ValueError`` for an exponent that is 1 or not above 1 - 2/D and > 0, shapes that do not fit, a mean that is
    not finite and an S that is not SPD.
    """

    mean: torch.Tensor
    shape: torch.Tensor
    exponent: float

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.shape.shape != (len(self.mean), len(self.mean)):
            raise ValueError(
                f"Barenblatt: mean of shape {tuple(self.mean.shape)} does not fit S of shape {tuple(self.shape.shape)}"
            )
        require_exponent("Barenblatt", self.exponent, len(self.mean))
        require_finite("Barenblatt", mean=self.mean)
        require_spd("Barenblatt", "S", self.shape)

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def power(self) -> float:
        """The exponent 1/(m-1) of the density: p for m > 1, -k for m < 1."""
        return 1 / (self.exponent - 1)

    @cached_property
    def cholesky(self) -> torch.Tensor:
        """Lower-triangular factor L with L Lᵀ = S, shape (D, D)."""
        factor: torch.Tensor = torch.linalg.cholesky(self.shape)
        return factor

    @property
    def log_det(self) -> float:
        """The logarithm of det S."""
        return 2 * float(self.cholesky.diagonal().log().sum())

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        normal = standard_normal(n, self.dim, generator, self.mean)
        # ½|normal|² is Gamma(n/2) and independent of the direction: one more gamma variable makes a Beta of it.
        shape = self.power + 1 if self.exponent > 1 else -self.power - self.dim / 2
        shapes = torch.full((n,), shape, dtype=torch.float64, device=generator.device)
        gamma = torch._standard_gamma(shapes, generator=generator).to(self.mean)  # what torch.distributions draws from
        squares = 2 * gamma + normal.square().sum(1) if self.exponent > 1 else 2 * gamma
        return self.mean + (normal * squares.rsqrt()[:, None]) @ self.cholesky.T

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        white = torch.linalg.solve_triangular(self.cholesky, (x - self.mean).T, upper=False)
        square, sign = (white * white).sum(0), math.copysign(1.0, 1 - self.exponent)
        inside = sign * square > -1
        # Outside, a number without a singular derivative stands in for the one that is not taken.
        body = self.power * torch.log1p(torch.where(inside, sign * square, 0.0))
        peak = log_normaliser(self.exponent, self.dim) - self.cholesky.diagonal().log().sum()
        log_density: torch.Tensor = torch.where(inside, peak + body, -torch.inf)
        return log_density

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        spread = self.dim + 2 * self.power + 2
        if self.exponent > 1:
            return self.mean, self.shape / spread
        if spread < 0:
            return self.mean, self.shape / -spread
        infinite = torch.full_like(self.mean, torch.inf).diag()
        return self.mean, infinite

    @property
    def support_radius(self) -> float | None:
        if self.exponent < 1:
            return None
        return math.sqrt(float(torch.linalg.eigvalsh(self.shape)[-1]))

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        if self.exponent > 1:
            half = self.power + (self.dim + 1) / 2
            standard = torch.from_numpy(2 * betaincinv(half, half, levels.double().numpy()) - 1)
        else:
            freedom = -2 * self.power - self.dim
            standard = torch.from_numpy(stdtrit(freedom, levels.double().numpy())) / math.sqrt(freedom)
        along = directions.double()
        scales = (along @ self.cholesky.double()).norm(dim=1)
        quantiles: torch.Tensor = (along @ self.mean.double())[:, None] + scales[:, None] * standard
        return quantiles

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor | None:
        square = float(self.shape.diagonal().mean())
        identity = torch.eye(self.dim, dtype=self.shape.dtype, device=self.shape.device)
        if float((self.shape - square * identity).abs().max()) > ROUND * square:
            return None
        of, other = self.dim / 2, self.power + 1 if self.exponent > 1 else -self.power - self.dim / 2
        share = torch.from_numpy(betaincinv(of, other, levels.double().numpy()))
        return math.sqrt(square) * (share if self.exponent > 1 else share / (1 - share)).sqrt()

    def internal_energy(self, energy: InternalEnergy) -> float:
        """Return ∫U(ρ) of an ``Entropy``, or of a ``PowerEntropy`` of any exponent; ±inf where it is not finite.

        Raises ``TypeError`` for other energies.
        """
        log_peak = log_normaliser(self.exponent, self.dim) - 0.5 * self.log_det
        half = self.dim / 2
        if isinstance(energy, Entropy):
            # E log(1 ∓ |y|²) of the Beta and the beta-prime variable
            rest = self.power + 1 if self.exponent > 1 else -self.power - half
            body = digamma(rest) - digamma(rest + half)
            if self.exponent < 1:
                body = -body
            return float(log_peak + self.power * body) / energy.inverse_temperature
        if not isinstance(energy, PowerEntropy):
            raise TypeError(f"Barenblatt: the energy must be an Entropy or a PowerEntropy, got {energy!r}")
        m, raised = energy.exponent, energy.exponent * self.power
        if self.exponent < 1 and -raised <= half:
            return math.copysign(math.inf, m - 1)
        if self.exponent > 1:
            log_integral = math.lgamma(raised + 1) - math.lgamma(half + raised + 1)
        else:
            log_integral = math.lgamma(-raised - half) - math.lgamma(-raised)
        # Of ∫ρᵐ = ρ(μ)ᵐ det(S)^½ ∫(1 ∓ |y|²)^{mp} dy
        log_power = m * log_peak + 0.5 * self.log_det + half * math.log(math.pi) + log_integral
        return energy.coefficient / (m - 1) * math.exp(log_power)

    def wasserstein(self, other: Barenblatt) -> float:
        """Return W₂ to another of these laws with the same exponent: the optimal map is affine (Gelbrich 1990).

        Raises ``ValueError`` for another exponent or dimension, and where the second moments are infinite.
        """
        if (other.exponent, other.dim) != (self.exponent, self.dim):
            raise ValueError("Barenblatt: W2 is known between laws of the same exponent and dimension only")
        covariance = self.moments()[1]
        if not bool(torch.isfinite(covariance).all()):
            raise ValueError(f"Barenblatt: in dimension {self.dim} W2 is infinite at exponent {self.exponent:g}")
        # The map's matrix M moves x by (M - I)x, of which no digits cancel.
        moved = transport_between(self.shape, other.shape) - torch.eye(self.dim, dtype=self.shape.dtype)
        square = (self.mean - other.mean).square().sum() + (moved @ covariance @ moved.T).trace()
        return math.sqrt(float(square))


def ball(mean: torch.Tensor, radius: float, exponent: float) -> Barenblatt:
    """Return the law of S = R²I about ``mean`` (D,), R = ``radius``; raises ``ValueError`` unless R is > 0."""
    require_positive("Barenblatt", radius=radius)
    return Barenblatt(mean, radius**2 * torch.eye(len(mean), dtype=mean.dtype), exponent)


def log_normaliser(exponent: float, dim: int) -> float:
    """Return log Z, the logarithm of the density at its mean where det S = 1."""
    power, half = 1 / (exponent - 1), dim / 2
    if exponent > 1:
        return math.lgamma(half + power + 1) - math.lgamma(power + 1) - half * math.log(math.pi)
    return math.lgamma(-power) - math.lgamma(-power - half) - half * math.log(math.pi)


def log_pressure(exponent: float, dim: int) -> float:
    """Return log κ, κ = 2m/|m-1| Z^{m-1}.

    -∇U'(ρ) = εκ det(S)^{-(m-1)/2} S⁻¹(x - μ) is the velocity at x that the flow of ερᵐ/(m-1) has.
    """
    return math.log(2 * exponent / abs(exponent - 1)) + (exponent - 1) * log_normaliser(exponent, dim)


def require_exponent(owner: str, exponent: float, dim: int) -> None:
    """Raise ``ValueError`` unless laws of this exponent exist in dimension ``dim``."""
    reason = PowerEntropy(exponent).without_flow(dim)
    if reason is not None:
        raise ValueError(f"{owner}: {reason}")
