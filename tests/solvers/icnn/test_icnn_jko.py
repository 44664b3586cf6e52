"""ICNN-JKO against exact JKO steps, and what its answers and its training must be."""

import math
from dataclasses import replace

import pytest
import torch

from problems.double_well import DoubleWellPotential
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.logistic_regression import LogisticRegression
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Potential, Quadratic
from seeding import fixed_generator, generator
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import Pushforward
from solvers.solver import Diverged, Solution
from tests.solvers.icnn.icnn_runs import CPU, SMALL, gaussian_divergence, line, solved


@pytest.fixture(scope="module")
def mixture() -> Pushforward:
    """Two steps towards a mixture in the plane: maps that are far from affine."""
    problem = GaussianMixtureFlow(times=(0.2,)).build(2, 0, generator())
    (answer,) = solved(SMALL, problem).estimates
    assert isinstance(answer, Pushforward)
    return answer


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_steps_on_gaussians_are_the_exact_ones(beta):
    problem = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.3), inverse_temperature=beta).build(
        2, 0, fixed_generator(3)
    )
    exact = GaussianJKO(step_size=0.1).solve(problem, generator(), CPU)
    answers = solved(replace(SMALL, iterations=500), problem)
    for answer, reference, time in zip(answers.estimates, exact.estimates, problem.flow.times, strict=True):
        start = gaussian_divergence(Pushforward(problem.flow.initial, ()), reference.law)
        error = gaussian_divergence(answer, reference.law)
        truth = gaussian_divergence(Pushforward(problem.truth(time), ()), reference.law)
        # Over twenty seeds at most 2.1e-4, the logarithm with a deviation of 0.45.
        assert error < 8e-4 < 0.05 * start
        assert error < 0.1 * truth, "training must err less than the time step does"


