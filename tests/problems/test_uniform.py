from __future__ import annotations

import math

import pytest
import torch

from false_alarms import mean_error
from problems.uniform import Uniform
from seeding import generator

LAW = Uniform(torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([3.0, 0.5], dtype=torch.float64))


def test_density_is_constant_inside_and_none_outside() -> None:
    places = torch.tensor([[1.0, -2.0], [3.9, -1.6], [4.1, -2.0], [1.0, -1.4], [math.nan, 0.0]], dtype=torch.float64)
    found = LAW.log_prob(places)
    assert found[:2].tolist() == pytest.approx([-math.log(6.0)] * 2)
    assert bool((found[2:4] == -math.inf).all())
    assert bool(found[4].isnan())


def test_draws_have_the_moments_and_lie_inside() -> None:
    x = LAW.sample(20_000, generator())
    mean, covariance = LAW.moments()
    assert bool(torch.isfinite(LAW.log_prob(x)).all())
    assert bool(((x - mean).norm(dim=1) <= LAW.support_radius).all())
    for axis in (0, 1):
        assert abs(float(x[:, axis].mean() - mean[axis])) < mean_error(x[:, axis].numpy(), 4)
        square = (x[:, axis] - mean[axis]).square()
        assert abs(float(square.mean() - covariance[axis, axis])) < mean_error(square.numpy(), 4)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Uniform(LAW.mean, LAW.half_widths[:1])
    with pytest.raises(ValueError, match="must be > 0"):
        Uniform(LAW.mean, -LAW.half_widths)
