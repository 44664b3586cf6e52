import math

import numpy as np
import pytest
import torch

from false_alarms import sigmas
from problems.linear_algebra import (
    bilinear,
    log_sum_exp,
    random_spd,
    symmetric_factor,
    symmetrised,
    transport_between,
    weighted_moments,
)
from seeding import generator


def test_random_eigenvectors_are_isotropic():
    """E[Q Λ Qᵀ] = tr(Λ)/D I; of Λ = diag(0, 0, 1) the entries are q_i q_j, and E q_i⁴ = 3/15 on the sphere."""
    eigenvalues = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    stream = generator(3)
    draws = torch.stack([random_spd(eigenvalues, stream) for _ in range(4000)])
    # standard deviations are below 0.3, and twelve figures are looked at
    far = sigmas(12) * 0.3 / math.sqrt(4000)
    torch.testing.assert_close(draws.mean(0), torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=far)
    fourth = (draws.diagonal(dim1=1, dim2=2) ** 2).mean(0)
    torch.testing.assert_close(fourth, torch.full((3,), 0.2, dtype=torch.float64), rtol=0, atol=far)


def test_the_transport_between_covariances_is_symmetric_positive_and_leads_there():
    stream = generator(4)
    start, end = (
        random_spd(torch.tensor(values, dtype=torch.float64), stream) for values in ([1e-3, 1, 20], [5, 1, 2])
    )
    transport = transport_between(start, end)
    torch.testing.assert_close(transport @ start @ transport, end)
    torch.testing.assert_close(transport, transport.T)
    assert float(torch.linalg.eigvalsh(transport)[0]) > 0


def test_symmetric_part_of_a_batch():
    matrices = torch.arange(18, dtype=torch.float64).reshape(2, 3, 3)
    found = symmetrised(matrices)
    assert torch.equal(found, found.mT)
    assert torch.equal(found[1, 0], torch.tensor([9.0, 11.0, 13.0], dtype=torch.float64))


def test_weighted_moments_are_those_of_points_that_are_repeated():
    points = np.array([[0.0, 1.0], [2.0, 5.0], [-1.0, 0.5]])
    mean, covariance = weighted_moments(np.array([0.5, 0.3, 0.2]), points)
    repeated = np.repeat(points, [5, 3, 2], axis=0)
    np.testing.assert_allclose(mean.numpy(), repeated.mean(0), rtol=1e-14)
    np.testing.assert_allclose(covariance.numpy(), np.cov(repeated.T, bias=True), rtol=1e-14)


def test_bilinear_form():
    assert bilinear(
        np.array([1.0, 2.0]), np.array([[1.0, 0.0, 3.0], [0.0, 5.0, 7.0]]), np.array([1.0, 10.0, 100.0])
    ) == (1 + 300 + 100 + 1400)


def test_log_sum_exp_neither_overflows_nor_loses_what_is_not_finite():
    assert log_sum_exp(torch.tensor([1000.0, 1000.0])) == pytest.approx(1000 + math.log(2), rel=1e-15)
    assert log_sum_exp(torch.full((3,), -math.inf)) == -math.inf
    assert log_sum_exp(torch.empty(0)) == -math.inf
    assert math.isnan(log_sum_exp(torch.tensor([0.0, math.nan])))


def test_the_symmetric_factor_solves_its_equation():
    stream = generator(9)
    product = torch.randn(4, 4, generator=stream, dtype=torch.float64) + 6 * torch.eye(4)
    factor = symmetrised(torch.randn(4, 4, generator=stream, dtype=torch.float64))
    torch.testing.assert_close(symmetric_factor(symmetrised(factor @ product), product), factor)
    target = torch.zeros(4, 4, dtype=torch.float64)
    target[1, 2] = math.inf
    assert bool(symmetric_factor(target, product).isnan().all())
