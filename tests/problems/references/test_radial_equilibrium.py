from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error
from problems.flow import PowerEntropy
from problems.interactions import GaussianAttraction
from problems.references.radial_equilibrium import RadialEquilibrium
from seeding import generator

ORIGIN = torch.zeros(2, dtype=torch.float64)


def solved(exponent: float = 3.0, coefficient: float = 0.1, nodes: int = 32) -> RadialEquilibrium:
    return RadialEquilibrium.solved(PowerEntropy(exponent, coefficient), GaussianAttraction(2), ORIGIN, nodes)


def test_two_numbers_of_nodes_agree_on_all_digits() -> None:
    for law in (solved(nodes=20), solved(nodes=32)):
        assert law.radius == pytest.approx(0.78875351339918, abs=3e-14)
        assert law.free_energy() == pytest.approx(-0.0867637175666078, abs=1e-15)
        assert law.level == pytest.approx(-0.155051730153995, abs=3e-15)
        assert law.mass() == pytest.approx(1, abs=1e-14)
        assert 2 * float(law.moments()[1][0, 0]) == pytest.approx(0.2435304673105, abs=1e-13)


@pytest.mark.parametrize(("exponent", "coefficient"), [(2.0, 0.05), (2.5, 0.1), (4.0, 0.2), (1.8, 0.05)])
def test_is_an_equilibrium_by_quadrature_of_its_own(exponent: float, coefficient: float) -> None:
    """U'(ρ) + W∗ρ is one constant on the disc, W∗ρ by a product rule in the plane."""
    law = solved(exponent, coefficient)
    place, weight = np.polynomial.legendre.leggauss(80)
    # r = R sin φ: what is singular at the edge becomes smooth.
    phi = 0.25 * math.pi * (place + 1)
    r = law.radius * np.sin(phi)
    angle = 2 * math.pi * np.arange(64) / 64
    points = torch.from_numpy(
        np.stack([np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))], axis=-1).reshape(-1, 2)
    )
    ring = 0.25 * math.pi * weight * law.radius * np.cos(phi) * r * law.density(r) * 2 * math.pi / 64
    masses = torch.from_numpy(np.repeat(ring, 64))
    assert float(masses.sum()) == pytest.approx(1, abs=1e-9)
    x = torch.tensor([[0.0, 0.0], [0.3, 0.1], [-0.2, 0.6], [0.0, 0.7]], dtype=torch.float64)
    slope = law.internal.derivative(law.log_prob(x)) + law.interaction.mean_value(x, points, masses)
    torch.testing.assert_close(slope, torch.full((4,), law.level, dtype=torch.float64), rtol=0, atol=1e-8)


def test_draws_quantiles_and_density_agree() -> None:
    law = RadialEquilibrium.solved(PowerEntropy(3.0, 0.1), GaussianAttraction(2), ORIGIN + 1)
    x = law.sample(50_000, generator())
    r = (x - 1).norm(dim=1)
    assert float(r.max()) <= law.support_radius
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for level, quantile in zip(levels, law.radial_quantiles(levels), strict=True):
        assert abs(float((r < quantile).double().mean() - level)) < mean_error((r < quantile).double().numpy(), 3)
    square = (x - 1).square().sum(1)
    assert abs(float(square.mean()) - 0.2435304673105) < mean_error(square.numpy())
    inverse = law.log_prob(x).neg().exp() * (r < 0.6)
    assert abs(float(inverse.mean()) - math.pi * 0.36) < mean_error(inverse.numpy())
    assert bool((law.log_prob(torch.tensor([[1.0, 1.8]], dtype=torch.float64)) == -math.inf).all())


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="exponent above 1"):
        solved(0.8)
    with pytest.raises(ValueError, match="dimension 1"):
        RadialEquilibrium.solved(PowerEntropy(3.0), GaussianAttraction(1), ORIGIN)
    with pytest.raises(ArithmeticError, match="none is found"):
        solved(1.2, 5.0)
