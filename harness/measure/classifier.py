"""The accuracy at which a classifier tells draws of a fit from draws of the truth (Lopez-Paz and Oquab 2017, ICLR).

The best accuracy over all classifiers, with equal classes, is ½ + ½ TV(fit, true): a trained one's on cases that it
has not seen is a lower bound of that, up to noise. It is asked of a half of the draws that is held out: given the
classifier the cases are then independent. Over folds they are not, since each fold's training draws are the others'
cases, and no unbiased estimate of the variance exists (Bengio, Grandvalet, J. Mach. Learn. Res. 5, 2004); a binomial
error is then too small by 1.15 to 1.6.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import allowing_for, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import grouped_sides, placed, unsampled
from problems.arrays import Array, Reals
from solvers.estimates import Estimate, Nodes

MOST_DRAWS = 2000
LEAST = 20
LEAST_GROUPS = 4
RESAMPLES = 4
"""Times that training draws are drawn again from themselves, each for a classifier of its own, to see what they do."""
HIDDEN = 64
EPOCHS = 20
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1.0
LEAST_VARIANCE = 1e-10
"""Directions with less of the largest variance than this are left out: there the draws lie in a plane."""
LARGEST = 1e100
"""Of coordinates whose squares and sums are far from overflowing."""


@dataclass(frozen=True)
class C2ST(Measure):
    """Accuracy at which a classifier tells fit from truth on draws it was not trained on: ½ where it cannot.

    Up to 2000 draws a side, as many of either, none of them in both. The classifier is a perceptron of one layer of 64
    units (as in Lueckmann et al. 2021, AISTATS, but smaller), of scikit-learn, trained on one half of the draws and
    asked about the other. It is given coordinates that are white over the training draws of both sides, in which narrow
    directions count as much as wide ones, and the logarithm of their norm, by which tails differ. Its power grows with
    the number of draws: compare figures of equal numbers. Standard error: binomial, at the accuracy found with two more
    cases on either side (Agresti and Coull, Am. Stat. 52, 1998), or over groups of draws that depend on each other,
    which the halves keep whole; and what other training draws would change, by a bootstrap of them. Infinite for fewer
    than four groups.
    """

    name: ClassVar[str] = "c2st"
    version: ClassVar[int] = 3

    def proper(self, estimate: Estimate) -> bool:
        """Return whether draws can be new: then no classifier expects to be right in less than half of the cases."""
        return not isinstance(estimate, Nodes)

    def unsuited(self, subject: Subject) -> str | None:
        if isinstance(subject.estimate, Nodes):
            return placed(subject.estimate)
        return unsampled(subject, LEAST)

    def least_draws(self, subject: Subject) -> int:
        """Return how many draws a classifier is trained on and asked about."""
        return LEAST

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        x, y, groups = grouped_sides(subject, min(draws, MOST_DRAWS), generator)
        count = min(len(x), len(y))
        groups = None if groups is None else groups[:count]
        few = groups is not None and len(groups.unique()) < LEAST_GROUPS
        groups = None if few else groups
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        right, held_out, trained = told_apart(x[:count].numpy(), y[:count].numpy(), seed, groups)
        estimator = f"perceptron, {count} draws a side, half of them held out"
        of_fit, of_true = right[held_out < count], right[held_out >= count]
        accuracy = 0.5 * float(of_fit.mean() + of_true.mean())
        padded = (accuracy * len(right) + 2) / (len(right) + 4)
        variance = padded * (1 - padded) / len(right)
        if groups is not None:
            there = groups[torch.from_numpy(held_out[held_out < count])]
            clustered = 0.25 * (mean_variance(of_fit, there) + float(of_true.var()) / len(of_true))
            variance = max(variance, clustered)
        variance = allowing_for(RESAMPLES - 1, trained, variance + trained)
        return Figure(accuracy, math.inf if few else math.sqrt(variance), estimator)


def told_apart(x: Reals, y: Reals, seed: int, groups: torch.Tensor | None = None) -> tuple[Reals, Array, float]:
    """Return whether (k,) the classifier is right about each held-out draw, and which (k,) of ``x``, then ``y``, it is.

    Samples ``x`` and ``y`` (n, D) are of equal size; a half of either is for training. Those of ``x`` that are of one
    of ``groups`` (n,) stay together. Last is the variance that the accuracy has over training draws and over where
    training begins: that between classifiers of training draws, or whole groups, that are drawn again with replacement.
    One thread, one result.
    """
    # scikit-learn takes seconds to import, which other measures need not wait for
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    points = np.concatenate([x, y])
    labels = np.repeat([0, 1], len(x))
    chance = np.random.default_rng(seed)
    training = np.concatenate([_half(len(x), groups, chance), _half(len(y), None, chance)])
    held_out = np.flatnonzero(~training)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is part of the classifier
        inputs = _inputs(points, training)

        def answers(chosen: Array, start: int) -> Reals:
            """Return 1 for each held-out draw that a classifier of the ``chosen`` ones is right about, else 0, (k,)."""
            classifier = MLPClassifier(
                (HIDDEN,), alpha=WEIGHT_DECAY, learning_rate_init=LEARNING_RATE, max_iter=EPOCHS, random_state=start
            ).fit(inputs[chosen], labels[chosen])
            return np.asarray(classifier.predict(inputs[held_out]) == labels[held_out], dtype=float)

        of_all = answers(np.flatnonzero(training), seed)
        sides = [(np.flatnonzero(training[: len(x)]), groups), (len(x) + np.flatnonzero(training[len(x) :]), None)]
        again = np.stack(
            [
                answers(np.concatenate([_resampled(*side, chance) for side in sides]), seed + number)
                for number in range(1, RESAMPLES + 1)
            ]
        )
    # what cases alone make of the differences between classifiers is not theirs
    by_cases = again.var(axis=0, ddof=1).mean() - again.mean(1).var(ddof=1)
    spread = again.mean(1).var(ddof=1) - by_cases / (len(held_out) - 1)
    return of_all, held_out, max(0.0, float(spread))


def _resampled(places: Array, groups: torch.Tensor | None, chance: np.random.Generator) -> Array:
    """Return ``places`` (k,) drawn again with replacement, (about k,), those of one of ``groups`` (n,) together."""
    if groups is None:
        return np.asarray(chance.choice(places, len(places)))
    members = np.unique(groups.numpy()[places], return_inverse=True)[1]
    parts = np.split(places[np.argsort(members, kind="stable")], np.cumsum(np.bincount(members))[:-1])
    return np.concatenate([parts[number] for number in chance.integers(len(parts), size=len(parts))])


def _half(count: int, groups: torch.Tensor | None, chance: np.random.Generator) -> Array:
    """Return which of so many draws are the half for training, (count,), that no group is in both halves of."""
    place = np.arange(count) if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]
    order = chance.permutation(int(place.max()) + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[place] < len(order) // 2)


def _inputs(points: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return whitened points and the standardised logarithm of their norm, by the moments of the training rows."""
    largest = np.abs(points).max(0)
    points = points / np.where(largest > LARGEST, largest, 1.0)
    centred = points - points[training].mean(0)
    # to a common scale first, for coordinates in units many orders of magnitude apart
    spread = centred[training].std(0)
    centred = centred / np.where(spread > 0, spread, 1.0)
    variances, axes = np.linalg.eigh(np.cov(centred[training], rowvar=False).reshape(2 * (centred.shape[1],)))
    kept = variances > LEAST_VARIANCE * variances[-1]
    white = centred @ axes[:, kept] / np.sqrt(variances[kept])
    norm = np.log(np.finfo(float).tiny + (white**2).sum(1))
    return np.column_stack([white, (norm - norm[training].mean()) / max(norm[training].std(), 1e-12)])
