"""Gaussian laws are known by the scores of their particles, and their steps in quadratic potentials are exact."""

from dataclasses import replace

import pytest
import torch

from problems.laws import Gaussian, GaussianMixture
from problems.linear_algebra import random_spd
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.gaussian_law import gaussian_moments
from solvers.icnn.icnn_jko import ICNNJKO

CPU = torch.device("cpu")
FEW = ICNNJKO(step_size=0.1, pool_size=64, batch_size=32, dtype="float64")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 2, 12])
def test_scores_tell_the_moments_whatever_points_were_drawn(dim, dtype):
    law = Gaussian(torch.linspace(-1, 2, dim).double(), random_spd(torch.logspace(-2, 1, dim).double(), generator()))
    x = law.sample(5 * dim, generator(1)) + 0.3
    mean, covariance = gaussian_moments(x.to(dtype), law.score(x).to(dtype))
    digits = 1e-5 if dtype == torch.float32 else 1e-11
    assert mean.numpy() == pytest.approx(law.mean.numpy(), abs=digits)
    assert covariance.numpy() == pytest.approx(law.covariance.numpy(), abs=10 * digits)


def test_scores_that_are_not_affine_or_grow_outwards_are_of_no_gaussian_law():
    bumps = GaussianMixture(
        torch.tensor([0.5, 0.5]).double(), torch.tensor([[-0.5], [0.5]]).double(), torch.ones(2, 1, 1).double()
    )
    x = bumps.sample(1000, generator())
    assert gaussian_moments(x, bumps.score(x)) is None
    assert gaussian_moments(x, x) is None


def test_few_points_that_are_there_many_times_tell_no_law():
    """Through two points there is always a line, and a filter may have no others left."""
    bumps = GaussianMixture(
        torch.tensor([0.5, 0.5]).double(), torch.tensor([[-0.5], [0.5]]).double(), torch.ones(2, 1, 1).double()
    )
    x = torch.tensor([[-1.0], [0.5]]).double().repeat(500, 1)
    assert gaussian_moments(x, bumps.score(x)) is None


@pytest.mark.parametrize("order", [1, 2])
def test_steps_in_quadratic_potentials_are_exact_from_few_particles(order):
    problem = OrnsteinUhlenbeck(instance="random", times=(0.3,), spectrum="stiff").build(3, 0, generator(2))
    answer = replace(FEW, order=order).solve(problem, generator(3), CPU)
    exact = GaussianJKO(step_size=0.1, order=order, second_order="fitted" if order == 2 else "extrapolated")
    law = exact.solve(problem, generator(3), CPU).estimates[0].density
    x = law.sample(200, generator(4))
    assert list(answer.traces["iterations"]) == 3 * [0]
    assert answer.estimates[0].log_prob(x).numpy() == pytest.approx(law.log_prob(x).numpy(), abs=1e-8)


def test_nothing_is_trained_in_other_coordinates_either():
    problem = OrnsteinUhlenbeck(instance="random", times=(0.3,), spectrum="stiff").build(3, 0, generator(2))
    answer = replace(FEW, preconditioner="hessian").solve(problem, generator(3), CPU)
    assert list(answer.traces["iterations"]) == 3 * [0]
