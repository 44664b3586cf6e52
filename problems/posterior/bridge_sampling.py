r"""The normaliser of an unnormalised density from draws of its law, by bridge sampling.

For draws x of p = exp(f)/Z and draws y of a known density q, both sides of a decision "whose draw is it?" bring out
Z: the optimal bridge of Meng and Wong (1996, Stat. Sinica 6), which is Bennett's acceptance ratio (1976, J. Comput.
Phys. 22), is the c = log Z that solves

    Σ_i σ(c - ℓ(x_i) - κ) = Σ_j σ(ℓ(y_j) - c + κ),    ℓ = f - log q,  κ = log(n/m),

for n draws x and m draws y; its left-hand side rises and its right-hand side falls in c. Here q is the Gaussian with
mean and covariance of one half of the draws and x the other half, then the other way round (Overstall and Forster
2010, Comput. Stat. Data Anal. 54: draws that q was fitted to would bias Z); the two results are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit

from problems.laws import Gaussian
from problems.problem import Evidence

LogDensity = Callable[[torch.Tensor], torch.Tensor]

BATCHES = 40
# Points at which the density is evaluated at a time.
TILE = 512


def log_normaliser(log_density: LogDensity, draws: torch.Tensor, generator: torch.Generator) -> Evidence:
    """Return log ∫ exp(f) and its standard error, given f: (n, D) → (n,) and draws (n, D) of exp(f)/Z, float64.

    The draws may be a Markov chain, or chains one after the other: their share of the error is that of the means of 40
    consecutive batches. It presumes that both laws overlap; coordinates in which the law is nearly Gaussian help.

    Raises ``ValueError`` for fewer than 10 D draws or fewer than 800, and ``ArithmeticError`` where f is NaN or +inf at
    some point or no draw lies where the other law has any density.
    """
    n, dim = draws.shape
    if n < max(10 * dim, 20 * BATCHES):
        raise ValueError(f"log_normaliser: at least {max(10 * dim, 20 * BATCHES)} draws are needed, got {n}")
    halves = draws[: n // 2], draws[n // 2 :]
    found = []
    for fitted, kept in (halves, halves[::-1]):
        centred = fitted - fitted.mean(0)
        proposal = Gaussian(fitted.mean(0), centred.T @ centred / (len(fitted) - 1))
        proposed = proposal.sample(len(kept), generator)
        ratios = [(_evaluate(log_density, x) - proposal.log_prob(x)).numpy() for x in (kept, proposed)]
        found.append(acceptance_ratio(*ratios))
    return Evidence(
        0.5 * (found[0].log_value + found[1].log_value),
        0.5 * math.hypot(found[0].standard_error, found[1].standard_error),
    )


def acceptance_ratio(target: np.ndarray, proposal: np.ndarray) -> Evidence:
    """Return c = log Z and its standard error from ℓ at the draws of p and of q, shapes (n,) and (m,).

    Those of q are independent. The error is that of the delta method: of both sums' difference, over its slope in c.

    Raises ``ArithmeticError`` where ℓ is not finite at a draw of p, and where the two laws do not overlap.
    """
    offset = math.log(len(target) / len(proposal))
    target, proposal = target + offset, proposal + offset

    def excess(c: float) -> float:
        return float(expit(c - target).sum() - expit(proposal - c).sum())

    if not np.isfinite(target).all():
        raise ArithmeticError(f"bridge sampling: {int((~np.isfinite(target)).sum())} draws have no finite density")
    possible = proposal[proposal > -np.inf]
    if not len(possible):
        raise ArithmeticError("bridge sampling: the two laws do not overlap")
    low, high = min(target.min(), possible.min()) - 50.0, max(target.max(), possible.max()) + 50.0
    c = float(brentq(excess, low, high, xtol=1e-12))
    missed, taken = expit(c - target), expit(proposal - c)
    slope = float((missed * (1 - missed)).sum() + (taken * (1 - taken)).sum())
    if slope < 1.0:
        raise ArithmeticError("bridge sampling: the two laws do not overlap")
    means = np.array([batch.mean() for batch in np.array_split(missed, BATCHES)])
    variance = len(missed) ** 2 * float(means.var(ddof=1)) / BATCHES + len(taken) * float(taken.var(ddof=1))
    return Evidence(c, math.sqrt(variance) / slope)


def _evaluate(log_density: LogDensity, x: torch.Tensor) -> torch.Tensor:
    values = torch.cat([log_density(tile).double() for tile in x.split(TILE)])
    undefined = int((values.isnan() | (values == torch.inf)).sum())
    if undefined:
        raise ArithmeticError(f"bridge sampling: the log-density is NaN or +inf at {undefined} of {len(x)} points")
    return values
