"""The direction φ of SVGD is its definition, in tiles and in float32, and its bandwidth the median."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from seeding import generator
from solvers.samplers.stein import KERNELS, median
from solvers.samplers.svgd import MEDIAN_PARTICLES, stein_direction
from tests.solvers.samplers.svgd_runs import (
    normals,
    one_by_one,
)

DEFINITIONS = {
    "rbf": lambda x, y, h: torch.exp(-((x - y) ** 2).sum() / h),
    "imq": lambda x, y, h: (1 + ((x - y) ** 2).sum() / h) ** -0.5,
}


def defined_direction(x, scores, kernel, h):
    """φ by its definition, pair by pair, the kernel's gradient by automatic differentiation."""
    direction = torch.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            source = x[j].clone().requires_grad_()
            value = DEFINITIONS[kernel](source, x[i], h)
            (slope,) = torch.autograd.grad(value, source)
            direction[i] += (value.detach() * scores[j] + slope) / len(x)
    return direction


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bandwidth", [0.7, None])
def test_direction_is_the_definition(kernel, bandwidth):
    x, scores = normals(12, 3), normals(12, 3, seed=1)
    direction, h = stein_direction(x, scores, KERNELS[kernel], bandwidth, one_by_one)
    assert h == pytest.approx(bandwidth or np.median(squareform(pdist(x.numpy())) ** 2) / math.log(13), rel=1e-12)
    torch.testing.assert_close(direction, defined_direction(x, scores, kernel, h), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_tiles_are_the_whole_matrix(kernel):
    """1500 particles make 9 tiles, and the median is that of the first 1024."""
    x, scores = normals(1500, 4), normals(1500, 4, seed=1)
    direction, h = stein_direction(x, scores, KERNELS[kernel], None, one_by_one)
    squared = torch.from_numpy(squareform(pdist(x.numpy())) ** 2)
    assert h == pytest.approx(np.median(squared[:MEDIAN_PARTICLES, :MEDIAN_PARTICLES]) / math.log(1501), rel=1e-12)
    value = torch.exp(-squared / h) if kernel == "rbf" else (1 + squared / h) ** -0.5
    slope = 2 / h * (value if kernel == "rbf" else 0.5 * value**3)
    expected = (value @ scores + x * slope.sum(1, keepdim=True) - slope @ x) / len(x)
    torch.testing.assert_close(direction, expected, rtol=1e-10, atol=1e-12)


def test_median_of_some_particles_is_near_that_of_all():
    """That of 1024 of 4000, with a second, wider cluster, errs by 7 % (over 50 seeds): five of these deviations."""
    x = torch.cat([normals(3000, 3), 5 + 2 * normals(1000, 3, seed=1)])[torch.randperm(4000, generator=generator(2))]
    every = np.median(pdist(x.numpy()) ** 2)
    _, h = stein_direction(x.float(), torch.zeros(4000, 3), KERNELS["rbf"], None, one_by_one)
    assert h * math.log(4001) == pytest.approx(every, rel=0.35)


@pytest.mark.parametrize("count", [2, 3, 16, 25, 10_000])
def test_median(count):
    values = normals(count, 1)
    assert median(values) == float(np.median(values.numpy()))


@pytest.mark.parametrize("kernel", KERNELS)
def test_direction_in_float32_far_from_the_origin(kernel):
    x, scores = normals(300, 5) + 1000, normals(300, 5, seed=1)
    single, _ = stein_direction(x.float(), scores.float(), KERNELS[kernel], None, one_by_one)
    double, _ = stein_direction(x.float().double(), scores, KERNELS[kernel], None, one_by_one)
    assert float((single - double).norm() / double.norm()) < 1e-5


def test_direction_where_float32_exp_underflows():
    """Two groups, with e⁻⁹⁰⁰ between them: the answer is that of each group alone."""
    x, scores = normals(80, 2), normals(80, 2, seed=1)
    x[40:] += 30
    both, h = stein_direction(x.float(), scores.float(), KERNELS["rbf"], 1.0, one_by_one)
    for group in (slice(0, 40), slice(40, 80)):
        alone, _ = stein_direction(x[group], scores[group], KERNELS["rbf"], h, one_by_one)
        torch.testing.assert_close(both[group].double(), 0.5 * alone, rtol=0, atol=1e-4)
