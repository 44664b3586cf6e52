"""A preconditioner changes coordinates and nothing else: potentials, averages, maps, and steps of networks in it."""

from dataclasses import dataclass, replace

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.logistic_regression import LogisticRegression
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import InvertibleMap, Pushforward
from solvers.preconditioning.curvature import Preconditioner, preconditioner_of
from solvers.solver import Diverged

CPU = torch.device("cpu")

PRECISION = torch.tensor([[900.0, 4.0], [4.0, 0.02]], dtype=torch.float64)
CENTRE = torch.tensor([0.3, -40.0], dtype=torch.float64)
PRECONDITIONER = Preconditioner.of(PRECISION, CENTRE)


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def stationary(potential: Potential, initial: Gaussian, times: tuple[float, ...]) -> Problem:
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(2.0)), times)
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


@pytest.fixture(scope="module")
def posterior() -> Problem:
    return LogisticRegression(data="breast-cancer", prior_shape=4.0, prior_rate=4.0).build(31, 0, generator())


@dataclass(frozen=True)
class Stretch(InvertibleMap):
    """y ↦ y³ + y, for its Jacobian is known."""

    def push(self, x):
        return x**3 + x

    def forward(self, x):
        return self.push(x), (3 * x**2 + 1).log().sum(1)

    def inverse(self, y):
        raise NotImplementedError


@dataclass(frozen=True)
class Shift(InvertibleMap):
    """y ↦ 2y + 1."""

    def push(self, x):
        return 2 * x + 1

    def forward(self, x):
        return self.push(x), torch.full((len(x),), x.shape[1] * torch.log(torch.tensor(2.0)).item())

    def inverse(self, y):
        x = (y - 1) / 2
        return x, self.forward(x)[1]


def test_coordinates_go_there_and_back_and_make_the_curvature_one():
    x = CENTRE + normals(50, 2) * torch.tensor([1.0, 100.0])
    torch.testing.assert_close(
        PRECONDITIONER.from_coordinates(PRECONDITIONER.to_coordinates(x)), x, rtol=1e-12, atol=1e-12
    )
    distances = PRECONDITIONER.to_coordinates(x).square().sum(1)
    expected = ((x - CENTRE) @ PRECISION * (x - CENTRE)).sum(1)
    torch.testing.assert_close(distances, expected, rtol=1e-10, atol=1e-10)
    covariance = torch.linalg.inv(PRECISION)
    torch.testing.assert_close(
        PRECONDITIONER.root @ covariance @ PRECONDITIONER.root, torch.eye(2).double(), rtol=0, atol=1e-10
    )


def test_a_seen_potential_has_the_values_and_derivatives_of_its_own_coordinates(posterior):
    preconditioner = preconditioner_of("hessian", posterior.flow)
    potential = posterior.flow.potential
    seen = preconditioner.potential_in(potential)
    assert seen.dim == potential.dim
    y = normals(6, 31)
    torch.testing.assert_close(seen.value(y), potential.value(preconditioner.from_coordinates(y)))
    point = y.clone().requires_grad_()
    (slope,) = torch.autograd.grad(seen.value(point).sum(), point)
    torch.testing.assert_close(seen.gradient(y), slope)
    value, gradient = seen.value_and_gradient(y)
    torch.testing.assert_close(value, seen.value(y))
    torch.testing.assert_close(gradient, slope)
    torch.testing.assert_close(seen.hessian(y), Potential.hessian(seen, y), rtol=1e-8, atol=1e-8)


def test_at_the_mode_the_curvature_is_one(posterior):
    """Newton's method stops 1e-8 deviations from the mode."""
    preconditioner = preconditioner_of("hessian", posterior.flow)
    seen, origin = preconditioner.potential_in(posterior.flow.potential), torch.zeros(1, 31, dtype=torch.float64)
    torch.testing.assert_close(seen.hessian(origin)[0], torch.eye(31, dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(seen.gradient(origin).norm()) < 1e-6


def test_averages_over_gaussians_are_each_others_derivatives(posterior):
    """E ∇V = ∂E V/∂m and E ∇²V = 2 ∂E V/∂Σ in y, by central differences in random directions."""
    seen = preconditioner_of("hessian", posterior.flow).potential_in(posterior.flow.potential)
    mean, root = 0.1 * normals(31), 0.1 * normals(31, 31, seed=1)
    covariance = torch.eye(31, dtype=torch.float64) + root @ root.T
    known = seen.expectations(mean, covariance)
    along, h = normals(31, seed=2), 1e-4
    ahead, behind = (seen.expectations(mean + sign * h * along, covariance).value for sign in (1, -1))
    assert (ahead - behind) / (2 * h) == pytest.approx(float(known.gradient @ along), rel=1e-5)
    change = along[:, None] * along
    ahead, behind = (seen.expectations(mean, covariance + sign * h * change).value for sign in (1, -1))
    assert (ahead - behind) / h == pytest.approx(float(along @ known.hessian @ along), rel=1e-5)


def test_a_carried_map_has_the_jacobian_it_states():
    carried = PRECONDITIONER.map_outside(Stretch())
    x = PRECONDITIONER.from_coordinates(normals(3, 2))
    mapped, log_det = carried.forward(x)
    torch.testing.assert_close(mapped, carried.push(x))
    for point, stated in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda at: carried.push(at[None])[0], point)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, stated, rtol=1e-8, atol=1e-8)


