"""What a solver gives back for one time: every estimate can be sampled, some have a density.

Measures dispatch on these types. Points have shape (n, D), float64 on the CPU by the time they are measured.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from problems.laws import Density, Gaussian, Law
from problems.linear_algebra import log_sum_exp
from problems.observations import Likelihood
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian, condition_grid
from problems.references.grid_law import GridLaw

LogLikelihood = Callable[[torch.Tensor], torch.Tensor]

# Draws by which an estimate is conditioned that knows no better way.
CONDITIONING_DRAWS = 2**15


class Conditioned(NamedTuple):
    """An estimate given an observation, log p(y) under what it was before, and (E L)² / E L² of the likelihood L.

    The last is the share of draws from before that stays effective: an effective sample size per draw (Kong, Liu,
    Wong, J. Am. Stat. Assoc. 89, 1994).
    """

    estimate: Estimate
    log_evidence: float
    effective_share: float


def importance(log_weights: torch.Tensor, log_likelihood: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Return new normalised log-weights (n,), the log-evidence Σ w L and the share that stays effective.

    ``log_weights`` (n,) are normalised. Raises ``ImpossibleObservation`` where the likelihood is NaN or +inf at some
    point, or zero at all of them.
    """
    undefined = int((log_likelihood.isnan() | (log_likelihood == torch.inf)).sum())
    if undefined:
        raise ImpossibleObservation(f"the likelihood is NaN or infinite at {undefined} of {len(log_likelihood)} points")
    joint = log_weights.double() + log_likelihood.double()
    log_evidence = log_sum_exp(joint)
    if log_evidence == -math.inf:
        raise ImpossibleObservation(f"the likelihood is zero at all of {len(log_likelihood)} points")
    log_square = log_sum_exp(joint + log_likelihood.double())
    return joint - log_evidence, log_evidence, min(1.0, math.exp(2 * log_evidence - log_square))


class Estimate(ABC):
    """A solver's answer at one time."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` points distributed as the estimate, shape (n, D)."""

    @abstractmethod
    def defect(self) -> str | None:
        """Return what makes the estimate unusable (a NaN, say), or ``None`` when nothing does."""

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the estimate given an observation with this log-likelihood, (n, D) → (n,): Bayes' rule.

        By default weighted draws. Raises ``ImpossibleObservation`` where nothing of the estimate would be left.
        """
        return Particles(self.sample(CONDITIONING_DRAWS, generator)).condition(log_likelihood, generator)


@dataclass(frozen=True, eq=False)
class Particles(Estimate):
    """Points (n, D) with optional log-weights (n,), which need not be normalised."""

    points: torch.Tensor
    log_weights: torch.Tensor | None = None

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` of the particles: all different while they last if unweighted, else drawn by weight."""
        if self.log_weights is None:
            rounds = -(-n // len(self.points))
            order = torch.cat([torch.randperm(len(self.points), generator=generator) for _ in range(rounds)])[:n]
        else:
            weights = torch.softmax(self.log_weights.double(), dim=0)
            order = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.points[order]

    def defect(self) -> str | None:
        bad = int((~torch.isfinite(self.points)).any(dim=1).sum())
        if bad:
            return f"{bad} of {len(self.points)} particles are not finite"
        weights = self.log_weights
        if weights is not None and not (bool((weights > -torch.inf).any()) and bool((weights < torch.inf).all())):
            return "the log-weights hold NaN or +inf, or are all -inf"
        return None

    @cached_property
    def normalised_log_weights(self) -> torch.Tensor:
        """The log-weights (n,), float64, as those of a probability law."""
        if self.log_weights is None:
            return torch.full((len(self.points),), -math.log(len(self.points)), dtype=torch.float64)
        weights = self.log_weights.double()
        return weights - log_sum_exp(weights)

    @cached_property
    def effective_sample_size(self) -> float:
        """1 / Σ w² of the normalised weights."""
        return math.exp(-log_sum_exp(2 * self.normalised_log_weights))

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        weights, log_evidence, share = importance(self.normalised_log_weights, log_likelihood(self.points))
        return Conditioned(Particles(self.points, weights), log_evidence, share)


@dataclass(frozen=True, eq=False, kw_only=True)
class ParticleDensity(Particles):
    """Particles that carry a density: ``log_density`` (n,) at them, known up to a constant and nowhere else.

    As particles they are distributed by the estimated law; the density is what the method says of that law.
    """

    log_density: torch.Tensor

    def defect(self) -> str | None:
        bad = int((~torch.isfinite(self.log_density)).sum())
        return super().defect() or (f"{bad} of {len(self.points)} log-densities are not finite" if bad else None)


class DensityEstimate(Estimate):
    """An estimate whose normalised log-density can be evaluated anywhere."""

    @abstractmethod
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,)."""

    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``n`` draws (n, D), float64, and the log-density at each, (n,)."""
        points = self.sample(n, generator).double()
        return points, self.log_prob(points)

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        draws = self.sample(CONDITIONING_DRAWS, generator)
        uniform = Particles(draws).normalised_log_weights
        _, log_evidence, share = importance(uniform, log_likelihood(draws))
        return Conditioned(Reweighted(self, log_likelihood, log_evidence), log_evidence, share)


