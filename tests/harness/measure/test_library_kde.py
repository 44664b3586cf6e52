"""Kernel densities of other libraries, and SymKL through them."""

from __future__ import annotations

import math

import pytest
import torch

from harness.catalogue import catalogue, import_target
from harness.measure.kde import KernelDensity
from harness.measure.library_kde import ScikitLearnKernelDensity, SciPyKernelDensity
from harness.measure.measure import Subject
from problems.laws import Gaussian
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.estimates import Exact, Particles

WEIGHTS = (None, torch.linspace(-1.0, 1.0, 40, dtype=torch.float64))


def particles(weights):
    return Particles(2 * torch.randn(40, 3, generator=generator(0), dtype=torch.float64), weights)


def measure(name):
    return import_target(catalogue().targets["measure"][name])()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_scipys_is_ours(weights):
    cloud, x = particles(weights), torch.randn(20, 3, generator=generator(1), dtype=torch.float64)
    ours = KernelDensity(cloud.points, cloud.log_weights)
    theirs = SciPyKernelDensity(cloud)
    torch.testing.assert_close(theirs.log_prob(x), ours.log_prob(x), rtol=1e-9, atol=1e-9)
    for left, right in zip(theirs.moments(), ours.moments(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_scikit_learns_is_of_one_width_in_all_directions(weights):
    cloud, x = particles(weights), torch.randn(20, 3, generator=generator(1), dtype=torch.float64)
    width = 40 ** (-1 / 7)
    squares = (x[:, None] - cloud.points).square().sum(2)
    normaliser = 1.5 * math.log(2 * math.pi * width**2)
    direct = torch.logsumexp(cloud.normalised_log_weights - squares / (2 * width**2), 1) - normaliser
    torch.testing.assert_close(ScikitLearnKernelDensity(cloud).log_prob(x), direct, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [SciPyKernelDensity, ScikitLearnKernelDensity])
def test_draws_repeat_and_leave_global_streams_alone(kind):
    state = torch.get_rng_state()
    one, two, other = (kind(particles(None)).sample(50, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.shape == (50, 3)
    assert one.dtype == torch.float64
    assert torch.equal(torch.get_rng_state(), state)


def test_symkl_through_scipys_is_symkl():
    problem = OrnsteinUhlenbeck(instance="random").build(2, 0, generator(0))
    truth = problem.truth(0.5)
    subject = Subject(Particles(truth.sample(400, generator(1))), truth, problem)
    ours, theirs, flat = (
        measure(name)(subject, 2000, generator(2)) for name in ("symkl", "symkl-scipy", "symkl-scikit-learn")
    )
    error = math.hypot(ours.standard_error, theirs.standard_error)
    assert abs(ours.value - theirs.value) < 5 * error
    assert "SciPy" in theirs.estimator
    assert "scikit-learn" in flat.estimator


def test_the_width_of_scikit_learns_does_not_follow_the_spread():
    law = Gaussian(torch.zeros(2, dtype=torch.float64), 1e-4 * torch.eye(2, dtype=torch.float64))
    problem = OrnsteinUhlenbeck(instance="random").build(2, 0, generator(0))
    subject = Subject(Particles(law.sample(400, generator(1))), law, problem)
    assert measure("symkl-scikit-learn")(subject, 500, generator(2)).value > 100
    assert measure("symkl-scipy")(subject, 500, generator(2)).value < 1


def test_they_are_for_particles_alone():
    problem = OrnsteinUhlenbeck(instance="random").build(2, 0, generator(0))
    truth = problem.truth(0.5)
    for name in ("symkl-scipy", "symkl-scikit-learn"):
        assert "for particles alone" in measure(name).unsuited(Subject(Exact(truth), truth, problem))
        assert "do not span" in measure(name).unsuited(
            Subject(Particles(truth.sample(2, generator(0))), truth, problem)
        )


def test_what_scipy_cannot_fit_has_no_density():
    problem = OrnsteinUhlenbeck(instance="random").build(2, 0, generator(0))
    line = torch.randn(30, 2, generator=generator(0), dtype=torch.float64)
    line[:, 1] = 0.0  # the covariance is singular to the last bit
    figure = measure("symkl-scipy")(Subject(Particles(line), problem.truth(0.5), problem), 100, generator(1))
    assert figure.value == math.inf
    assert "no density" in figure.estimator
