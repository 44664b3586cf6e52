from __future__ import annotations

import math

import pytest
import torch

from false_alarms import mean_error
from problems.laws import Gaussian
from problems.references.cell_law_2d import CellLaw2D
from problems.references.finite_volumes_box import initial_density
from seeding import generator


def of(law: Gaussian, cells: int) -> CellLaw2D:
    density = initial_density(law, (-4.0, -3.0), (4.0, 3.0), (cells, cells))
    return CellLaw2D((-4.0, -3.0), (4.0, 3.0), torch.from_numpy(density * 48 / cells**2))


SKEW = Gaussian(
    torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
)


def test_density_is_of_second_order() -> None:
    x = SKEW.sample(4000, generator())
    errors = []
    for cells in (32, 64, 128):
        ratio = (of(SKEW, cells).log_prob(x) - SKEW.log_prob(x)).exp()
        errors.append(float((ratio - 1).abs().mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-3


def test_cells_keep_their_masses_and_the_whole_is_one() -> None:
    law = of(SKEW, 16)
    count = 16 * 24
    axes = [low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
            for low, high in zip(law.lower, law.upper, strict=True)]  # fmt: skip
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    density = law.log_prob(points).exp().reshape(16, 24, 16, 24).mean(dim=(1, 3))
    torch.testing.assert_close(density * 48 / 16**2, law.masses, rtol=0, atol=1e-14)


def test_draws_follow_the_density() -> None:
    law = of(SKEW, 12)
    x = law.sample(50_000, generator(1))
    mean, covariance = law.moments()
    for value, stated in (
        (x[:, 0], mean[0]),
        (x[:, 1], mean[1]),
        ((x[:, 0] - mean[0]) ** 2, covariance[0, 0]),
        ((x[:, 0] - mean[0]) * (x[:, 1] - mean[1]), covariance[0, 1]),
        ((x[:, 1] - mean[1]) ** 2, covariance[1, 1]),
        # E 1/ρ over the support is its area, wherever the density is positive.
        (law.log_prob(x).neg().exp() * (x.norm(dim=1) < 1), torch.tensor(math.pi)),
    ):
        assert abs(float(value.mean() - stated)) < mean_error(value.numpy(), figures=6)


def test_what_has_no_mass_has_no_density() -> None:
    masses = torch.zeros(6, 6, dtype=torch.float64)
    masses[2:4, 2:4] = 0.25
    law = CellLaw2D((0.0, 0.0), (6.0, 6.0), masses)
    places = torch.tensor([[3.0, 3.0], [1.9, 3.0], [3.0, 4.1], [-1.0, 3.0], [7.0, 7.0], [math.nan, 0.0]]).double()
    found = law.log_prob(places)
    assert torch.isfinite(found[0])
    assert bool((found[1:5] == -math.inf).all())
    assert bool(found[5].isnan())
    x = law.sample(1000, generator())
    assert bool(((x >= 2) & (x <= 4)).all())
    assert bool(torch.isfinite(law.log_prob(x)).all())


def test_bad_input_is_named() -> None:
    good = torch.full((4, 4), 1 / 16, dtype=torch.float64)
    with pytest.raises(ValueError, match="lower must be below upper"):
        CellLaw2D((0.0, 1.0), (1.0, 1.0), good)
    with pytest.raises(ValueError, match="m, n >= 3"):
        CellLaw2D((0.0, 0.0), (1.0, 1.0), good[:2])
    with pytest.raises(ValueError, match="sum to 1"):
        CellLaw2D((0.0, 0.0), (1.0, 1.0), 2 * good)
    with pytest.raises(ValueError, match="not finite"):
        CellLaw2D((0.0, 0.0), (1.0, 1.0), good * math.nan)
