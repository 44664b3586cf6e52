"""What a solver gives back for one time: every estimate can be sampled, some have a density.

An estimate answers for itself: its moments, its density and, on the line, its quantiles and its distribution function
are its own where it knows them, else those of draws from the generator that is passed in. Points have shape (n, D),
float64 on the CPU by the time they are measured.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from problems.laws import Density, Gaussian, Law
from problems.linear_algebra import log_sum_exp
from problems.observations import Likelihood
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian, condition_grid
from problems.references.grid_law import GridLaw

LogLikelihood = Callable[[torch.Tensor], torch.Tensor]

# Draws by which an estimate is conditioned that knows no better way.
CONDITIONING_DRAWS = 2**15
# Draws of which moments, quantiles and masses are taken where an estimate doesn't know its own.
SUMMARY_DRAWS = 2**14


class Conditioned(NamedTuple):
    """The result of Bayes' rule: an estimate given an observation y, with log p(y) and an effective share.

    ``log_evidence`` is log p(y) under the estimate from before, ``effective_share`` is (E L)² / E L² of the likelihood
    L, in (0, 1]: the share of draws from before that stays effective: an effective sample size per draw (Kong, Liu,
    Wong, J. Am. Stat. Assoc. 89, 1994).
    """

    estimate: Estimate
    log_evidence: float
    effective_share: float


def importance(log_weights: torch.Tensor, log_likelihood: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Return new normalised log-weights (n,), the log-evidence log Σ w L and the share that stays effective.

    ``log_weights`` (n,) are normalised, ``log_likelihood`` (n,) are the log L at the same points. Raises
    ``ImpossibleObservation`` where the likelihood is NaN or +inf at some point, or zero at all of them.
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
    """An estimate is a solver's answer at one time.

    A subclass implements ``dim``, ``sample`` and ``defect``; the rest has defaults by draws.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """The dimension D."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` points distributed as the estimate, shape (n, D)."""

    @abstractmethod
    def defect(self) -> str | None:
        """Return in words what makes the estimate unusable (a NaN, say), or ``None`` when nothing does."""

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the estimate given an observation, by Bayes' rule; ``log_likelihood`` maps (n, D) to (n,).

        By default these are weighted draws. Raises ``ImpossibleObservation`` where nothing of the estimate would be
        left.
        """
        return Particles(self.sample(CONDITIONING_DRAWS, generator)).condition(log_likelihood, generator)

    @property
    def density(self) -> DensityEstimate | Density | None:
        """The object whose ``log_prob`` is the normalised log-density, or ``None`` where there is no density."""
        return None

    @property
    def grid(self) -> GridLaw | None:
        """The grid that the estimate is, or ``None`` where it is none."""
        return None

    @property
    def effective_sample_size(self) -> float | None:
        """The number of equal particles that weighted ones are worth, or ``None`` where there are no particles."""
        return None

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (D,) and the covariance (D, D), float64; draws come from ``generator`` where needed."""
        return self._draws(generator).moments(generator)

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        """Return the quantiles at ``levels`` of an estimate in one dimension."""
        return self._draws(generator).quantiles(levels, generator)

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        """Return the mass below ``place`` of an estimate in one dimension; of what lies just there half counts."""
        return self._draws(generator).cumulative(place, generator)

    def _draws(self, generator: torch.Generator) -> Particles:
        return Particles(self.sample(SUMMARY_DRAWS, generator))