@pytest.mark.parametrize("second_order", ["midpoint", "fitted"])
@pytest.mark.parametrize("rate", [0.5, 8.0])
def test_second_order_steps_are_those_of_their_rule(rate, second_order):
    # For V = λx²/2 and N(0, s) a step goes to ux, which minimises (u-1)²s/2hθ + λu²s/2 - β⁻¹ log u, a quadratic
    # equation in u, and on to ax, a = 1 + (u-1)/θ. θ = ½ is the implicit midpoint, the other that fitted to hλ.
    beta, step_size, variance = 2.0, 0.1, 2.25
    potential = Quadratic(torch.tensor([[rate]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    problem = line(potential, 0.0, math.sqrt(variance), beta, (0.1, 0.2))
    answers = solved(
        ICNNJKO(
            step_size=step_size,
            order=2,
            second_order=second_order,
            iterations=400,
            batch_size=256,
            width=8,
            pool_size=4096,
        ),
        problem,
    )
    share = 0.5 if second_order == "midpoint" else 1 / (1 - math.exp(-step_size * rate)) - 1 / (step_size * rate)
    x = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)[:, None]
    slope = 1.0
    for answer in answers.estimates:
        pull = variance / (share * step_size)
        stiffness = pull + rate * variance
        u = (pull + math.sqrt(pull**2 + 4 * stiffness / beta)) / (2 * stiffness)
        slope, variance = slope * (1 + (u - 1) / share), variance * (1 + (u - 1) / share) ** 2
        assert isinstance(answer, Pushforward)
        torch.testing.assert_close(answer.push(x), slope * x, atol=1.5e-2, rtol=0)  # over 30 seeds at most 7.8e-3
    # The error in the variance against the exact flow is that of second order.
    exact = math.exp(-2 * rate * 0.2) * 2.25 + (1 - math.exp(-2 * rate * 0.2)) / (beta * rate)
    first = GaussianJKO(step_size=step_size).solve(problem, generator(), CPU).estimates[-1].law.covariance.item()
    assert abs(variance - exact) < 0.2 * abs(first - exact)


def quantile_step(potential: Potential, start: torch.Tensor, step_size: float, beta: float) -> torch.Tensor:
    """One JKO step on the line by Newton in the quantiles X_i of equal masses, from ``start`` (n,).

    Minimises mean[(X-X₀)²/2h + V(X)] - β⁻¹ mean log of the ratios of the gaps, which is convex for small h.
    """
    x = start.clone()
    for _ in range(50):
        gap = x.diff()
        slope = (x - start) / step_size + potential.gradient(x[:, None])[:, 0]
        slope[:-1] += 1 / (beta * gap)
        slope[1:] -= 1 / (beta * gap)
        curvature = torch.diag(1 / step_size + potential.hessian(x[:, None])[:, 0, 0])
        weight = 1 / (beta * gap.square())
        curvature += torch.diag(torch.cat([weight, weight[:1] * 0]) + torch.cat([weight[:1] * 0, weight]))
        curvature -= torch.diag(weight, 1) + torch.diag(weight, -1)
        step = torch.linalg.solve(curvature, slope)
        length = 1.0
        while bool(((x - length * step).diff() <= 0).any()):
            length /= 2
        x = x - length * step
        if float(step.abs().max()) < 1e-12:
            return x
    raise AssertionError("Newton has not converged")


def test_steps_in_a_double_well_are_those_of_the_quantile_functions():
    potential, beta = DoubleWellPotential(1.0, 0.25), 2.0
    answers = solved(
        ICNNJKO(step_size=0.1, iterations=800, batch_size=256, width=64, pool_size=8192),
        line(potential, 0.3, 0.6, beta, (0.1, 0.2)),
    )
    probability = (torch.arange(1600, dtype=torch.float64) + 0.5) / 1600
    start = 0.3 + 0.6 * torch.special.ndtri(probability)
    x = start
    for answer in answers.estimates:
        x = quantile_step(potential, x, 0.1, beta)
        assert isinstance(answer, Pushforward)
        fitted = answer.push(start[:, None])[:, 0]
        error = float((fitted - x)[80:-80].square().mean().sqrt())
        # The nearest affine map is 0.09 away from the first step and 0.14 from both.
        basis = torch.stack([start, torch.ones_like(start)], dim=1)
        affine = basis @ torch.linalg.lstsq(basis, x[:, None]).solution
        # Over 28 seeds at most 2.9e-3. Half the units or iterations leave some at 1e-2.
        assert error < 6e-3
        assert error < 0.1 * float((affine[:, 0] - x)[80:-80].square().mean().sqrt())


def test_pushing_and_pulling_return_the_point(mixture):
    def pulled(y):
        for step in reversed(mixture.maps):
            y, _ = step.inverse(y)
        return y

    x = mixture.base.sample(500, generator(1))
    torch.testing.assert_close(pulled(mixture.push(x)), x, rtol=0, atol=1e-8)
    far = 60 * torch.randn(200, 2, dtype=torch.float64, generator=generator(2))
    torch.testing.assert_close(mixture.push(pulled(far)), far, rtol=0, atol=1e-7)


def test_densities_of_draws_and_of_points_agree(mixture):
    x, log_density = mixture.sample_with_log_prob(500, generator(3))
    torch.testing.assert_close(mixture.log_prob(x), log_density, rtol=0, atol=1e-8)
    assert torch.equal(x, mixture.sample(500, generator(3)))


def test_density_integrates_to_one(mixture):
    side = torch.linspace(-24, 24, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    mass = float(mixture.log_prob(grid).exp().sum()) * float(side[1] - side[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


def test_points_that_cannot_be_inverted_are_counted(mixture):
    y = torch.zeros(5, 2, dtype=torch.float64)
    y[1, 0], y[3, 1] = math.nan, math.inf
    with pytest.raises(Diverged, match="not found at 2 of 5 points"):
        mixture.log_prob(y)


def test_nothing_is_trained_on_gaussians_and_a_converged_step_skips_to_the_end_of_its_schedule():
    gaussian = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.3)).build(2, 0, fixed_generator(3))
    exact = GaussianJKO(step_size=0.1).solve(gaussian, generator(), CPU)
    answer = solved(SMALL, gaussian)
    assert answer.traces["iterations"] == [0, 0, 0]
    # The pool has the law's moments to the rounding of float32.
    assert gaussian_divergence(answer.estimates[-1], exact.estimates[-1].law) < 1e-9
    bent = line(DoubleWellPotential(1.0, 0.25), 0.3, 0.6, 2.0, (0.1,))
    (iterations,) = solved(replace(SMALL, iterations=500, tolerance=1e9), bent).traces["iterations"]
    # Compared for the first time after two tenths, then the last fifth.
    assert iterations == 200


def test_steps_are_affine_where_training_has_not_made_them_better():
    bent = line(DoubleWellPotential(1.0, 0.25), 0.3, 0.6, 2.0, (0.1,))
    spoilt = solved(replace(SMALL, learning_rate=1.0, iterations=20, batch_size=32, pool_size=64), bent)
    assert spoilt.traces["iterations"][0] > 0
    fit, start = spoilt.estimates[0], bent.flow.initial
    assert isinstance(fit, Pushforward)
    x = torch.linspace(-1.5, 2, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(fit.push(x).diff(n=2, dim=0), torch.zeros(6, 1, dtype=torch.float64), rtol=0, atol=1e-12)
    assert start.dim == 1


def test_minibatches_of_cases_estimate_the_potential():
    problem = LogisticRegression(prior_shape=4.0, prior_rate=4.0, times=(0.2,)).build(31, 0, generator())
    small = ICNNJKO(step_size=0.1, iterations=60, batch_size=128, width=8, rank=2, pool_size=2048)
    cases = problem.flow.potential.cases
    full, sampled, everything = (
        solved(replace(small, minibatch=minibatch), problem) for minibatch in (None, 64, cases)
    )
    means = [answer.estimates[0].sample(2000, generator(1)).mean(0) for answer in (full, sampled, everything)]
    moved = float((means[0] - problem.flow.initial.moments()[0]).norm())
    assert float((means[1] - means[0]).norm()) < 0.3 * moved
    assert float((means[2] - means[0]).norm()) < 0.1 * moved
    assert replace(small, minibatch=cases + 1).unsupported(problem) == (
        f"there are {cases} cases, fewer than a minibatch of {cases + 1}"
    )
    other = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(3, 0, generator())
    assert replace(small, minibatch=5).unsupported(other) == "minibatches need a potential that is a sum over cases"


def test_a_pool_too_small_is_not_learnt_from():
    """Fresh particles judge every step: of 64 particles no map is kept that is worse than the best affine one."""
    problem = GaussianMixtureFlow(times=(0.1,)).build(2, 0, generator())
    keys = {"step_size": 0.1, "iterations": 400, "batch_size": 64, "width": 32, "rank": 2, "shrinkage": 0.0}
    answers = [solved(ICNNJKO(pool_size=64, **keys), problem, seed) for seed in range(3)]
    assert all(answer.diagnostics["fresh_gap"] < 6 for answer in answers)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_training_reaches_the_same_steps():
    family = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.3))
    problems = [family.build(2, seed, generator(seed)) for seed in range(3)]
    answers = replace(SMALL, iterations=500).solve_batch(
        problems, [generator(10 + seed) for seed in range(3)], torch.device("cuda")
    )
    for problem, answer in zip(problems, answers, strict=True):
        assert isinstance(answer, Solution)
        exact = GaussianJKO(step_size=0.1).solve(problem, generator(), CPU)
        for fit, reference in zip(answer.estimates, exact.estimates, strict=True):
            assert gaussian_divergence(fit, reference.law) < 2e-4
