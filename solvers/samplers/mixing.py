"""R̂ and the effective sample size: whether chains agree, and how many independent draws they are worth."""

from __future__ import annotations

import math

import scipy.special
import scipy.stats
import torch

from problems.validation import require_counts

# R̂ compares at least so many chains, and halves of each.
LEAST_CHAINS, LEAST_STATES = 4, 4


def require_chains(owner: str, particles: int, chains: int) -> None:
    """Raise ``ValueError`` unless ``particles`` are the states of that many ``chains``, as many of each, and enough."""
    require_counts(owner, particles=particles)
    require_counts(owner, at_least=LEAST_CHAINS, chains=chains)
    if particles % chains or particles < LEAST_STATES * chains:
        raise ValueError(
            f"{owner}: particles must be a multiple of chains, at least {LEAST_STATES} of each; "
            f"got {particles} particles of {chains} chains"
        )


def mixing(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return R̂ and the effective sample size of each coordinate of ``states`` (chains, draws, D), shapes (D,).

    Both are of values replaced by the normal scores z of their ranks. R̂ compares halves of chains and is the larger of
    that of x and that of |x - median|: near 1 where all tell the same (Vehtari, Gelman, Simpson, Carpenter, Bürkner,
    Bayesian Analysis 16, 2021). The effective sample size is chains · var(z) / var(mean of z over a chain), which needs
    no autocorrelations and errs by about √(2/(chains - 1)).

    A coordinate that never varies has R̂ = ∞ and an effective sample size of 0.
    """
    half = states.shape[1] // 2
    halves = torch.cat([states[:, :half], states[:, -half:]])
    folded = (halves - halves.flatten(0, 1).median(0).values).abs()
    rhat = torch.maximum(_rhat(normal_scores(halves)), _rhat(normal_scores(folded)))
    scores = normal_scores(states)
    size = len(states) * scores.flatten(0, 1).var(0) / scores.mean(1).var(0)
    return rhat, torch.where(scores.flatten(0, 1).var(0) > 0, size, 0.0)


def normal_scores(states: torch.Tensor) -> torch.Tensor:
    """Return Φ⁻¹((r - 3/8)/(S + 1/4)) of the ranks r of each coordinate among all S = chains · draws.

    ``states`` and the scores are (chains, draws, D); equal values get equal scores.
    """
    ranks = scipy.stats.rankdata(states.flatten(0, 1).numpy(), axis=0)
    scores = scipy.special.ndtri((ranks - 0.375) / (len(ranks) + 0.25))
    return torch.from_numpy(scores).view(states.shape)


def _rhat(states: torch.Tensor) -> torch.Tensor:
    """Return √(((n-1)/n W + B)/W): W the mean variance within chains of n draws, B the variance of their means."""
    draws = states.shape[1]
    within, between = states.var(1).mean(0), states.mean(1).var(0)
    rhat = ((draws - 1) / draws + between / within).sqrt()
    return torch.where(within > 0, rhat, math.inf)
