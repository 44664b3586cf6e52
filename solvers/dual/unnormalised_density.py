"""A density known up to its constant, on a region: normalised, sampled and conditioned without the truth.

In one and two dimensions a grid gives the constant, on the cells that hold the mass. Above, it is the mean of ρ̃/q over
draws of a proposal q, a Student t with ten degrees of freedom whose mean and covariance are fitted to ρ̃ itself: each
round draws from q and takes the moments under the weights (ρ̃/q)^a, with the largest a ≤ 1 that leaves a tenth of the
draws effective (adaptive importance sampling with tempered weights; Bugallo et al., IEEE Signal Process. Mag. 34, 2017;
Koblents & Míguez, Stat. Comput. 25, 2015). The last draws serve for nothing but the constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp

from problems.laws import Gaussian, standard_normal
from problems.linear_algebra import weighted_moments
from solvers.dual.regions import Region
from solvers.estimates import Conditioned, DensityEstimate, LogLikelihood, Particles, importance
from solvers.solver import Diverged
from solvers.threads import workers

LogDensity = Callable[[torch.Tensor], torch.Tensor]

BLOCK_POINTS = 2048
# Cells a side to find the mass, and then to integrate it.
CELLS = {1: (2000, 8192), 2: (160, 320)}
NEGLIGIBLE_CELL = 1e-14
PROPOSALS = 2**14
DEGREES = 10
MOST_ROUNDS = 30
TEMPERED_SHARE = 0.1
# A covariance is fitted to no fewer effective draws than these times D.
FEWEST_PER_DIMENSION = 2
# Draws are chosen by weight from a pool with this many times their effective number, as long as the pool is not larger.
POOL = 4
LARGEST_POOL = 2**19


@dataclass(frozen=True, eq=False)
class Student:
    """The Student t of ``DEGREES`` degrees of freedom with the moments of ``moments``."""

    moments: Gaussian

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` draws, shape (n, D)."""
        normals = standard_normal(n, self.moments.dim, generator, self.moments.mean)
        squares = standard_normal(n, DEGREES, generator, normals).square().sum(1)
        scale = ((DEGREES - 2) / squares).sqrt()
        return self.moments.mean + (scale[:, None] * normals) @ self.moments.cholesky.T

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,)."""
        dim, cholesky = self.moments.dim, self.moments.cholesky
        white = torch.linalg.solve_triangular(cholesky, (x - self.moments.mean).T, upper=False)
        constant = math.lgamma((DEGREES + dim) / 2) - math.lgamma(DEGREES / 2)
        constant -= 0.5 * dim * math.log((DEGREES - 2) * math.pi) + float(cholesky.diagonal().log().sum())
        log_density: torch.Tensor = constant - 0.5 * (DEGREES + dim) * torch.log1p(
            (white * white).sum(0) / (DEGREES - 2)
        )
        return log_density


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule has nodes (n, D) with normalised log-weights (n,) that stand for a density, and the log of its constant.

    ``width`` (D,) is that of the cells whose middles the nodes are, and ``proposal`` the law they were drawn from;
    one of them is ``None``.
    """

    nodes: torch.Tensor
    log_weights: torch.Tensor
    log_normaliser: float
    width: torch.Tensor | None = None
    proposal: Student | None = None

    @property
    def effective_sample_size(self) -> float:
        """The effective sample size 1 / Σ w²."""
        return effective_sample_size(self.log_weights)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (D,) and the covariance (D, D) of the density."""
        return weighted_moments(np.exp(self.log_weights.numpy()), self.nodes.numpy())


@dataclass(frozen=True, eq=False)
class UnnormalisedDensity(DensityEstimate):
    """The law of density ∝ exp(``log_density``) as far as ``region`` reaches, and 0 beyond.

    ``log_density`` maps points (n, D) to (n,). Made by ``normalised``, which finds the ``rule``.
    """

    log_density: LogDensity
    region: Region
    rule: Rule

    @classmethod
    def normalised(
        cls, log_density: LogDensity, region: Region, guess: Gaussian, generator: torch.Generator
    ) -> UnnormalisedDensity:
        """Return the density with its constant; the proposal is fitted from the moments of ``guess`` on.

        Raises ``Diverged`` where the log-density is NaN or +inf, or no mass is found.
        """
        restricted = _restricted(log_density, region)
        rule = _grid_rule(restricted, region) if guess.dim in CELLS else _proposal_rule(restricted, guess, generator)
        return cls(log_density, region, rule)

    @property
    def dim(self) -> int:
        return self.rule.nodes.shape[1]

    @property
    def effective_share(self) -> float:
        """The effective share of the draws behind the constant; 1 where it comes from a grid."""
        return 1.0 if self.rule.width is not None else self.rule.effective_sample_size / len(self.rule.nodes)

    @property
    def outside(self) -> float:
        """The share of the mass outside the region, where the density is extrapolated."""
        return float(np.exp(self.rule.log_weights[self.region.gauge(self.rule.nodes) > 1].numpy()).sum())

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return _restricted(self.log_density, self.region)(x.double()) - self.rule.log_normaliser

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` points (n, D): uniform in cells chosen by mass, or fresh draws of the proposal chosen by weight.

        Of the latter some are the same, a few in a hundred.
        """
        rule = self.rule
        if rule.width is not None:
            cumulative = np.cumsum(np.exp(rule.log_weights.numpy()))
            levels = torch.rand(n, generator=generator, dtype=torch.float64).numpy() * cumulative[-1]
            cells = np.minimum(np.searchsorted(cumulative, levels, side="right"), len(cumulative) - 1)
            within = torch.rand(n, self.dim, generator=generator, dtype=torch.float64) - 0.5
            return rule.nodes[torch.from_numpy(cells)] + within * rule.width
        assert rule.proposal is not None
        pool = min(LARGEST_POOL, math.ceil(POOL * n / self.effective_share))
        points = rule.proposal.sample(max(pool, n), generator)
        log_weights = self.log_prob(points) - rule.proposal.log_prob(points)
        return Particles(points, log_weights).sample(n, generator)

    def defect(self) -> str | None:
        return None if math.isfinite(self.rule.log_normaliser) else "the density could not be normalised"

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the density times the likelihood, normalised anew.

        Raises ``ImpossibleObservation`` as ``importance`` does, and ``Diverged`` where no mass is found.
        """
        _, log_evidence, share = importance(self.rule.log_weights, log_likelihood(self.rule.nodes))
        before = self.log_density
        posterior = UnnormalisedDensity.normalised(
            lambda x: before(x) + log_likelihood(x), self.region, Gaussian(*self.rule.moments()), generator
        )
        return Conditioned(posterior, log_evidence, share)


def effective_sample_size(log_weights: torch.Tensor) -> float:
    """Return 1 / Σ w² of normalised log-weights (n,)."""
    return math.exp(-float(logsumexp(2 * log_weights.numpy())))


def in_blocks(log_density: LogDensity, x: torch.Tensor) -> torch.Tensor:
    """Return a log-density at points (n, D), shape (n,), by blocks shared out to threads."""
    with workers() as run:
        return torch.cat(run(log_density, x.split(BLOCK_POINTS)))


def _restricted(log_density: LogDensity, region: Region) -> LogDensity:
    """Return the log-density, -inf beyond the region's reach; raises ``Diverged`` where it is NaN or +inf."""

    def restricted(x: torch.Tensor) -> torch.Tensor:
        within = region.gauge(x) <= region.reach
        values = torch.full((len(x),), -torch.inf, dtype=torch.float64)
        if bool(within.any()):
            values[within] = in_blocks(log_density, x[within])
        undefined = int((values.isnan() | (values == torch.inf)).sum())
        if undefined:
            raise Diverged(f"the log-density is NaN or infinite at {undefined} of {len(x)} points")
        return values

    return restricted