@dataclass(frozen=True, eq=False)
class Reweighted(DensityEstimate):
    """A density given an observation: log p(x) = log ``before``(x) + ``log_likelihood``(x) - ``log_evidence``.

    Draws are by weight from several times as many of ``before``, at least ``CONDITIONING_DRAWS``: with repetitions.
    """

    before: DensityEstimate
    log_likelihood: LogLikelihood
    log_evidence: float

    @property
    def dim(self) -> int:
        return self.before.dim

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.before.log_prob(x) + self.log_likelihood(x) - self.log_evidence

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        draws = self.before.sample(max(4 * n, CONDITIONING_DRAWS), generator)
        weights, _, _ = importance(Particles(draws).normalised_log_weights, self.log_likelihood(draws))
        return Particles(draws, weights).sample(n, generator)

    def defect(self) -> str | None:
        return self.before.defect()


@dataclass(frozen=True, eq=False)
class GridDensity(DensityEstimate):
    """A density on a one-dimensional grid: the mass of each cell, normalised by the solver."""

    law: GridLaw

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.law.log_prob(x)

    def defect(self) -> str | None:
        masses = self.law.masses
        if not bool(torch.isfinite(masses).all()):
            return "the grid density is not finite"
        if float(masses.min()) < -1e-10:
            return f"the grid density has a negative cell of mass {float(masses.min()):.3g}"
        return None

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        posterior = condition_grid(self.law, log_likelihood)
        assert isinstance(posterior.law, GridLaw)
        return Conditioned(GridDensity(posterior.law), posterior.log_evidence, posterior.effective_share)


@dataclass(frozen=True, eq=False)
class Exact(Estimate):
    """A law of ``problems.laws`` taken as the answer."""

    law: Law

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator)

    def defect(self) -> str | None:
        mean, covariance = self.law.moments()
        if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
            return "the moments of the law are not finite"
        return None

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the exact posterior where it has a closed form or a grid, else weighted draws."""
        if isinstance(self.law, Gaussian) and isinstance(log_likelihood, Likelihood) and log_likelihood.linear_gaussian:
            posterior = condition_gaussian(self.law, log_likelihood)
        elif isinstance(self.law, GridLaw):
            posterior = condition_grid(self.law, log_likelihood)
        else:
            return super().condition(log_likelihood, generator)
        return Conditioned(Exact(posterior.law), posterior.log_evidence, posterior.effective_share)


def density_of(estimate: Estimate) -> DensityEstimate | Density | None:
    """Return what evaluates the estimate's normalised log-density, or ``None`` where it has none."""
    if isinstance(estimate, DensityEstimate):
        return estimate
    if isinstance(estimate, Exact) and isinstance(estimate.law, Density):
        return estimate.law
    return None


def draws_of(
    density: DensityEstimate | Density, n: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``n`` draws (n, D), float64, and the log-density at each, (n,); maps are not inverted for that."""
    if isinstance(density, DensityEstimate):
        return density.sample_with_log_prob(n, generator)
    points = density.sample(n, generator).double()
    return points, density.log_prob(points)
