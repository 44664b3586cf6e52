"""Probability laws on R^D: initial laws of problems, and their exact solutions.

Tensors are float64 unless the law was moved to another dtype; points have shape (n, D).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch

from problems.validation import require_finite, require_spd


class Law(ABC):
    """A probability law on R^D that can be sampled and whose first two moments are known."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` independent draws, shape (n, D)."""

    @abstractmethod
    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean, shape (D,), and the covariance, shape (D, D)."""

    @property
    def support_radius(self) -> float | None:
        """Radius of the smallest ball about the mean with all mass, or ``None`` where it is unbounded or not known."""
        return None

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor | None:
        """Return the quantiles of u·X at ``levels`` (l,) along unit vectors u, ``directions`` (k, D), shape (k, l).

        ``None`` where they are not known.
        """
        return None

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor | None:
        """Return the quantiles of |X - mean| at ``levels`` (l,), shape (l,).

        ``None`` where they are not known, or the law is not the same in all directions.
        """
        return None


class Density(Law):
    """A law with a density that can be evaluated."""

    @abstractmethod
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised log-density at ``x`` (n, D), shape (n,)."""

    def score(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return ∇ log ρ at ``x`` (n, D), of the same shape.

        ``None`` where it is not known, or ρ is not positive and smooth everywhere.
        """
        return None

    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``n`` draws (n, D), float64, and the log-density at each, (n,)."""
        points = self.sample(n, generator).double()
        return points, self.log_prob(points)


def standard_normal(n: int, dim: int, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """Return (n, D) standard normals in the dtype and on the device of ``like``.

    Draws are made on the generator's own device, so a CPU generator gives the same numbers for every target device.
    """
    draws = torch.randn(n, dim, generator=generator, dtype=like.dtype, device=generator.device)
    return draws.to(like.device)


@dataclass(frozen=True, eq=False)
class Gaussian(Density):
    """The normal law N(``mean`` (D,), ``covariance`` (D, D)) on R^D.

    Raises ``ValueError`` for shapes that do not fit, a mean that is not finite and a covariance that is not SPD.
    """

    mean: torch.Tensor
    covariance: torch.Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.covariance.shape != (len(self.mean), len(self.mean)):
            raise ValueError(
                f"Gaussian: mean of shape {tuple(self.mean.shape)} does not fit "
                f"a covariance of shape {tuple(self.covariance.shape)}"
            )
        require_finite("Gaussian", mean=self.mean)
        require_spd("Gaussian", "covariance", self.covariance)

    @property
    def dim(self) -> int:
        return len(self.mean)

    @cached_property
    def cholesky(self) -> torch.Tensor:
        """Lower-triangular factor L with L Lᵀ = covariance, shape (D, D)."""
        factor: torch.Tensor = torch.linalg.cholesky(self.covariance)
        return factor

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.mean + standard_normal(n, self.dim, generator, self.mean) @ self.cholesky.T

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        white = torch.linalg.solve_triangular(self.cholesky, (x - self.mean).T, upper=False)
        log_normaliser = 0.5 * self.dim * math.log(2 * math.pi) + self.cholesky.diagonal().log().sum()
        log_density: torch.Tensor = -0.5 * (white * white).sum(0) - log_normaliser
        return log_density

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_solve((self.mean - x).T, self.cholesky).T

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, self.covariance

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        deviations = (directions @ self.cholesky).norm(dim=1, keepdim=True)
        quantiles: torch.Tensor = (directions @ self.mean)[:, None] + deviations * torch.special.ndtri(levels)
        return quantiles


@dataclass(frozen=True, eq=False)
class GaussianMixture(Density):
    """The mixture Σ_k w_k N(m_k, C_k) of weights (K,), means (K, D) and covariances (K, D, D).

    Raises ``ValueError`` for shapes that do not fit, weights that are not > 0 or do not sum to 1, means that are not
    finite and covariances that are not SPD.
    """

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    def __post_init__(self) -> None:
        components, dim = self.means.shape
        if self.weights.shape != (components,) or self.covariances.shape != (components, dim, dim):
            raise ValueError(
                f"GaussianMixture: means of shape {tuple(self.means.shape)} need weights ({components},) and "
                f"covariances ({components}, {dim}, {dim}); got {tuple(self.weights.shape)} and "
                f"{tuple(self.covariances.shape)}"
            )
        if not (bool((self.weights > 0).all()) and abs(float(self.weights.sum()) - 1) <= 1e-6):
            raise ValueError(f"GaussianMixture: weights must be > 0 and sum to 1, got {self.weights.tolist()}")
        require_finite("GaussianMixture", means=self.means)
        for index, covariance in enumerate(self.covariances):
            require_spd("GaussianMixture", f"covariances[{index}]", covariance)

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @cached_property
    def choleskys(self) -> torch.Tensor:
        """Lower-triangular factors of the covariances, shape (K, D, D)."""
        factors: torch.Tensor = torch.linalg.cholesky(self.covariances)
        return factors

    @cached_property
    def precisions(self) -> torch.Tensor:
        """Inverses of the covariances, shape (K, D, D)."""
        return torch.cholesky_inverse(self.choleskys)

    @cached_property
    def log_peaks(self) -> torch.Tensor:
        """log(w_k N(m_k; m_k, C_k)), the height of each weighted component at its own mean, shape (K,)."""
        log_det = self.choleskys.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.weights.log() - log_det - 0.5 * self.dim * math.log(2 * math.pi)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        component = torch.multinomial(self.weights.to(generator.device), n, replacement=True, generator=generator).to(
            self.means.device
        )
        noise = standard_normal(n, self.dim, generator, self.means)
        points = torch.empty_like(noise)
        for k in range(len(self.weights)):
            chosen = component == k
            points[chosen] = self.means[k] + noise[chosen] @ self.choleskys[k].T
        return points

    def component_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return log(w_k N(x; m_k, C_k)) at ``x`` (n, D) for every component, shape (n, K)."""
        centred = x - self.means[:, None, :]
        white = torch.linalg.solve_triangular(self.choleskys, centred.mT, upper=False)
        log_density: torch.Tensor = self.log_peaks[:, None] - 0.5 * (white * white).sum(1)
        return log_density.T

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(self.component_log_prob(x), dim=1)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        centred = self.means[:, None, :] - x
        scores = centred @ self.precisions
        log_terms = self.log_peaks[:, None] - 0.5 * (centred * scores).sum(2)
        # A share of e⁻⁸⁰ adds nothing to the sum that the largest, at least 1/K, dominates; below it float32's exp is
        # several times slower.
        shares = torch.softmax((log_terms - log_terms.amax(0)).clamp(min=-80), dim=0)
        return (shares[:, :, None] * scores).sum(0)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.weights @ self.means
        centred = self.means - mean
        between = torch.einsum("k,ki,kj->ij", self.weights, centred, centred)
        return mean, torch.einsum("k,kij->ij", self.weights, self.covariances) + between


@dataclass(frozen=True, eq=False)
class Empirical(Law):
    """The law of a fixed set of reference draws (m, D), sampled without replacement until they run out.

    ``mean`` (D,) and ``covariance`` (D, D) are those of the full run that the draws were thinned from. The law has no
    density.
    """

    draws: torch.Tensor
    mean: torch.Tensor
    covariance: torch.Tensor

    @property
    def dim(self) -> int:
        return self.draws.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` of the draws in random order, shape (n, D); each is used once before any is used again."""
        rounds = -(-n // len(self.draws))
        order = torch.cat(
            [torch.randperm(len(self.draws), generator=generator, device=generator.device) for _ in range(rounds)]
        )
        return self.draws[order[:n].to(self.draws.device)]

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, self.covariance
