r"""The normaliser of an unnormalised density from draws of its law, by bridge sampling.

For draws x of p = exp(f)/Z and draws y of a known density q, both sides of a decision "whose draw is it?" bring out
Z: the optimal bridge of Meng and Wong (1996, Stat. Sinica 6), which is Bennett's acceptance ratio (1976, J. Comput.
Phys. 22), is the c = log Z that solves

    Σ_i σ(c - ℓ(x_i) - κ) = Σ_j σ(ℓ(y_j) - c + κ),    ℓ = f - log q,  κ = log(n/m),

for n draws x and m draws y; its left-hand side rises and its right-hand side falls in c. Here q is the Gaussian with
mean and covariance of one half of the draws and x the other half, then the other way round (Overstall and Forster
2010, Comput. Stat. Data Anal. 54: draws that q was fitted to would bias Z); the two results are averaged.

Each half has a part in both results, so their errors are correlated, by a half where p is nearly Gaussian. The draws'
share of the error is therefore the jackknife's, of the average without one of 20 consecutive groups of them, in the fit
of q and as x (Künsch 1989, Ann. Stat. 17); proposals of the q that was stand for those of the new one by their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit

from problems.laws import Gaussian
from problems.problem import Evidence

LogDensity = Callable[[torch.Tensor], torch.Tensor]

BATCHES = 40
GROUPS = 20
# Points at which the density is evaluated at a time.
TILE = 512


@dataclass(frozen=True)
class Side:
    """One half of the draws, which q is fitted to, the other, and draws of q, with their log-densities.

    ``fitted`` (k, D) and ``kept`` (m, D) with f at the latter, (m,); ``proposed`` (m, D) with f and log q, (m,) each.
    """

    fitted: torch.Tensor
    kept: torch.Tensor
    of_kept: torch.Tensor
    proposed: torch.Tensor
    of_proposed: torch.Tensor
    log_proposal: torch.Tensor

    def bridge(self, fitting: torch.Tensor, keeping: torch.Tensor) -> Bridge:
        """Return the bridge from the draws that two masks, (k,) and (m,), select."""
        proposal = fit(self.fitted[fitting])
        log_proposal = proposal.log_prob(self.proposed)
        weights = torch.softmax(log_proposal - self.log_proposal, 0) * len(self.proposed)
        target = self.of_kept[keeping] - proposal.log_prob(self.kept[keeping])
        return bridge(target.numpy(), (self.of_proposed - log_proposal).numpy(), weights.numpy())


def log_normaliser(log_density: LogDensity, draws: torch.Tensor, generator: torch.Generator) -> Evidence:
    """Return log ∫ exp(f) and its standard error, given f: (n, D) → (n,) and draws (n, D) of exp(f)/Z, float64.

    The draws may be a Markov chain, or chains one after the other, that forgets within n/20 draws. The result presumes
    that both laws overlap; coordinates in which the law is nearly Gaussian help.

    Raises ``ValueError`` for fewer than 10 D draws or fewer than 800, and ``ArithmeticError`` where f is NaN or +inf at
    some point or no draw lies where the other law has any density.
    """
    n, dim = draws.shape
    if n < max(10 * dim, 20 * BATCHES):
        raise ValueError(f"log_normaliser: at least {max(10 * dim, 20 * BATCHES)} draws are needed, got {n}")
    halves = draws[: n // 2], draws[n // 2 :]
    groups = [
        torch.arange(len(half)) * (GROUPS // 2) // len(half) + GROUPS // 2 * place for place, half in enumerate(halves)
    ]
    sides = []
    for fitted, kept in (halves, halves[::-1]):
        proposal = fit(fitted)
        proposed = proposal.sample(len(kept), generator)
        values = (_evaluate(log_density, points) for points in (kept, proposed))
        sides.append(Side(fitted, kept, next(values), proposed, next(values), proposal.log_prob(proposed)))

    def bridges(left_out: int) -> list[Bridge]:
        first, second = (group != left_out for group in groups)
        return [sides[0].bridge(first, second), sides[1].bridge(second, first)]

    found = bridges(-1)
    without = np.array([np.mean([each.log_value for each in bridges(group)]) for group in range(GROUPS)])
    of_draws = (GROUPS - 1) * float(without.var())
    of_proposed = 0.25 * sum(each.variance_of_proposed for each in found)
    return Evidence(float(np.mean([each.log_value for each in found])), math.sqrt(of_draws + of_proposed))


def fit(draws: torch.Tensor) -> Gaussian:
    """Return the Gaussian with mean and covariance of draws (n, D)."""
    centred = draws - draws.mean(0)
    return Gaussian(draws.mean(0), centred.T @ centred / (len(draws) - 1))


@dataclass(frozen=True)
class Bridge:
    """c = log Z, σ(c - ℓ(x) - κ) at the draws x of p, (n,), σ(ℓ(y) - c + κ) at those of q, (m,), and the slope in c."""

    log_value: float
    missed: np.ndarray
    taken: np.ndarray
    slope: float

    @property
    def variance_of_proposed(self) -> float:
        """The share of the independent draws of q in the variance of c."""
        return len(self.taken) * float(self.taken.var(ddof=1)) / self.slope**2


def bridge(target: np.ndarray, proposal: np.ndarray, weights: np.ndarray | None = None) -> Bridge:
    """Return the optimal bridge from ℓ at the draws of p and of q, (n,) and (m,), these with ``weights`` of mean 1.

    Raises ``ArithmeticError`` where ℓ is not finite at a draw of p, and where the two laws do not overlap.
    """
    offset = math.log(len(target) / len(proposal))
    target, proposal = target + offset, proposal + offset
    weights = np.ones(len(proposal)) if weights is None else weights

    def excess(c: float) -> float:
        return float(expit(c - target).sum() - weights @ expit(proposal - c))

    if not np.isfinite(target).all():
        raise ArithmeticError(f"bridge sampling: {int((~np.isfinite(target)).sum())} draws have no finite density")
    possible = proposal[proposal > -np.inf]
    if not len(possible):
        raise ArithmeticError("bridge sampling: the two laws do not overlap")
    low, high = min(target.min(), possible.min()) - 50.0, max(target.max(), possible.max()) + 50.0
    c = float(brentq(excess, low, high, xtol=1e-12))
    missed, taken = expit(c - target), expit(proposal - c)
    slope = float((missed * (1 - missed)).sum() + weights @ (taken * (1 - taken)))
    if slope < 1.0:
        raise ArithmeticError("bridge sampling: the two laws do not overlap")
    return Bridge(c, missed, taken, slope)


def acceptance_ratio(target: np.ndarray, proposal: np.ndarray) -> Evidence:
    """Return c = log Z and its standard error from ℓ at the draws of p and of a given q, shapes (n,) and (m,).

    Those of q are independent, those of p perhaps a chain: their share of the error is that of the means of 40
    consecutive batches. The error is that of the delta method: of both sums' difference, over its slope in c.

    Raises ``ArithmeticError`` as ``bridge`` does.
    """
    found = bridge(target, proposal)
    means = np.array([batch.mean() for batch in np.array_split(found.missed, BATCHES)])
    of_target = (len(target) / found.slope) ** 2 * float(means.var(ddof=1)) / BATCHES
    return Evidence(found.log_value, math.sqrt(of_target + found.variance_of_proposed))


def _evaluate(log_density: LogDensity, x: torch.Tensor) -> torch.Tensor:
    values = torch.cat([log_density(tile).double() for tile in x.split(TILE)])
    undefined = int((values.isnan() | (values == torch.inf)).sum())
    if undefined:
        raise ArithmeticError(f"bridge sampling: the log-density is NaN or +inf at {undefined} of {len(x)} points")
    return values
