"""Affine starts of JKO steps: exact on Gaussians, right for posteriors of narrow and wide directions, and refused."""

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.affine_start import start_at
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.networks.convex_derivatives import fold, gradient
from solvers.networks.convex_network import Architecture
from solvers.solver import Diverged

CPU = torch.device("cpu")
# One iteration at next to no rate: what is seen is the start.
UNTRAINED = ICNNJKO(
    step_size=0.1, iterations=1, learning_rate=1e-12, batch_size=256, width=8, pool_size=65_536, start="affine"
)


def test_start_is_the_exact_step_of_a_gaussian():
    problem = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.3)).build(4, 0, generator(3))
    exact = GaussianJKO(step_size=0.1).solve(problem, generator(), CPU)
    answers = UNTRAINED.solve(problem, generator(1), CPU)
    for answer, reference in zip(answers.estimates, exact.estimates, strict=True):
        points = answer.sample(200_000, generator(2)).double()
        mean, covariance = reference.law.moments()
        scale = covariance.diagonal().sqrt()
        # The pool's moments, and those of the draws, are off by about n^-½ each.
        assert float(((points.mean(0) - mean) / scale).abs().max()) < 0.015
        assert float(((torch.cov(points.T) - covariance) / torch.outer(scale, scale)).abs().max()) < 0.02


def test_network_takes_the_affine_map_and_keeps_its_hidden_forms():
    architecture = Architecture(3, 8, 2, 2)
    parts = architecture.identity(1.0, generator()).parts()
    weights = architecture.weights(torch.cat([part.flatten() for part in parts]))
    weights.output.fill_(0.3)
    forms = [form.clone() for form in weights.forms]
    factor = torch.randn(3, 3, dtype=torch.float64, generator=generator(1))
    matrix, shift = factor @ factor.T + 0.01 * torch.eye(3).double(), torch.tensor([0.5, -1.0, 2.0]).double()
    start_at(weights.of(0), matrix, shift)
    x = torch.randn(1, 20, 3, dtype=torch.float64, generator=generator(2))
    torch.testing.assert_close(gradient(fold(weights), x)[0], x[0] @ matrix + shift, rtol=1e-10, atol=1e-10)
    assert all(torch.equal(*pair) for pair in zip(forms, weights.forms, strict=True))


def test_scales_that_differ_by_orders_of_magnitude_are_met_at_once():
    """Standard deviations from .01 to 30, starting at 1: within a percent of the exact step with 40 iterations."""
    deviations = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    target = Quadratic(torch.diag(deviations**-2), torch.zeros(3, dtype=torch.float64))
    initial = Gaussian(torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    problem = Problem(GradientFlow(initial, FreeEnergy(target, Entropy(1.0)), (4e4,)), (), None, "not needed")
    solver = ICNNJKO(
        step_size=1e4, iterations=40, learning_rate=1e-4, batch_size=512, width=8, pool_size=16_384, start="affine"
    )
    found = solver.solve(problem, generator(), CPU).estimates[0].sample(100_000, generator(1)).double()
    torch.testing.assert_close(found.std(0) / deviations, torch.ones(3).double(), rtol=0, atol=0.02)


def test_no_minimum_among_gaussians_is_said_with_the_step():
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), 1e-4 * torch.eye(2, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(Upturned(), Entropy(1.0)), (1e6,))
    problem = Problem(flow, (), None, "not needed")
    # Nor is there one among all maps, whatever they start from.
    for start in ("affine", "previous"):
        with pytest.raises(
            Diverged, match=r"step 1 of 1 \(t = 1e\+06\): the step has no minimum, the objective falls as far as"
        ):
            ICNNJKO(step_size=1e6, iterations=1, batch_size=64, width=8, pool_size=1024, start=start).solve(
                problem, generator(), CPU
            )


class Upturned(Potential):
    """A hill without an end: no law is at rest in it."""

    @property
    def dim(self) -> int:
        return 2

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -0.5 * x.square().sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return -x


def test_unknown_start():
    with pytest.raises(ValueError, match="start must be one of 'previous', 'affine'; got 'warm'"):
        ICNNJKO(start="warm")
