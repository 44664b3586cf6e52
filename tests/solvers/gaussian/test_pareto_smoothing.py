"""Generalised Pareto fits and smoothed weights, against laws with known tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import sigmas
from problems.laws import Gaussian
from problems.potentials import Quadratic
from seeding import numpy_generator
from solvers.gaussian.pareto_smoothing import generalised_pareto, pareto_smoothed, smoothed_weights


@pytest.mark.parametrize("k", [-0.4, 0.1, 0.5, 0.9])
def test_fit_recovers_shape_and_scale(k):
    """Twenty samples of 2000. For k > -½ the asymptotic variances are (1+k)²/n and 2σ²(1+k)/n."""
    rng = numpy_generator(0)
    n, repeats, scale = 2000, 20, 3.0
    fits = [generalised_pareto(stats.genpareto.rvs(k, scale=scale, size=n, random_state=rng)) for _ in range(repeats)]
    shape, size = np.mean(fits, axis=0)
    shrunk = (n * k + 5) / (n + 10)
    assert abs(shape - shrunk) < sigmas(2) * (1 + k) / math.sqrt(n * repeats)
    assert abs(size - scale) < sigmas(2) * scale * math.sqrt(2 * (1 + k) / (n * repeats)) + 0.01 * scale


def normal_ratios(variance, size=100_000, seed=0):
    """log N(0, 1) - log N(0, s²), less its constant, at draws of N(0, s²): the tail index of the ratio is 1 - s²."""
    x = math.sqrt(variance) * numpy_generator(seed).standard_normal(size)
    return -0.5 * x * x + 0.5 * x * x / variance


@pytest.mark.parametrize("variance", [0.4, 0.6, 0.8])
def test_tail_of_a_narrow_normal_proposal(variance):
    """P(w > t) ~ t^{-1/k} / √log t: the logarithm makes the fitted index somewhat smaller.

    Over 50 seeds by .03 ± .03: five deviations.
    """
    smoothed = pareto_smoothed(normal_ratios(variance, 1_000_000))
    assert smoothed.k == pytest.approx(1 - variance - 0.03, abs=0.13)
    assert float(np.exp(smoothed.log_weights).sum()) == pytest.approx(1)


def test_smoothing_stabilises_the_mean():
    """E w = 1/s; at s² = 0.4 w has no variance. Over 3000 runs of 1000 draws the smoothed mean errs less."""
    exact, errors = 0.4**-0.5, []
    for seed in range(3000):
        ratios = normal_ratios(0.4, 1000, seed)
        errors.append([math.exp(pareto_smoothed(ratios).log_mean) - exact, np.exp(ratios).mean() - exact])
    smoothed, raw = np.sqrt(np.mean(np.square(errors), axis=0))
    assert smoothed < raw  # over 50 seeds .2 to .7 of it


def test_wide_proposal_is_bounded():
    smoothed = pareto_smoothed(normal_ratios(1.5))
    assert smoothed.k < 0
    assert smoothed.effective_share == pytest.approx(math.sqrt(2 * 1.5 - 1) / 1.5, rel=0.02)


def test_equal_ratios_have_no_tail():
    smoothed = pareto_smoothed(np.full(1000, -3.0))
    assert smoothed.k == -math.inf
    assert smoothed.log_mean == pytest.approx(-3)
    assert smoothed.effective_share == pytest.approx(1)


def test_ratios_beyond_all_exponents_are_the_worst():
    ratios = -1e4 * np.arange(1000.0)
    assert pareto_smoothed(ratios).k == math.inf


def test_bad_ratios():
    with pytest.raises(ValueError, match="at least 25 are needed, got 10"):
        pareto_smoothed(np.zeros(10))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or"):
            pareto_smoothed(np.array([0.0] * 99 + [bad]))
    with pytest.raises(ValueError, match="all are -inf"):
        pareto_smoothed(np.full(100, -math.inf))


def test_evidence_of_a_gaussian():
    """∫ exp(-βV) of V = ½ (x-b)ᵀA(x-b) is (2π/β)^{D/2} |A|^{-½}, whichever Gaussian is near enough."""
    precision = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    centre = torch.tensor([1.0, -1.0]).double()
    near = Gaussian(centre + 0.1, 0.6 * torch.linalg.inv(precision))
    exact = math.log(2 * math.pi / 2.0) - 0.5 * float(torch.logdet(precision))
    smoothed = smoothed_weights(near, Quadratic(precision, centre), 2.0)
    assert smoothed.log_mean == pytest.approx(exact, abs=0.03)