def _normalised(log_values: torch.Tensor) -> tuple[torch.Tensor, float]:
    total = float(logsumexp(log_values.numpy()))
    if not math.isfinite(total):
        raise Diverged("the density vanishes wherever it was looked at")
    return log_values - total, total


def _grid_rule(log_density: LogDensity, region: Region) -> Rule:
    """Midpoint rule on the smallest box of cells that holds the mass."""
    lower, upper = region.bounds()
    centre = 0.5 * (lower + upper)
    lower, upper = centre + region.reach * (lower - centre), centre + region.reach * (upper - centre)
    for cells in CELLS[len(centre)]:
        width = (upper - lower) / cells
        axis = torch.arange(cells, dtype=torch.float64) + 0.5
        nodes = lower + width * torch.cartesian_prod(*[axis] * len(centre)).reshape(-1, len(centre))
        log_weights, log_sum = _normalised(log_density(nodes))
        massive = nodes[log_weights > math.log(NEGLIGIBLE_CELL)]
        lower, upper = massive.amin(0) - 2 * width, massive.amax(0) + 2 * width
    return Rule(nodes, log_weights, log_sum + float(width.log().sum()), width=width)


def _proposal_rule(log_density: LogDensity, guess: Gaussian, generator: torch.Generator) -> Rule:
    """Importance sampling from a Student t fitted to the density."""
    proposal = Student(guess)
    for _ in range(MOST_ROUNDS):
        points = proposal.sample(PROPOSALS, generator)
        log_ratio = log_density(points) - proposal.log_prob(points)
        exponent = _tempering(log_ratio)
        log_weights, _ = _normalised(exponent * log_ratio)
        if effective_sample_size(log_weights) < FEWEST_PER_DIMENSION * guess.dim:
            raise Diverged(f"hardly any of {PROPOSALS} draws fell where the density is: its mass could not be found")
        proposal = Student(Gaussian(*weighted_moments(np.exp(log_weights.numpy()), points.numpy())))
        if exponent == 1:
            break
    points = proposal.sample(PROPOSALS, generator)
    log_weights, log_sum = _normalised(log_density(points) - proposal.log_prob(points))
    return Rule(points, log_weights, log_sum - math.log(PROPOSALS), proposal=proposal)


def _tempering(log_ratio: torch.Tensor) -> float:
    """Return the largest exponent ≤ 1, to 1 %, that leaves ``TEMPERED_SHARE`` of the draws effective."""

    def share(exponent: float) -> float:
        weights, _ = _normalised(exponent * log_ratio)
        return effective_sample_size(weights) / len(log_ratio)

    if share(1.0) >= TEMPERED_SHARE:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 0.01 * high and high > 1e-9:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share(middle) >= TEMPERED_SHARE else (low, middle)
    return max(low, 1e-9)
