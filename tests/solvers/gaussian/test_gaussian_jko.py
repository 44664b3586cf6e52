import dataclasses
import math

import pytest
import torch

from instances import ornstein_uhlenbeck
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian, GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential
from seeding import generator
from solvers.estimates import Exact
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.solver import Diverged

CPU = torch.device("cpu")
FAMILY = OrnsteinUhlenbeck()


def symmetric_kl(p, q):
    """KL(p‖q) + KL(q‖p) of two Gaussians."""
    p_precision, q_precision = torch.linalg.inv(p.covariance), torch.linalg.inv(q.covariance)
    shift = p.mean - q.mean
    traces = torch.trace(p_precision @ q.covariance) + torch.trace(q_precision @ p.covariance)
    return float(0.5 * traces - p.dim + 0.5 * shift @ (p_precision + q_precision) @ shift)


def errors(problem, **settings):
    solution = GaussianJKO(**settings).solve(problem, generator(), CPU)
    return [
        symmetric_kl(estimate.law, problem.truth(time))
        for time, estimate in zip(solution.times, solution.estimates, strict=True)
    ]


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


@pytest.mark.parametrize("order", [1, 2])
def test_the_gibbs_law_is_stationary(order):
    problem = ornstein_uhlenbeck(5)
    potential = problem.flow.potential
    covariance = torch.linalg.inv(potential.precision) / 0.7
    gibbs = Gaussian(potential.centre, 0.5 * (covariance + covariance.T))
    still = dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, initial=gibbs))
    for estimate in GaussianJKO(order=order).solve(still, generator(), CPU).estimates:
        assert symmetric_kl(estimate.law, gibbs) < 1e-12


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_order_of_convergence(order, seed):
    """The moments' error is of the declared order, and so is the square root of SymKL."""
    problem = ornstein_uhlenbeck(4, seed, times=(0.4, 0.8))
    coarse, fine = (errors(problem, step_size=h, order=order) for h in (0.01, 0.005))
    for error, finer in zip(coarse, fine, strict=True):
        assert math.log2(math.sqrt(error / finer)) == pytest.approx(order, abs=0.1)


# mean SymKL over the fifteen published instances at t = 0.5 and 0.9, h = 0.05
FLOORS = {2: (0.00136, 0.000324), 6: (0.00828, 0.00225), 12: (0.0105, 0.00337), 32: (0.0306, 0.00818)}


@pytest.mark.parametrize("dim", FLOORS)
def test_floors_on_the_published_instances(dim):
    first = torch.tensor([errors(FAMILY.build(dim, seed, generator()), order=1) for seed in range(15)]).mean(0)
    assert [float(f"{value:.3g}") for value in first.tolist()] == list(FLOORS[dim])
    second = torch.tensor([errors(FAMILY.build(dim, seed, generator()), order=2) for seed in range(15)]).mean(0)
    assert float(second.max()) < 1e-4


def test_order_two_on_every_published_instance_in_twelve_dimensions():
    assert max(max(errors(FAMILY.build(12, seed, generator()), order=2)) for seed in range(15)) < 1e-4


@pytest.mark.parametrize("order", [1, 2])
def test_times_are_reached_independently(order):
    problem = ornstein_uhlenbeck(3, times=(0.5, 0.9))
    both = GaussianJKO(order=order).solve(problem, generator(), CPU)
    alone = dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, times=(0.9,)))
    [last] = GaussianJKO(order=order).solve(alone, generator(), CPU).estimates
    assert both.times == (0.5, 0.9)
    assert all(isinstance(estimate, Exact) for estimate in both.estimates)
    assert torch.equal(both.estimates[-1].law.covariance, last.law.covariance)
    assert torch.equal(both.estimates[-1].law.mean, last.law.mean)


def test_extrapolation_out_of_the_cone_is_divergence():
    family = OrnsteinUhlenbeck(
        instance="given", precision=((100.0,),), centre=(0.0,), inverse_temperature=1e6, times=(0.5,)
    )
    problem = family.build(1, 0, generator())
    GaussianJKO(step_size=0.5, order=1).solve(problem, generator(), CPU)
    with pytest.raises(Diverged, match=r"covariance at t = 0.5 is not positive definite.*step_size below 0.5"):
        GaussianJKO(step_size=0.5, order=2).solve(problem, generator(), CPU)


def with_flow(problem, **changes):
    return dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, **changes))


def test_unsupported_problems_are_named():
    problem = ornstein_uhlenbeck(2)
    solver = GaussianJKO()
    assert solver.unsupported(problem) is None
    mixture = ornstein_uhlenbeck(2, initial_components=2)
    assert isinstance(mixture.flow.initial, GaussianMixture)
    assert "must be Gaussian, not GaussianMixture" in solver.unsupported(mixture)
    curved = dataclasses.replace(problem.flow.energy, potential=MixturePotential(mixture.flow.initial))
    bent = with_flow(problem, energy=curved)
    assert solver.unsupported(bent) == "the potential must be quadratic, not MixturePotential"
    assert solver.unsupported(dataclasses.replace(bent, stationary=True)).endswith(": gaussian-variational takes any")
    interacting = dataclasses.replace(problem.flow.energy, interaction=QuadraticInteraction(2))
    assert "no interaction" in solver.refusal(with_flow(problem, energy=interacting))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0.0}, "step_size must be a finite number > 0, got 0.0"),
        ({"step_size": -0.1}, "step_size must be"),
        ({"step_size": math.nan}, "step_size must be"),
        ({"order": 3}, "order must be one of 1, 2; got 3"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GaussianJKO(**settings)


def test_times_off_the_steps_are_refused():
    GaussianJKO(step_size=0.1, order=2).check_times((0.5, 0.9))
    with pytest.raises(ValueError, match=r"time 0.5 is not a multiple of step_size 0.2"):
        GaussianJKO(step_size=0.2).check_times((0.5, 0.9))
    with pytest.raises(ValueError, match=r"step_size 2 is larger than the horizon 0.9"):
        GaussianJKO(step_size=2.0).check_times((0.5, 0.9))
