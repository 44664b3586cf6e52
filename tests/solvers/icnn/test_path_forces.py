"""Forces by scores: the same mean as by Jacobians, none where a step is done, and scores that go along with a law."""

from functools import partial

import numpy as np
import pytest
import torch

from problems.energies import Entropy
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential, Quadratic
from seeding import generator
from solvers.icnn.affine_step import best_affine_step
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.parameter_gradients import Batch, gradients_at_once, gradients_in_blocks, pushed_with_score
from solvers.icnn.path_forces import forces_of
from solvers.icnn.step_objective import StepObjective, derivatives_of
from solvers.maps import Pushforward
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Architecture, Weights
from solvers.networks.path_derivatives import slope_of_hessian
from solvers.particles.particle_pool import spread_draws
from solvers.threads import workers

SCHEMES = ("order 1", "midpoint", "fitted")
LAW = Gaussian(torch.tensor([0.3, -0.2]).double(), torch.tensor([[1.5, 0.4], [0.4, 0.8]]).double())


def network(seed: int, count: int = 1) -> Weights:
    architecture = Architecture(2, 6, 3, 2)
    parameters = 0.4 * torch.randn(count * architecture.size, dtype=torch.float64, generator=generator(seed))
    weights = architecture.weights(parameters)
    weights.project()
    return weights


def objective_of(scheme: str, potential: MixturePotential | Quadratic, beta: float) -> StepObjective:
    curvature = torch.tensor([[3.0, 1.0], [1.0, -2.0]], dtype=torch.float64)
    weight = FittedWeight.of(curvature, 0.2, torch.device("cpu")) if scheme == "fitted" else None
    return StepObjective(potential, Entropy(beta), 0.2, 0.5 if scheme == "midpoint" else 1.0, None, weight)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_along_any_field_the_mean_is_that_of_the_objective(scheme, mixture):
    # Products of Gauss-Hermite nodes: the means are integrals over the law, without draws.
    nodes, masses = np.polynomial.hermite_e.hermegauss(80)
    grid = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2))
    mass = torch.from_numpy(np.outer(masses, masses).ravel() / (2 * np.pi))
    x = (LAW.mean + grid @ LAW.cholesky.T)[None]
    objective = objective_of(scheme, MixturePotential(mixture, 0.7), 0.7)
    folded = fold(network(50))
    mapped, hessian, tape = derivatives(folded, x)
    field, slopes, _ = derivatives(fold(network(51)), x)

    forces = forces_of([objective], x, mapped, hessian, LAW.score(x[0])[None], partial(slope_of_hessian, folded, tape))
    mapped_bar, hessian_bar = derivatives_of([objective], x, mapped, hessian)
    found = mass @ (forces * field).sum(2)[0]
    expected = mass @ ((mapped_bar * field).sum(2) + (hessian_bar * slopes).sum((2, 3)))[0]
    assert expected.abs() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_where_a_step_is_done_there_is_no_force_on_any_particle(scheme):
    beta, precision = 2.0, torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    objective = objective_of(scheme, Quadratic(precision, torch.tensor([1.0, -1.0]).double()), beta)
    law = Gaussian(torch.zeros(2, dtype=torch.float64), LAW.covariance)
    points = spread_draws(law, 4096, generator(52))
    with workers() as run:
        step = best_affine_step(objective, points, torch.zeros(len(points)), run)
    mapped, hessian = points @ step.matrix + step.shift, step.matrix.expand(len(points), -1, -1)
    at = (points[None], mapped[None], hessian[None])
    forces = forces_of([objective], *at, law.score(points)[None], lambda matrix: torch.zeros_like(matrix[..., 0]))
    assert forces.abs().max() < 1e-8
    # What the Jacobians give is as large as its parts, and 0 in the mean alone.
    assert derivatives_of([objective], *at)[0].abs().max() > 0.1


def test_the_score_that_particles_carry_is_that_of_the_density_they_have():
    weights = network(53)
    law = GaussianMixture(
        torch.tensor([0.3, 0.7]).double(),
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double(),
        torch.stack([LAW.covariance, 0.5 * torch.eye(2, dtype=torch.float64)]),
    )
    points = law.sample(20, generator(54))
    with workers() as run:
        places, scores = pushed_with_score(weights, points, law.score(points), run)
    pushed, width = Pushforward(law, (ConvexMap(weights),)), 1e-5
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = width
        slope = (pushed.log_prob(places + shift) - pushed.log_prob(places - shift)) / (2 * width)
        torch.testing.assert_close(scores[:, axis], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_networks_at_once_learn_by_scores_as_in_blocks(scheme, mixture):
    count = 3
    weights = network(55, count)
    objectives = [objective_of(scheme, MixturePotential(mixture, beta), beta) for beta in (0.5, 1.0, 2.0)]
    points = torch.randn(count, 700, 2, dtype=torch.float64, generator=generator(56))
    batch = Batch(Architecture(2, 6, 3, 2), weights, points, objectives, range(count), scores=-points)
    at_once = gradients_at_once(batch)
    with workers() as run:
        in_blocks = gradients_in_blocks(run, batch)
    assert at_once.abs().max() > 1
    torch.testing.assert_close(at_once, in_blocks, rtol=1e-10, atol=1e-9)
