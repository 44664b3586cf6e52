"""Draws in the plane of the truth's principal axes, densities on the line: where, and the same bits every time."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde, norm

from harness.cell import run_in_child
from harness.components import Cell, Component, Evaluation
from harness.places import NODES, PLACES
from harness.projection import POINTS, STORED, STORED_BOX, curve, principal_plane, projected
from problems.barenblatt import ball
from problems.laws import Density, Gaussian
from problems.problem import View
from seeding import generator
from solvers.estimates import Exact, Particles
from solvers.solver import Diverged


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


ROTATION = torch.linalg.qr(torch.randn(5, 5, generator=generator(1), dtype=torch.float64))[0]
VARIANCES = tensor([1.0, 9.0, 0.5, 4.0, 0.5])
LAW = Gaussian(tensor([1.0, 2.0, 3.0, 4.0, 5.0]), ROTATION @ VARIANCES.diag() @ ROTATION.T)


def points_of(stored: bytes) -> np.ndarray:
    return np.frombuffer(stored, dtype=STORED).reshape(-1, 2)


def test_the_plane_of_the_two_largest_variances():
    origin, axes, share = principal_plane(LAW)
    assert share == pytest.approx(13 / 15)
    assert torch.equal(origin, LAW.mean)
    for axis, column in zip(axes.T, (1, 3), strict=True):
        assert abs(float(axis @ ROTATION[:, column])) == pytest.approx(1)
        assert float(axis[axis.abs().argmax()]) > 0


def test_two_dimensions_keep_their_coordinates():
    law = Gaussian(tensor([7.0, 8.0]), tensor([[1.0, 0.9], [0.9, 1.0]]))
    found = projected(Exact(law), law, 0.5, generator(3))
    assert found.share == 1
    np.testing.assert_array_equal(points_of(found.points), law.sample(POINTS, generator(3)).float().numpy())


def test_draws_have_the_variances_of_the_axes():
    points = np.concatenate([points_of(projected(Exact(LAW), LAW, 1.0, generator(k)).points) for k in range(10)])
    np.testing.assert_allclose(np.cov(points.T), np.diag([9, 4]), atol=0.6)
    np.testing.assert_allclose(points.mean(0), 0, atol=0.2)


def test_particles_are_kept_up_to_a_number():
    few, many = (Particles(LAW.sample(count, generator())) for count in (70, 3000))
    assert len(points_of(projected(few, LAW, 1.0, generator()).points)) == 70
    kept = points_of(projected(many, LAW, 1.0, generator()).points)
    assert len(np.unique(kept, axis=0)) == POINTS


def test_draws_that_are_not_finite():
    broken = Particles(torch.full((10, 5), torch.inf, dtype=torch.float64))
    with pytest.raises(Diverged, match="draws at t = 2 are not finite"):
        projected(broken, LAW, 2.0, generator())


NORMAL = Gaussian(tensor([2.0]), tensor([[9.0]]))


def test_the_curve_of_a_density_is_where_the_truth_is():
    fit = Exact(Gaussian(tensor([3.0]), tensor([[4.0]])))
    found = curve(fit, NORMAL, 0.5)
    assert found is not None
    assert (found.t, found.share) == (0.5, 1.0)
    x, density = points_of(found.points).T
    np.testing.assert_allclose(x, np.linspace(-13, 17, PLACES), atol=1e-5)
    np.testing.assert_allclose(density, norm(3, 2).pdf(x), rtol=1e-5)


def test_the_curve_of_particles_is_their_kernel_density():
    points = NORMAL.sample(300, generator())
    log_weights = torch.randn(300, generator=generator(1), dtype=torch.float64)
    found = curve(Particles(points, log_weights), NORMAL, 1.0)
    assert found is not None
    density = points_of(found.points)[:, 1].astype(float)
    expected = gaussian_kde(points[:, 0].numpy(), weights=log_weights.exp().numpy())(np.linspace(-13, 17, PLACES))
    np.testing.assert_allclose(density, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_the_curve_of_a_compact_law_shows_its_edge(exponent):
    """The area under straight lines between the places is 1 to a thousandth, and the law is nowhere near the margin."""
    law = ball(tensor([0.3]), 0.02, exponent)
    found = curve(Exact(law), law, 1.0)
    assert found is not None
    x, density = points_of(found.points).T.astype(float)
    assert (x.min(), x.max(), len(x)) == (pytest.approx(0.275), pytest.approx(0.325), PLACES)
    assert (np.diff(x) > 0).all()
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
    edge = np.abs(np.abs(x - 0.3) - 0.02)
    assert np.diff(x)[edge[:-1].argmin()] < 1e-3 * 0.02
    wider = curve(Exact(ball(tensor([0.3]), 0.0205, exponent)), law, 1.0)
    assert (points_of(wider.points)[:, 0] == points_of(found.points)[:, 0]).all()
    assert (points_of(wider.points)[:, 1] > 0).sum() > (density > 0).sum() + 6


class Far(Exact):
    """Stands for an estimate whose density cannot be worked out away from its mass."""

    @property
    def density(self):
        return self

    def log_prob(self, x):
        raise Diverged("no inverse there")


def test_densities_in_the_plane_are_kept_where_the_truth_is():
    law = Gaussian(tensor([7.0, -2.0]), tensor([[4.0, 0.9], [0.9, 1.0]]))
    fit = Gaussian(tensor([6.0, -2.0]), tensor([[4.0, 0.0], [0.0, 1.0]]))
    found = projected(Exact(fit), law, 0.5, generator(3))
    np.testing.assert_allclose(np.frombuffer(found.box, STORED_BOX), [-1, -6, 15, 2])
    x, y = np.linspace(-1, 15, NODES), np.linspace(-6, 2, NODES)
    expected = norm(-2, 1).pdf(y)[:, None] * norm(6, 2).pdf(x)
    density = np.frombuffer(found.density, STORED).reshape(NODES, NODES)
    np.testing.assert_allclose(density, expected, rtol=1e-5, atol=1e-9)


def test_the_plane_of_a_compact_law_ends_beyond_its_edge():
    law = ball(tensor([1.0, 0.0]), 2.0, 2.0)
    found = projected(Exact(law), law, 0.5, generator(3))
    np.testing.assert_allclose(np.frombuffer(found.box, STORED_BOX), [-1.5, -2.5, 3.5, 2.5])
    density = np.frombuffer(found.density, STORED)
    assert density.sum() * (5 / (NODES - 1)) ** 2 == pytest.approx(1, abs=2e-3)


def test_what_has_no_density_in_the_plane_keeps_its_draws():
    law = Gaussian(tensor([0.0, 0.0]), torch.eye(2, dtype=torch.float64))
    for estimate in (Particles(law.sample(50, generator())), Far(law)):
        found = projected(estimate, law, 0.5, generator(3))
        assert (found.box, found.density) == (None, None)
        assert len(points_of(found.points)) in (50, POINTS)


def test_particles_in_one_place_have_no_curve():
    assert curve(Particles(torch.zeros(10, 1, dtype=torch.float64)), NORMAL, 1.0) is None


class Undefined(Density):
    dim = 1

    def sample(self, n, generator):
        return torch.zeros(n, 1)

    def moments(self):
        return torch.zeros(1), torch.full((1, 1), torch.inf)

    def log_prob(self, x):
        return torch.where(x[:, 0] > 0, torch.nan, 0.0)


def test_a_density_that_is_not_finite():
    with pytest.raises(Diverged, match="the density at t = 2 is not finite at"):
        curve(Exact(Undefined()), NORMAL, 2.0)
    assert curve(Exact(NORMAL), Undefined(), 2.0) is None


def cell(solver: str, dim: int, seed: int, **settings: object) -> Cell:
    targets = {"oracle": "solvers.bounds:Oracle", "euler-maruyama": "solvers.particles.euler_maruyama:EulerMaruyama"}
    chosen = json.dumps({"instance": "random"} if dim == 1 else {})
    problem = Component(
        "problem", "gaussian-mixture", "gaussian-mixture", "problems.gaussian_mixture:GaussianMixtureFlow", 1, chosen
    )
    method = Component("solver", solver, solver, targets[solver], 1, json.dumps(settings))
    return Cell(problem, method, dim, seed, Evaluation(50, ("mode-weights",)), "cpu")


def test_a_cell_keeps_draws_of_the_first_instance_in_one_plane():
    (exact,) = run_in_child([cell("oracle", 13, 0)])
    (fit,) = run_in_child([cell("euler-maruyama", 13, 0, particles=600, step_size=0.02)])
    (again,) = run_in_child([cell("euler-maruyama", 13, 0, particles=600, step_size=0.02)])
    assert [(found.t, found.share) for found in exact.projections] == [(4.0, exact.projections[0].share)]
    assert fit.projections[0].share == exact.projections[0].share
    assert fit.projections == again.projections
    spreads = [points_of(outcome.projections[0].points).std(0) for outcome in (exact, fit)]
    np.testing.assert_allclose(*spreads, rtol=0.3)
    (other,) = run_in_child([cell("oracle", 13, 1)])
    assert other.status == "ok"
    assert other.projections == ()


def test_a_cell_on_the_line_keeps_the_curve_of_the_first_instance():
    (exact,) = run_in_child([cell("oracle", 1, 0)])
    (fit,) = run_in_child([cell("euler-maruyama", 1, 0, particles=4000, step_size=0.02)])
    curves = [points_of(outcome.projections[0].points) for outcome in (exact, fit)]
    np.testing.assert_array_equal(curves[0][:, 0], curves[1][:, 0])
    assert np.trapezoid(curves[0][:, 1], curves[0][:, 0]) == pytest.approx(1, abs=1e-3)
    # Half the L1 distance of a kernel density estimate of 4000 points, bias of the smoothed modes included.
    difference = 0.5 * np.trapezoid(np.abs(curves[0][:, 1] - curves[1][:, 1]), curves[0][:, 0])
    assert 0 < difference < 0.25
    (other,) = run_in_child([cell("oracle", 1, 1)])
    assert other.projections == ()


def test_a_view_shows_its_coordinates_themselves():
    view = View((2, 0), ("x₃", "x₁"), lambda points: -(points**2).sum(1))
    found = projected(Exact(LAW), LAW, 0.5, generator(3), view)
    assert found.share == 1
    drawn = LAW.sample(POINTS, generator(3))[:, [2, 0]]
    np.testing.assert_array_equal(points_of(found.points), drawn.float().numpy())
