import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from false_alarms import sigmas
from seeding import generator
from solvers.samplers.mixing import mixing, normal_scores


def test_effective_size_and_rhat_of_independent_draws():
    """Effective size within its stated relative errors √(2/(chains - 1)), R̂ near 1, at any scale."""
    states = torch.randn(400, 20, 3, generator=generator(10), dtype=torch.float64) * torch.tensor([1.0, 1e6, 1e-6])
    spread = sigmas(4)
    rhat, ess = mixing(states)
    assert float((rhat - 1).abs().max()) < 0.03
    assert float((ess / 8000 - 1).abs().max()) < spread * math.sqrt(2 / 399)
    heavy = torch.tan(math.pi * (torch.rand(400, 20, 1, generator=generator(11), dtype=torch.float64) - 0.5))
    rhat, ess = mixing(heavy)
    assert float(rhat) < 1.03
    assert float(ess) == pytest.approx(8000, rel=spread * math.sqrt(2 / 399))


def test_effective_size_of_an_autoregression():
    """X' = ρX + √(1-ρ²) ξ has S (1-ρ)/(1+ρ) effective draws of S, less than 2 % of them for the ends of 1000 draws."""
    rho, chains, draws = 0.8, 300, 1000
    noise = torch.randn(chains, draws, 1, generator=generator(12), dtype=torch.float64)
    states = torch.empty_like(noise)
    states[:, 0] = noise[:, 0]
    for t in range(1, draws):
        states[:, t] = rho * states[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    _, ess = mixing(states)
    expected = chains * draws * (1 - rho) / (1 + rho)
    assert float(ess) == pytest.approx(expected, rel=sigmas() * math.sqrt(2 / (chains - 1)))


def test_rhat_sees_other_places_other_widths_and_drift():
    states = torch.randn(8, 100, 4, generator=generator(13), dtype=torch.float64)
    states[0, :, 0] += 4
    states[0, :, 1] *= 10
    states[:, :, 2] += torch.linspace(0, 5, 100)[:, None, None].expand(100, 8, 1)[:, :, 0].T
    rhat, _ = mixing(states)
    assert bool((rhat[:3] > 1.1).all())
    assert float(rhat[3]) < 1.03


def test_coordinate_that_never_varies():
    states = torch.randn(8, 10, 2, generator=generator(14), dtype=torch.float64)
    states[..., 1] = 3.0
    rhat, ess = mixing(states)
    assert float(rhat[1]) == math.inf
    assert float(ess[1]) == 0
    assert math.isfinite(float(rhat[0]))


def test_normal_scores_rank_equal_values_alike():
    scores = normal_scores(torch.tensor([[[1.0], [5.0]], [[5.0], [9.0]]]))
    expected = scipy.special.ndtri((np.array([1, 2.5, 2.5, 4]) - 0.375) / 4.25)
    np.testing.assert_allclose(scores.flatten().numpy(), expected)
