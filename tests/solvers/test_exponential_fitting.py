"""The weight θ against its definition, in and out of its series, and steps of ordinary differential equations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from solvers.exponential_fitting import SMALL, fitted_weight


def bernoulli(z):
    """θ from the Bernoulli numbers, z/(1 - e⁻ᶻ) = Σ B_n zⁿ/n! with B_1 = ½, in exact arithmetic."""
    numbers = {0: Fraction(1), 1: Fraction(1, 2), 2: Fraction(1, 6), 4: Fraction(-1, 30), 6: Fraction(1, 42)}
    numbers[8] = Fraction(-1, 30)
    return float(sum(b * Fraction(z) ** (n - 1) / math.factorial(n) for n, b in numbers.items() if n > 0))


def test_the_series_and_the_closed_form_are_theta():
    for z in (0.0, 1e-9, -1e-3, 0.99 * SMALL, 1.01 * SMALL, -0.1, 0.2):
        assert float(fitted_weight(np.array(z))) == pytest.approx(bernoulli(z), abs=2e-14)


def test_its_limits_and_its_symmetry():
    z = np.concatenate([np.geomspace(1e-8, 1e8, 200), -np.geomspace(1e-8, 1e8, 200)])
    share = fitted_weight(z)
    np.testing.assert_allclose(share + fitted_weight(-z), 1, rtol=0, atol=1e-13)
    assert (np.diff(fitted_weight(np.sort(z))) >= -2e-14).all()
    assert float(fitted_weight(np.array(1e300))) == 1.0
    assert (share[z > 0] >= 1 - 1 / z[z > 0] - 1e-14).all()


@pytest.mark.parametrize("z", [-3.0, 1e-4, 0.5, 3.0, 40.0, 1e4])
def test_linear_decay_is_exact(z):
    assert 1 - z / (1 + z * float(fitted_weight(np.array(z)))) == pytest.approx(math.exp(-z), abs=1e-12, rel=1e-12)


def test_how_far_a_stiff_deviation_crosses_rest():
    """The factor of a deviation that relaxes twice as fast as what the step is fitted to: at least -0.13."""
    z = np.geomspace(1e-3, 1e5, 4000)
    share = fitted_weight(z)
    factor = (1 + 2 * (share - 1) * z) / (1 + 2 * share * z)
    assert -0.131 < factor.min() < -0.128
    np.testing.assert_allclose(factor[z > 1e3] * -2 * z[z > 1e3], 1, atol=1e-2)
