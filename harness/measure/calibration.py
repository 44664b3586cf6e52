"""The calibration of predictions: whether they come true as often as they say.

Of two labels the more probable one is predicted, with its probability as confidence c ∈ [½, 1]. In bins B of equal
mass by confidence, with d_B the mean of (right - c) over the cases of a bin,

    ECE = Σ_B (n_B/n) |d_B|                              (Guo, Pleiss, Sun and Weinberger 2017, ICML).

Of a perfectly calibrated predictor d_B is noise and |d_B| is not: the plain sum is biased by about
√(2/π) Σ (n_B/n) s_B, with s_B the standard error of d_B. The estimate takes 2|d_B| - E|N(d_B, s_B²)| for |d_B|, its
value less the bias that Gaussian noise would have there (Kumar, Liang and Ma 2019, NeurIPS, who simulate that mean).
Where all d_B are noise it leaves (2 - √2) √(2/π) ≈ .47 of the .80 Σ (n_B/n) s_B; from |E d_B| = s_B on, next to
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtr

from harness.measure.measure import Figure, Measure, Subject
from harness.measure.predictive import log_predictive, without_cases

BINS = 15
LEAST_CASES = 20
"""Bins have so many cases at the least; of fewer than twice that many cases there is one bin."""
REPLICATES = 2000


@dataclass(frozen=True)
class CalibrationError(Measure):
    """Expected calibration error of the posterior predictive on the held-out cases, for problems of two labels.

    Up to 15 bins of equal mass with 20 cases or more; debiased, and so not kept from being negative.
    Nothing is said of miscalibration that cancels inside a bin. The standard error is that of a parametric bootstrap:
    the debiased sum for 2000 draws of N(d_B, s_B²). The noise of finitely many posterior draws is not in it.
    """

    name: ClassVar[str] = "calibration-error"
    version: ClassVar[int] = 2

    def unsuited(self, subject: Subject) -> str | None:
        return without_cases(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        total, _, count = log_predictive(subject, draws, generator)
        if len(total) < 2:
            return Figure(float(1 - np.exp(total[0])), math.inf, "one case")
        share, gap, noise = binned(np.exp(total))
        normals = torch.randn(REPLICATES, len(gap), generator=generator, dtype=torch.float64).numpy()
        replicates = debiased(gap + noise * normals, noise) @ share
        return Figure(
            float(share @ debiased(gap, noise)),
            float(np.std(replicates, ddof=1)),
            f"{len(gap)} bins of equal mass, debiased; {len(total)} cases, {count} posterior draws",
        )


def binned(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return share of the cases, d_B and s_B of every bin, (bins,) each, from the ``probability`` (cases,).

    That is the one of each case's observed label.
    Cases of equal confidence stay in their order: with many of them, bins hold arbitrary parts of a tie.
    """
    confidence = np.maximum(probability, 1 - probability)
    miss = (probability > 0.5) - confidence
    bins = max(1, min(BINS, len(probability) // LEAST_CASES))
    parts = np.array_split(miss[np.argsort(confidence, kind="stable")], bins)
    sizes = np.array([len(part) for part in parts])
    gap = np.array([part.mean() for part in parts])
    noise = np.array([part.std(ddof=1) for part in parts]) / np.sqrt(sizes)
    return sizes / len(probability), gap, noise


def debiased(gap: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return 2|d| - E|N(d, s²)| of d, s (n,); the mean is s √(2/π) exp(-d²/2s²) + |d| (1 - 2Φ(-|d|/s))."""
    size = np.abs(gap)
    ratio = np.divide(size, noise, where=noise > 0, out=np.full(np.broadcast(gap, noise).shape, np.inf))
    folded = noise * math.sqrt(2 / math.pi) * np.exp(-0.5 * ratio**2) + size * (1 - 2 * ndtr(-ratio))
    return np.asarray(2 * size - folded)
