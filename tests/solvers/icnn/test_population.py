"""The particles of a flow: their densities along maps, and coordinates of their own mean and size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from problems.energies import Entropy, PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian
from problems.potentials import Flat
from problems.uniform import Uniform
from seeding import fixed_generator
from solvers.icnn.affine_start import start_at
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.icnn.population import Population, entropic, scored
from solvers.networks.convex_network import Architecture
from solvers.preconditioning.curvature import Preconditioner
from solvers.solver import Diverged

CPU = torch.device("cpu")
MEAN = torch.tensor([30.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[4.0, 1.0], [1.0, 0.5]], dtype=torch.float64)


def drawn():
    flow = GradientFlow(
        Gaussian(MEAN, COVARIANCE), FreeEnergy(Flat(2), PowerEntropy(2.0), QuadraticInteraction(2)), (1.0,)
    )
    settings = ICNNJKO(pool_size=512, batch_size=64, dtype="float64")
    return Population.drawn_from(flow, settings, Preconditioner(), fixed_generator(3), CPU), flow


def moved(population, matrix, shift):
    weights = Architecture(2, 4, 2, 1).identity(1.0, fixed_generator(1))
    return population.move(weights, (matrix, shift), lambda function, items: list(map(function, items)))


def test_coordinates_are_those_of_the_particles():
    population, flow = drawn()
    assert not entropic(flow)
    torch.testing.assert_close(population.pool.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-12)
    assert float(population.pool.var(0, correction=0).mean()) == pytest.approx(1.0)
    pool, fresh = population.outside()
    torch.testing.assert_close(population.pool_density - population.frame.log_volume, flow.initial.log_prob(pool))
    torch.testing.assert_close(population.fresh_outside()[1], flow.initial.log_prob(fresh))


def test_densities_are_carried_along_an_affine_map():
    population, _ = drawn()
    matrix, shift = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([1.0, 3.0]).double()
    frame = population.frame
    moved(population, matrix, shift)
    # the map is one of the coordinates: x -> c + s (S (x - c)/s + b)
    law = Gaussian(frame.centre + matrix @ (MEAN - frame.centre) + frame.length * shift, matrix @ COVARIANCE @ matrix.T)
    points, log_density = population.fresh_outside()
    torch.testing.assert_close(log_density, law.log_prob(points))
    torch.testing.assert_close(population.pool.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-12)


def test_under_an_entropy_alone_particles_are_moved_alike_and_carry_no_density():
    """A density costs the Hessian of the network at every particle."""
    population, flow = drawn()
    alone = replace(flow, energy=FreeEnergy(Flat(2), Entropy(1.0)))
    settings = ICNNJKO(pool_size=512, batch_size=64, dtype="float64")
    light = Population.drawn_from(alone, settings, Preconditioner(), fixed_generator(3), CPU)
    light.pool, light.fresh = population.pool.clone(), population.fresh.clone()
    weights = Architecture(2, 4, 2, 1).identity(1.0, fixed_generator(1))
    weights.output.fill_(0.1)
    for each in (population, light):
        each.move(weights, None, lambda function, items: list(map(function, items)))
    assert torch.equal(light.pool, population.pool)
    assert torch.equal(light.fresh, population.fresh)
    assert population.pool_density.any()
    assert not light.pool_density.any()
    assert not light.fresh_density.any()


@pytest.mark.parametrize("affine", [True, False])
def test_scores_are_carried_with_the_coordinates(affine):
    _, flow = drawn()
    alone = replace(flow, energy=FreeEnergy(Flat(2), Entropy(1.0)))
    settings = ICNNJKO(pool_size=512, batch_size=64, dtype="float64")
    law = Population.drawn_from(alone, settings, Preconditioner(), fixed_generator(3), CPU, carry_scores=True)
    assert scored(alone)
    torch.testing.assert_close(law.scores, law.frame.length * alone.initial.score(law.outside()[0]))
    # A network that is x ↦ Sx + b has no curvature to add.
    matrix, shift = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([1.0, 3.0]).double()
    weights, frame = Architecture(2, 4, 2, 1).identity(1.0, fixed_generator(1)), law.frame
    start_at(weights, matrix, shift)
    law.move(weights, (matrix, shift) if affine else None, lambda function, items: list(map(function, items)))
    moved_law = Gaussian(
        frame.centre + matrix @ (MEAN - frame.centre) + frame.length * shift, matrix @ COVARIANCE @ matrix.T
    )
    torch.testing.assert_close(law.scores, law.frame.length * moved_law.score(law.outside()[0]))


def test_laws_without_a_score_and_other_energies_carry_none():
    _, flow = drawn()
    assert not scored(flow)
    square = Uniform(torch.zeros(2).double(), torch.ones(2).double())
    assert not scored(GradientFlow(square, FreeEnergy(Flat(2), Entropy(1.0)), (1.0,)))


def test_particles_that_gather_in_a_point_are_not_moved():
    population, _ = drawn()
    before = population.pool.clone()
    with pytest.raises(Diverged, match="gathered in a point"):
        moved(population, torch.zeros(2, 2).double(), torch.zeros(2).double())
    assert torch.equal(population.pool, before)


def test_a_flat_law_is_told():
    population, _ = drawn()
    assert population.flatness() is None
    population.pool[:, 1] = population.pool[:, 0]
    assert "no full rank" in population.flatness()


def test_a_batch_has_the_mean_of_the_pool():
    population, _ = drawn()
    power = 0.5
    batch = population.matched(power)(torch.arange(0, 512, 7))
    expected = torch.exp(power * population.pool_density).mean()
    torch.testing.assert_close(torch.exp(power * batch).mean(), expected)
