from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from problems.interactions import (
    GaussianAttraction,
    Interaction,
    LogarithmicInteraction,
    QuadraticInteraction,
    QuarticInteraction,
)
from problems.references.convolution import Convolution, kernel_of, mean_at_zero
from seeding import numpy_generator


@pytest.mark.parametrize("shape", [(17,), (12, 9)])
@pytest.mark.parametrize("kind", [QuadraticInteraction, QuarticInteraction, GaussianAttraction, LogarithmicInteraction])
def test_transform_gives_the_sums_over_all_pairs(kind: type[Interaction], shape: tuple[int, ...]) -> None:
    widths = (0.3, 0.2)[: len(shape)]
    convolution = Convolution.of(kind(len(shape)), shape, widths)
    masses = numpy_generator().random(shape)
    direct = np.zeros(shape)
    for i in np.ndindex(*shape):
        for j in np.ndindex(*shape):
            place = tuple(a - b + size - 1 for a, b, size in zip(i, j, shape, strict=True))
            direct[i] += convolution.kernel[place] * masses[j]
    np.testing.assert_allclose(convolution(masses), direct, rtol=0, atol=1e-13 * np.abs(direct).max())


def test_smooth_kernels_are_values_at_differences_of_centres() -> None:
    kernel = kernel_of(GaussianAttraction(2), (3, 4), (0.5, 0.25))
    assert kernel[2 + 1, 3 - 2] == pytest.approx(-math.exp(-(0.5**2) - 0.5**2) / math.pi, rel=1e-14)


def test_means_of_the_logarithm_over_cells() -> None:
    width = 0.3
    line = kernel_of(LogarithmicInteraction(1, attraction=0.0), (5,), (width,))

    def primitive(x: float) -> float:
        return 0.0 if x == 0 else x * math.log(abs(x)) - x

    means = [-(primitive((k + 0.5) * width) - primitive((k - 0.5) * width)) / width for k in range(-4, 5)]
    np.testing.assert_allclose(line, means, atol=2e-6)
    assert line[4] == pytest.approx(means[4], abs=1e-8)


def test_mean_of_the_logarithm_over_a_square() -> None:
    # ∫∫ log|z| over [-½, ½]² is (π/4 - 3/2) - ½ log 2, by polar coordinates in its eight triangles.
    found = mean_at_zero(LogarithmicInteraction(2, attraction=0.0), (1.0, 1.0))
    assert found == pytest.approx(-(math.pi / 4 - 1.5 - 0.5 * math.log(2)), abs=1e-9)
    # A rectangle's is that of its halves, by the smooth rule for what isn't at 0: the kernel is one of means.
    fine = kernel_of(LogarithmicInteraction(2, attraction=0.0), (2, 2), (0.5, 0.5))
    coarse = mean_at_zero(LogarithmicInteraction(2, attraction=0.0), (1.5, 1.5))
    assert fine.mean() == pytest.approx(coarse, abs=2e-5)


def test_singular_mean_is_finite_where_the_value_is_not() -> None:
    assert not bool(torch.isfinite(LogarithmicInteraction(1).value(torch.zeros(1, 1))).all())
    assert math.isfinite(mean_at_zero(LogarithmicInteraction(1), (0.1,)))
