"""The predictions of a posterior for held-out cases: p(y) = E_x[ p(y | x) ], its mean of the likelihood.

Particles are averaged with their weights, all of them up to ``draws`` (a random subset beyond); other estimates are
sampled. The standard error is foremost that over cases: how the figure would change with other held-out cases, not
how it differs between two solvers on the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import blocks as blocks_of
from harness.measure.measure import Figure, Measure, Subject
from solvers.estimates import Estimate, Nodes, Particles

JACKKNIFE_BLOCKS = 32
# Likelihoods (points × cases) evaluated at a time: 32 MiB.
LIKELIHOODS_PER_TILE = 2**22


@dataclass(frozen=True)
class Accuracy(Measure):
    """Share of held-out cases whose observed label the posterior predictive law gives probability above one half.

    Standard error: binomial, √(a (1 - a) / cases). The noise of finitely many posterior draws is not in it.
    """

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def unsuited(self, subject: Subject) -> str | None:
        return without_cases(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        total, _, count = log_predictive(subject, draws, generator)
        share = float(np.mean(total > math.log(0.5)))
        return Figure(
            share, math.sqrt(share * (1 - share) / len(total)), f"{len(total)} cases, {count} posterior draws"
        )


@dataclass(frozen=True)
class LogPredictive(Measure):
    """Mean over held-out cases of log p(y), in nats.

    The standard error adds two variances: of the mean over cases, and of the finitely many posterior draws (a
    delete-block jackknife over them).
    """

    name: ClassVar[str] = "log-predictive"
    version: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = True

    def unsuited(self, subject: Subject) -> str | None:
        return without_cases(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        total, without_one, count = log_predictive(subject, draws, generator)
        value = float(np.mean(total))
        estimator = f"{len(total)} cases, {count} posterior draws"
        if not math.isfinite(value):
            return Figure(value, 0.0, f"{estimator}; {int(np.isneginf(total).sum())} have probability 0")
        over_cases = float(np.var(total, ddof=1)) / len(total) if len(total) > 1 else math.inf
        replicates = without_one.mean(1)
        blocks = len(replicates)
        over_draws = (blocks - 1) * float(np.var(replicates)) if np.isfinite(replicates).all() else math.inf
        return Figure(value, math.sqrt(over_cases + over_draws), estimator)


def without_cases(subject: Subject) -> str | None:
    """Return why there is nothing to predict, or ``None`` when there is."""
    return "the problem has no held-out cases to predict" if subject.problem.prediction is None else None


def log_predictive(subject: Subject, draws: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Return log p(y) of every case (cases,), the same without each block of draws (blocks, cases), and their count.

    Nodes are one block that is never left out: they have no sampling error.

    Raises ``ArithmeticError`` where the probability of a case is NaN.
    """
    assert subject.problem.prediction is not None
    log_likelihood = subject.problem.prediction.log_likelihood
    points, log_weights, groups = _posterior_draws(subject.estimate, draws, generator)
    rows = max(1, LIKELIHOODS_PER_TILE // log_likelihood(points[:1]).shape[1])
    blocks = [torch.from_numpy(block) for block in blocks_of(len(points), JACKKNIFE_BLOCKS, groups)]

    def log_sum(block: torch.Tensor) -> torch.Tensor:
        parts = [log_likelihood(points[part]).double() + log_weights[part, None] for part in block.split(rows)]
        return torch.stack([part.logsumexp(0) for part in parts]).logsumexp(0)

    by_block = torch.stack([log_sum(block) for block in blocks])
    undefined = int(torch.isnan(by_block).any(0).sum())
    if undefined:
        raise ArithmeticError(f"the predictive probability of {undefined} of {by_block.shape[1]} cases is NaN")
    weights = torch.stack([log_weights[block].logsumexp(0) for block in blocks])
    others = [torch.arange(len(blocks)) != block for block in range(len(blocks))]
    without_one = torch.stack([by_block[kept].logsumexp(0) - weights[kept].logsumexp(0) for kept in others])
    total = by_block.logsumexp(0)
    if isinstance(subject.estimate, Nodes) and len(subject.estimate.points) <= draws:
        without_one = total[None]
    return total.numpy(), without_one.numpy(), len(points)


def _posterior_draws(
    estimate: Estimate, draws: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return points (n, D), their normalised log-weights (n,) and the groups (n,) that depend on each other."""
    groups = None
    if not isinstance(estimate, Particles):
        points = estimate.sample(draws, generator).double()
    elif len(estimate.points) <= draws:
        points, log_weights, groups = estimate.points.double(), estimate.log_weights, estimate.groups
        if log_weights is not None:
            return points, torch.log_softmax(log_weights.double(), dim=0), groups
    else:
        places = estimate.places(draws, generator)
        points = estimate.points[places].double()
        groups = None if estimate.groups is None else estimate.groups[places]
    return points, torch.full((len(points),), -math.log(len(points)), dtype=torch.float64), groups
