"""How far a density can be trusted as a proposal for another: the Pareto tail of the importance weights.

Above a high threshold u the ratios w = p/q of draws of q look like u + a generalised Pareto variable of density

    (1/σ) (1 + k y/σ)^(-1/k - 1),   y = w - u ≥ 0,

and w has finite moments below order 1/k. Below k = 0.7 (for S draws: below 1 - 1/log₁₀ S) estimates weighted by w are
reliable, and q is near p; beyond 1 they have no mean to converge to. The smoothed weights replace the largest by the
expected order statistics of the fit (Vehtari, Simpson, Gelman, Yao, Gabry, J. Mach. Learn. Res. 25, 2024). The fit is
the empirical Bayes estimate of Zhang and Stephens (Technometrics 51, 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from problems.arrays import Reals
from problems.laws import Gaussian
from problems.linear_algebra import log_sum_exp
from problems.potentials import FiniteSum, Potential

# Draws that a fit is judged by, of a stream of its own: the judgement is no part of the method.
DRAWS = 4000
STREAM = 20240601

# Points times cases that V is evaluated at in one go.
ELEMENTS = 2**22

LEAST_TAIL = 5

# Ratios that differ by no more than this share of the largest are the same.
ROUNDING = 1e-10


def generalised_pareto(exceedances: Reals) -> tuple[float, float]:
    """Return shape k and scale σ of a generalised Pareto law fitted to ``exceedances`` (n,) > 0.

    With θ = -k/σ the likelihood has one unknown, k(θ) = mean log(1 - θ y): its posterior mean over a grid of θ, which
    is Zhang and Stephens' data-dependent prior. k is then drawn towards ½ with the weight of ten observations.
    """
    y = np.sort(exceedances)
    n = len(y)
    count = 30 + int(math.sqrt(n))
    quartile = y[int(n / 4 + 0.5) - 1]
    theta = 1 / y[-1] + (1 - np.sqrt(count / (np.arange(1, count + 1) - 0.5))) / (3 * quartile)
    shapes = np.log1p(-theta[:, None] * y).mean(1)
    log_likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    chosen = float(weights @ theta / weights.sum())
    k = float(np.log1p(-chosen * y).mean())
    return (n * k + 10 * 0.5) / (n + 10), -k / chosen


@dataclass(frozen=True)
class Smoothed:
    """Importance weights after smoothing: ``k`` of their tail, ``log_weights`` (S,), which sum to 1, and log E_q w."""

    k: float
    log_weights: Reals
    log_mean: float

    @property
    def effective_share(self) -> float:
        """1/(S Σ w²), the share of the draws that stays effective."""
        return float(math.exp(-log_sum_exp(torch.from_numpy(2 * self.log_weights))) / len(self.log_weights))


def pareto_smoothed(log_ratios: Reals) -> Smoothed:
    """Return the smoothed weights of draws whose log p/q, up to a constant, is ``log_ratios`` (S,).

    ``k`` is -inf where the largest ratios are all equal to rounding, as for q = p, and inf where they differ by more
    than the exponents of numbers can hold: nothing is smoothed then.

    Raises ``ValueError`` for fewer than 25 draws, for ratios that are NaN or +inf, and where all are -inf.
    """
    size = len(log_ratios)
    tail = math.ceil(min(0.2 * size, 3 * math.sqrt(size)))
    if tail < LEAST_TAIL:
        raise ValueError(f"importance ratios: at least {5 * LEAST_TAIL} are needed, got {size}")
    largest = float(log_ratios.max())
    if not math.isfinite(largest):
        raise ValueError(f"importance ratios: some log-ratio is NaN or +inf, or all are -inf (largest {largest:g})")
    logs = log_ratios - largest
    order = np.argsort(logs, kind="stable")
    chosen, threshold = order[-tail:], math.exp(logs[order[-tail - 1]])
    exceedances = np.exp(logs[chosen]) - threshold
    if exceedances[-1] <= ROUNDING:
        k = -math.inf
    elif exceedances[0] == 0:
        k = math.inf
    else:
        k, scale = generalised_pareto(exceedances)
        quantiles = -np.log1p(-(np.arange(tail) + 0.5) / tail)
        fitted = threshold + scale * (np.expm1(k * quantiles) / k if k != 0 else quantiles)
        logs = logs.copy()
        logs[chosen] = np.log(np.minimum(fitted, 1.0))
    total = log_sum_exp(torch.from_numpy(logs))
    return Smoothed(k, logs - total, largest + total - math.log(size))


def smoothed_weights(law: Gaussian, potential: Potential, inverse_temperature: float) -> Smoothed:
    """Return the smoothed weights of exp(-βV) against ``law``; their ``log_mean`` estimates log ∫ exp(-βV).

    Raises ``ValueError`` where V is NaN or -inf at a draw.
    """
    draws = law.sample(DRAWS, torch.Generator().manual_seed(STREAM))
    rows = max(1, ELEMENTS // potential.cases) if isinstance(potential, FiniteSum) else DRAWS
    values = torch.cat([potential.value(block) for block in draws.split(rows)])
    return pareto_smoothed((-inverse_temperature * values - law.log_prob(draws)).numpy())