@dataclass(frozen=True, eq=False)
class Particles(Estimate):
    """Particles are points (n, D) with optional log-weights (n,), which need not be normalised.

    ``groups`` (n,), whole numbers, say which particles depend on each other: those of one group may, as states of one
    chain or descendants of one particle do; groups are independent. ``None``: all particles are. Standard errors are
    from the spread between groups.
    """

    points: torch.Tensor
    log_weights: torch.Tensor | None = None
    groups: torch.Tensor | None = field(default=None, kw_only=True)

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` of the particles, shape (n, D).

        Unweighted ones are all different while they last; weighted ones are drawn by weight, with replacement.
        """
        return self.points[self.places(n, generator)]

    def places(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return which of the particles ``sample`` draws, shape (n,)."""
        if self.log_weights is None:
            rounds = -(-n // len(self.points))
            return torch.cat([torch.randperm(len(self.points), generator=generator) for _ in range(rounds)])[:n]
        weights = torch.softmax(self.log_weights.double(), dim=0)
        return torch.multinomial(weights, n, replacement=True, generator=generator)

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
        """The log-weights (n,), float64, scaled so that the weights sum to 1."""
        if self.log_weights is None:
            return torch.full((len(self.points),), -math.log(len(self.points)), dtype=torch.float64)
        weights = self.log_weights.double()
        return weights - log_sum_exp(weights)

    @cached_property
    def effective_sample_size(self) -> float:
        """The effective sample size 1 / Σ w² of the normalised weights, from 1 to n."""
        return math.exp(-log_sum_exp(2 * self.normalised_log_weights))

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        points, weights = self.points.double(), self.normalised_log_weights.exp()
        # numpy's einsum adds on one thread, in one order: the bits must not depend on the number of threads.
        mean = torch.from_numpy(np.einsum("n,ni->i", weights.numpy(), points.numpy()))
        centred = (points - mean).numpy()
        return mean, torch.from_numpy(np.einsum("n,ni,nj->ij", weights.numpy(), centred, centred))

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        x, weights = self.points.double()[:, 0].numpy(), self.normalised_log_weights.exp().numpy()
        order = np.argsort(x)
        place = np.searchsorted(np.cumsum(weights[order]), np.asarray(levels)).clip(max=len(x) - 1)
        return [float(value) for value in x[order[place]]]

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        x, weights = self.points.double()[:, 0], self.normalised_log_weights.exp()
        return float(weights[x < place].numpy().sum() + 0.5 * weights[x == place].numpy().sum())

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        weights, log_evidence, share = importance(self.normalised_log_weights, log_likelihood(self.points))
        return Conditioned(Particles(self.points, weights, groups=self.groups), log_evidence, share)


@dataclass(frozen=True, eq=False, kw_only=True)
class ParticleDensity(Particles):
    """Particles that carry a density: ``log_density`` (n,) at them, known up to a constant and nowhere else.

    As particles they are distributed by the estimated law; the density is what the method says of that law.
    """

    log_density: torch.Tensor

    def defect(self) -> str | None:
        bad = int((~torch.isfinite(self.log_density)).sum())
        return super().defect() or (f"{bad} of {len(self.points)} log-densities are not finite" if bad else None)


class Nodes(Particles):
    """Weighted points that a method has placed by a rule, as those of a quadrature, instead of drawing them.

    As many exact draws are no match for them: their solver has no ``sample_size``. They are a law themselves, without
    sampling error, of which draws may be taken, independently and by weight. A density is not to be estimated from
    them: they keep a distance from each other that draws do not keep.
    """

    def places(self, n: int, generator: torch.Generator) -> torch.Tensor:
        weights = self.normalised_log_weights.exp()
        return torch.multinomial(weights, n, replacement=True, generator=generator)


class DensityEstimate(Estimate):
    """An estimate whose normalised log-density can be evaluated anywhere."""

    @abstractmethod
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,)."""

    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``n`` draws (n, D), float64, and the log-density at each, (n,)."""
        points = self.sample(n, generator).double()
        return points, self.log_prob(points)

    @property
    def density(self) -> DensityEstimate:
        return self

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

    @property
    def grid(self) -> GridLaw:
        return self.law

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return self.law.moments()

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        return grid_quantiles(self.law, levels)

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        return grid_cumulative(self.law, place)

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        posterior = condition_grid(self.law, log_likelihood)
        assert isinstance(posterior.law, GridLaw)
        return Conditioned(GridDensity(posterior.law), posterior.log_evidence, posterior.effective_share)


@dataclass(frozen=True, eq=False)
class Exact(Estimate):
    """An exact estimate is a law of ``problems.laws`` taken as the answer."""

    law: Law

    @property
    def dim(self) -> int:
        return self.law.dim

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self.law.sample(n, generator)

    def defect(self) -> str | None:
        mean, covariance = self.law.moments()
        # Heavy tails may have no variance, which is then +inf.
        if not bool(torch.isfinite(mean).all() and (covariance > -torch.inf).all()):
            return "the moments of the law are not finite"
        return None

    @property
    def density(self) -> Density | None:
        return self.law if isinstance(self.law, Density) else None

    @property
    def grid(self) -> GridLaw | None:
        return self.law if isinstance(self.law, GridLaw) else None

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return self.law.moments()

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        if isinstance(self.law, Gaussian):
            mean, std = float(self.law.mean), math.sqrt(float(self.law.covariance))
            return [mean + std * float(ndtri(level)) for level in levels]
        if isinstance(self.law, GridLaw):
            return grid_quantiles(self.law, levels)
        ones = torch.ones(1, 1, dtype=torch.float64)
        known = self.law.marginal_quantiles(ones, torch.tensor(levels, dtype=torch.float64))
        return super().quantiles(levels, generator) if known is None else [float(value) for value in known[0]]

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        if isinstance(self.law, Gaussian):
            return float(ndtr((place - float(self.law.mean)) / math.sqrt(float(self.law.covariance))))
        if isinstance(self.law, GridLaw):
            return grid_cumulative(self.law, place)
        return super().cumulative(place, generator)

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the exact posterior where it has a closed form or a grid, else weighted draws."""
        if isinstance(self.law, Gaussian) and isinstance(log_likelihood, Likelihood) and log_likelihood.linear_gaussian:
            posterior = condition_gaussian(self.law, log_likelihood)
        elif isinstance(self.law, GridLaw):
            posterior = condition_grid(self.law, log_likelihood)
        else:
            return super().condition(log_likelihood, generator)
        return Conditioned(Exact(posterior.law), posterior.log_evidence, posterior.effective_share)


def grid_quantiles(law: GridLaw, levels: Sequence[float]) -> list[float]:
    """Return the quantiles of a one-dimensional grid at ``levels``, each in (0, 1)."""
    return [float(value) for value in law.quantile(torch.tensor(levels, dtype=torch.float64))]


def grid_cumulative(law: GridLaw, place: float) -> float:
    """Return the mass of a one-dimensional grid below ``place``."""
    return float(law.cumulative(torch.tensor([place], dtype=torch.float64)))
