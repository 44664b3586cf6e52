"""The accuracy at which a classifier tells draws of a fit from draws of the truth (Lopez-Paz and Oquab 2017, ICLR).

The best accuracy over all classifiers, with equal classes, is ½ + ½ TV(fit, true): a trained one's on cases that it
has not seen is a lower bound of that, up to noise.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import two_sides, unsampled
from solvers.estimates import Estimate

MOST_DRAWS = 2000
FOLDS = 5
HIDDEN = 64
EPOCHS = 20
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1.0
LEAST_VARIANCE = 1e-10
"""Directions with less of the largest variance than this are left out: there the draws lie in a plane."""


@dataclass(frozen=True)
class C2ST(Measure):
    """Accuracy at which a classifier tells fit from truth on draws it was not trained on: ½ where it cannot.

    Up to 2000 draws a side, as many of either, none of them in both. The classifier is a perceptron of one layer of 64
    units (as in Lueckmann et al. 2021, AISTATS, but smaller), of scikit-learn, cross-validated in five folds. It is
    given coordinates that are white over the fold's training draws of both sides, in which narrow directions count as
    much as wide ones, and the logarithm of their norm, by which tails differ. Its power grows with the number of draws:
    compare figures of equal numbers. Standard error: binomial, at the accuracy found.
    """

    name: ClassVar[str] = "c2st"

    def proper(self, estimate: Estimate) -> bool:
        """Return ``True``: no classifier expects to be right in less than half of the cases."""
        return True

    def unsuited(self, subject: Subject) -> str | None:
        return unsampled(subject, 4 * FOLDS)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        x, y = two_sides(subject, min(draws, MOST_DRAWS), generator)
        count = min(len(x), len(y))
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        accuracy = told_apart(x[:count].numpy(), y[:count].numpy(), seed)
        error = math.sqrt(accuracy * (1 - accuracy) / (2 * count))
        return Figure(accuracy, error, f"perceptron in {FOLDS} folds, {count} draws a side")


def told_apart(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Return the cross-validated accuracy on samples ``x`` and ``y`` (n, D) of equal size; one thread, one result."""
    # scikit-learn takes seconds to import, which other measures need not wait for
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    points = np.concatenate([x, y])
    labels = np.repeat([0, 1], len(x))
    right = 0
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is part of the classifier
        for training, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(points, labels):
            inputs = _inputs(points, training)
            classifier = MLPClassifier(
                (HIDDEN,), alpha=WEIGHT_DECAY, learning_rate_init=LEARNING_RATE, max_iter=EPOCHS, random_state=seed
            ).fit(inputs[training], labels[training])
            right += int((classifier.predict(inputs[held_out]) == labels[held_out]).sum())
    return right / len(labels)


def _inputs(points: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return whitened points and the standardised logarithm of their norm, by the moments of the training rows."""
    centred = points - points[training].mean(0)
    # to a common scale first, for coordinates in units many orders of magnitude apart
    spread = centred[training].std(0)
    centred = centred / np.where(spread > 0, spread, 1.0)
    variances, axes = np.linalg.eigh(np.cov(centred[training], rowvar=False).reshape(2 * (centred.shape[1],)))
    kept = variances > LEAST_VARIANCE * variances[-1]
    white = centred @ axes[:, kept] / np.sqrt(variances[kept])
    norm = np.log(np.finfo(float).tiny + (white**2).sum(1))
    return np.column_stack([white, (norm - norm[training].mean()) / max(norm[training].std(), 1e-12)])