def test_a_carried_map_has_the_inverse_of_its_step():
    carried = PRECONDITIONER.map_outside(Shift())
    x = PRECONDITIONER.from_coordinates(normals(5, 2))
    back, log_det = carried.inverse(carried.push(x))
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det, carried.forward(x)[1])


def test_no_metric_leaves_everything_as_it_is():
    preconditioner, potential, step = Preconditioner(), Quadratic(PRECISION, CENTRE), Shift()
    assert preconditioner.potential_in(potential) is potential
    assert preconditioner.map_outside(step) is step
    assert preconditioner.to_coordinates(CENTRE) is CENTRE
    assert preconditioner.from_coordinates(CENTRE) is CENTRE


@pytest.mark.parametrize("start", ["previous", "affine"])
def test_steps_of_networks_in_a_metric_are_the_exact_ones_there(start):
    """On Gaussians 300 times as wide one way as the other; in y V is |y|²/2, whose exact steps are known."""
    potential = Quadratic(PRECISION, CENTRE)
    initial = Gaussian(
        PRECONDITIONER.from_coordinates(torch.tensor([2.0, -1.0]).double()), 9 * torch.linalg.inv(PRECISION)
    )
    problem = stationary(potential, initial, (0.4,))
    solver = ICNNJKO(
        step_size=0.2,
        iterations=300,
        batch_size=256,
        width=16,
        rank=2,
        pool_size=4096,
        preconditioner="hessian",
        start=start,
    )
    assert solver.unsupported(problem) is None
    (answer,) = solver.solve(problem, generator(), CPU).estimates
    assert isinstance(answer, Pushforward)
    flat = Gaussian(
        PRECONDITIONER.to_coordinates(initial.mean), PRECONDITIONER.root @ initial.covariance @ PRECONDITIONER.root
    )
    unit = Quadratic(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    (exact,) = GaussianJKO(step_size=0.2).solve(stationary(unit, flat, (0.4,)), generator(), CPU).estimates
    x, log_density = answer.sample_with_log_prob(4096, generator(1))
    jacobian = torch.linalg.slogdet(PRECONDITIONER.root).logabsdet
    difference = log_density - (exact.law.log_prob(PRECONDITIONER.to_coordinates(x)) + jacobian)
    assert float((2 * difference * torch.tanh(difference / 2)).mean()) < 2e-4
    torch.testing.assert_close(answer.log_prob(x[:64]), log_density[:64], rtol=1e-6, atol=1e-6)


def test_networks_in_a_metric_go_on_after_a_cut(tmp_path):
    problem = stationary(Quadratic(PRECISION, CENTRE), Gaussian(CENTRE, 9 * torch.linalg.inv(PRECISION)), (0.4,))
    solver = ICNNJKO(step_size=0.2, iterations=30, batch_size=64, width=8, pool_size=512, preconditioner="hessian")
    whole = solver.solve(problem, generator(), CPU).estimates[0].sample(8, generator(1))
    solver.solve(problem, generator(), CPU, tmp_path)
    again = solver.solve(problem, generator(), CPU, tmp_path).estimates[0].sample(8, generator(1))
    assert torch.equal(whole, again)


@dataclass(frozen=True, eq=False)
class Hill(Potential):
    """V = -|x|²/2, which has no minimum."""

    dim: int = 2

    def value(self, x):
        return -0.5 * x.square().sum(1)


def test_a_law_without_a_mode_is_named_and_disturbs_no_other():
    initial = Gaussian(CENTRE + 1, torch.eye(2, dtype=torch.float64))
    solver = ICNNJKO(step_size=0.2, iterations=30, batch_size=64, width=8, pool_size=512, preconditioner="hessian")
    problems = [stationary(potential, initial, (0.2,)) for potential in (Hill(), Quadratic(PRECISION, CENTRE))]
    failed, solved = solver.solve_batch(problems, [generator(1), generator(2)], CPU)
    assert isinstance(failed, Diverged)
    assert str(failed).startswith("preconditioner hessian: ")
    alone = solver.solve(problems[1], generator(2), CPU)
    draws = [each.estimates[0].sample(8, generator()) for each in (solved, alone)]
    assert torch.equal(*draws)
    with pytest.raises(Diverged, match=r"preconditioner hessian: .*; preconditioner identity needs no mode"):
        preconditioner_of("hessian", problems[0].flow)


def test_the_metric_is_for_stationary_laws():
    solver = ICNNJKO(preconditioner="hessian")
    problem = stationary(Quadratic(PRECISION, CENTRE), Gaussian(CENTRE, PRECISION), (0.4,))
    assert solver.unsupported(problem) is None
    assert "stationary problems only" in solver.unsupported(replace(problem, stationary=False))
