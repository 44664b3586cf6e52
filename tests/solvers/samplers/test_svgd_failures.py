"""Where SVGD breaks down it says so: potentials that are undefined, steps that overflow, particles that coincide."""

import math

import pytest
import torch

from problems.laws import Empirical, Gaussian
from problems.potentials import Quadratic
from seeding import generator
from solvers.samplers.stein import KERNELS
from solvers.samplers.svgd import Coincident, stein_direction
from solvers.solver import Diverged
from tests.solvers.samplers.svgd_runs import (
    CENTRE,
    PRECISION,
    Undefined,
    correlated,
    final,
    normals,
    one_by_one,
    run,
    stationary,
)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_potential_that_is_undefined_at_some_particles(wrong):
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    start = initial.sample(100, generator())
    bad = int((start.float().norm(dim=1) > 1.5).sum())
    assert 0 < bad < 100
    with pytest.raises(Diverged, match=f"∇V is not finite at {bad} of 100 particles in iteration 1 of 5"):
        run(stationary(Undefined(wrong), initial), particles=100, iterations=5)


def test_step_at_which_a_potential_comes_to_be_undefined():
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), 0.01 * torch.eye(2, dtype=torch.float64))
    with pytest.raises(Diverged, match=r"∇V is not finite at \d+ of 50 particles in iteration (\d\d+) of 500"):
        run(stationary(Undefined(), initial), particles=50, iterations=500)


def test_direction_that_overflows():
    problem = stationary(Quadratic(1e30 * PRECISION, CENTRE), correlated().flow.initial)
    with pytest.raises(Diverged, match=r"φ overflows in iteration 1 of 3; a learning_rate below 0\.05"):
        run(problem, particles=10, iterations=3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", [0.0, 0.1, 1e3])
def test_identical_particles(dtype, place):
    law = Empirical(torch.full((1, 2), place, dtype=torch.float64), torch.zeros(2), torch.zeros(2, 2))
    problem = stationary(Quadratic(PRECISION, CENTRE), law)
    with pytest.raises(Diverged, match="the particles coincide in iteration 1 of 1000: the median"):
        run(problem, particles=30, dtype=dtype)
    with pytest.raises(Coincident):
        stein_direction(torch.ones(5, 2), torch.ones(5, 2), KERNELS["rbf"], None, one_by_one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_heaps_of_particles(dtype):
    """Most pairs are in one place, away from the centre: their distances come out as rounding, of either sign."""
    for seed in range(20):
        places = normals(2, 5, seed).to(dtype)
        x = torch.cat([places[:1].expand(60, -1), places[1:].expand(40, -1)])
        with pytest.raises(Coincident, match="is nothing but rounding"):
            stein_direction(x, x, KERNELS["rbf"], None, one_by_one)


def test_identical_particles_with_a_given_bandwidth_move_together():
    law = Empirical(torch.ones(1, 2, dtype=torch.float64), torch.zeros(2), torch.zeros(2, 2))
    problem = stationary(Quadratic(PRECISION, CENTRE), law)
    points = final(problem, particles=5, bandwidth=1.0, optimiser="descent", iterations=200, learning_rate=0.3)
    torch.testing.assert_close(points, CENTRE.expand(5, 2), rtol=1e-5, atol=1e-5)
