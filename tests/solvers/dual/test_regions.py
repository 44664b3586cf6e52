"""Where a fit is trusted: points beyond a region are drawn in to its edge, and kernels say nothing beyond it."""

from __future__ import annotations

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from seeding import fixed_generator, generator
from solvers.dual.dual_jko import DualJKO
from solvers.dual.regions import Box, Ellipsoid, Region
from solvers.dual.steps import DualPropagation
from solvers.estimates import Exact

COVARIANCE = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
LAW = Gaussian(torch.tensor([1.0, -2.0], dtype=torch.float64), COVARIANCE)


@pytest.mark.parametrize("region", [Box(LAW.mean, 1.5), Ellipsoid(LAW)], ids=["box", "ellipsoid"])
def test_points_are_drawn_in_along_the_ray_from_the_centre(region: Region) -> None:
    x = LAW.mean + 8 * torch.randn(500, 2, dtype=torch.float64, generator=generator(1))
    moved, gauge = region.drawn_in(x), region.gauge(x)
    torch.testing.assert_close(region.gauge(moved), gauge.clamp(max=1))
    torch.testing.assert_close((moved - LAW.mean) * gauge.clamp(min=1)[:, None], x - LAW.mean)
    assert torch.equal(moved[gauge <= 1], x[gauge <= 1])


@pytest.mark.parametrize("reference", ["uniform", "coupled"])
def test_beyond_the_sample_a_step_with_kernels_follows_the_potential_alone(reference: str) -> None:
    target = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    flow = GradientFlow(
        target, FreeEnergy(Quadratic(torch.eye(1).double(), torch.ones(1).double()), Entropy(1.0)), (0.1,)
    )
    solver = DualJKO(basis="gaussian", kernel_variance=1.0, kernels=12, samples=2000, reference=reference)
    propagation = DualPropagation(solver, flow, fixed_generator(2))
    found = propagation.advance(Exact(target), 0.0, 0.1)
    centre, edge = float(found.region.centre), float(found.region.bounds()[1])

    def without_potential(start: float, end: float) -> torch.Tensor:
        x = torch.linspace(start, end, 20, dtype=torch.float64)[:, None]
        return found.log_density(x) + flow.potential.value(x)

    assert float(without_potential(edge, edge + 0.2 * (edge - centre)).std()) < 1e-9
    assert float(without_potential(centre, edge).std()) > 0.1
