"""The second-order variance of squared distances: closed forms, and that of sliced W₂ between equal laws."""

import numpy as np
import pytest
import torch

from false_alarms import repetitions
from harness.measure.second_order import equal_variance, quantile_noise
from harness.measure.transport import sliced_w2
from seeding import fixed_generator, generator


def test_two_blocks_by_hand():
    first, second = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[3.0, -1.0]])
    assert equal_variance([first, second]) == pytest.approx(2 * 2 * (3.0 - 2.0) ** 2)
    assert equal_variance([np.diag([1.0, 5.0])]) == 0


def test_blocks_of_gaussian_noise_have_its_trace():
    """2 tr C² of 64 blocks with C = diag(4, 1, 1) is 36, within 5 %; blocks with themselves would add 6 %."""
    deviations = np.array([2.0, 1.0, 1.0]) / 8
    found = [
        equal_variance([deviations * torch.randn(64, 3, generator=fixed_generator(seed)).double().numpy()])
        for seed in range(200)
    ]
    assert np.mean(found) == pytest.approx(36, rel=0.05)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_mean_of_a_quantile_function_is_the_mean_of_the_draws(grouped):
    """ζ_b, averaged over [0, 1], is what block b has of the noise of the mean, (x̄_b - x̄)/32, in equal blocks."""
    x = torch.randn(320, 3, generator=generator(1), dtype=torch.float64)
    groups = torch.arange(31, -1, -1).repeat_interleave(10) if grouped else None
    ordered, order = x.sort(dim=0)
    noise = quantile_noise(ordered, order, groups)
    assert noise.shape == (32, 3 * 32)
    of_mean = noise.reshape(32, 3, 32).sum(2) * (3 / 32) ** 0.5
    blocks = x.view(32, 10, 3).mean(1)
    np.testing.assert_allclose(of_mean, ((blocks - x.mean(0)) / 32).numpy(), atol=1e-12)


@repetitions(200, 2000)
def test_equal_laws_vary_by_it(repetitions):
    """Sliced W₂² of 300 draws a side in the plane: its deviation is what is stated.

    Over 52 other seeds the ratio of 200 times is .71 to 1.21, .99 on average.
    """
    source = fixed_generator(2)
    squares, stated = [], []
    directions = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
    for _ in range(repetitions):
        x, y = torch.randn(2, 300, 2, generator=source, dtype=torch.float64)
        squares.append(sliced_w2(x, y, directions)[0] ** 2)
        sides = [(side @ directions.T).sort(dim=0) for side in (x, y)]
        stated.append(equal_variance([quantile_noise(*side, None) for side in sides]))
    ratio = np.sqrt(np.mean(stated)) / np.std(squares, ddof=1)
    assert ratio == pytest.approx(1, abs=0.4)
