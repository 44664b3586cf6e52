"""ICNN-JKO as a filter: against Kalman's, its density, its particles, and observations where they are awkward."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.observations import GaussianNoise
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.icnn.filter import FilteredPushforward, NetworkSteps, all_have_slopes
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.solver import Diverged, Solution
from solvers.threads import workers

CPU = torch.device("cpu")
SMALL = ICNNJKO(step_size=0.1, order=2, iterations=120, batch_size=256, width=8, rank=1, pool_size=8192)


@cache
def filtered(dim: int) -> tuple[Problem, Solution]:
    problem = LinearFiltering(times=(0.5, 1.0), observation_times=(0.4, 0.8)).build(dim, 1, fixed_generator(3))
    return problem, SMALL.solve(problem, generator(4), CPU)


@pytest.mark.parametrize("dim", [1, 2])
def test_linear_observations_give_kalmans_law(dim):
    """Five deviations from the median over fifty seeds: their largest are 2e-3, 5e-3 and 3.1e-2."""
    problem, answer = filtered(dim)
    for time, fit in zip(problem.flow.times, answer.estimates, strict=True):
        law = problem.truth(time)
        x = law.sample(2000, generator(5))
        ratio = fit.log_prob(x) - law.log_prob(x)
        assert abs(float(ratio.mean())) < 5e-3
        assert float(ratio.square().mean()) < 1e-2
    assert answer.diagnostics["log_evidence"] == pytest.approx(problem.log_evidence(1.0), abs=6.5e-2)


def test_the_density_is_normalised_and_the_particles_follow_it():
    _, answer = filtered(1)
    fit = answer.estimates[-1]
    assert isinstance(fit, FilteredPushforward)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    density = fit.log_prob(grid).exp()
    width = 16 / 4000
    # The evidence of an observation is an average over particles, and so is the constant of the density.
    assert float(density.sum()) * width == pytest.approx(1, abs=1e-3)
    mean = float((density * grid[:, 0]).sum()) * width
    weights = fit.log_weights.exp()
    assert float(weights.sum()) == pytest.approx(1)
    assert float((weights * fit.points[:, 0]).sum()) == pytest.approx(mean, abs=5e-3)


@pytest.mark.parametrize("preconditioner", ["identity", "hessian"])
@pytest.mark.parametrize("dim", [1, 2])
def test_particles_carry_the_score_of_their_density(dim, preconditioner):
    given = {"instance": "given", "times": (0.6,), "observation_times": (0.0, 0.3), "observed": "distance"}
    problem = NonlinearFiltering(values=((0.7,), (0.4,)), noise_scale=0.3, **given).build(dim, 1, fixed_generator(3))
    quick = replace(SMALL, iterations=20, pool_size=1024, dtype="float64", preconditioner=preconditioner)
    with workers() as run:
        steps = NetworkSteps(quick, problem.flow, generator(4), CPU, run, all_have_slopes(problem))
        estimate = steps.start()
        for start, stop, index in ((0.0, 0.3, 0), (0.3, 0.6, 1)):
            with torch.no_grad():
                estimate = estimate.condition(problem.observations.likelihood(index), generator()).estimate
                estimate = steps.advance(estimate, start, stop)
    assert None in steps.state.affine
    points, width = estimate.points[:50], 1e-4
    for coordinate in torch.eye(dim, dtype=torch.float64):
        sides = [estimate.log_prob(points + sign * width * coordinate) for sign in (1, -1)]
        slope = (sides[0] - sides[1]) / (2 * width)
        assert (steps.scores[:50] @ coordinate).numpy() == pytest.approx(slope.numpy(), abs=1e-5)


def test_observations_whose_likelihood_has_no_slope_are_taken_in_without_scores():
    class Unknown(GaussianNoise):
        def score(self, residual):
            return None

    problem = LinearFiltering(times=(0.5,), observation_times=(0.4,)).build(1, 1, fixed_generator(3))
    blunt = replace(problem, observations=replace(problem.observations, noise=Unknown(problem.observations.noise.std)))
    assert all_have_slopes(problem)
    assert not all_have_slopes(blunt)
    answer = SMALL.solve(blunt, generator(4), CPU)
    x = problem.truth(0.5).sample(2000, generator(5))
    assert abs(float((answer.estimates[0].log_prob(x) - problem.truth(0.5).log_prob(x)).mean())) < 5e-3


def test_an_observation_at_the_start_and_two_at_a_time():
    settings = {"instance": "given", "times": (0.2,), "observation_times": (0.0, 0.2, 0.2), "missing": "skip"}
    problem = NonlinearFiltering(values=((0.7,), (-0.2,), (0.4,)), **settings).build(1, 0, generator())
    answer = replace(SMALL, order=1).solve(problem, generator(), CPU)
    exact = QuantileJKO(step_size=0.1).solve(problem, generator(), CPU)
    assert answer.diagnostics["observations"] == 3
    assert answer.diagnostics["log_evidence"] == pytest.approx(exact.diagnostics["log_evidence"], abs=2e-2)


def test_what_a_leg_costs_does_not_depend_on_those_before():
    # Two legs of two steps each, the second after an observation.
    problem = LinearFiltering(times=(0.4,), observation_times=(0.2,)).build(1, 0, generator())
    short = LinearFiltering(times=(0.2,), observation_times=(0.2,)).build(1, 0, generator())
    quick = replace(SMALL, iterations=10)
    costs = [quick.solve(each, generator(), CPU).cost.gradient_evaluations for each in (short, problem)]
    assert costs[1] == 2 * costs[0]


def test_an_observation_that_leaves_nothing_is_named():
    far = NonlinearFiltering(
        instance="given", times=(0.2,), observation_times=(0.1,), values=((400.0,),), noise_scale=0.1
    ).build(1, 0, generator())
    with pytest.raises(Diverged, match=r"particles are left effective|leaves nothing|zero"):
        replace(SMALL, iterations=5).solve(far, generator(), CPU)


def test_seeds_together_are_filtered_one_by_one():
    problems = [LinearFiltering(times=(0.2,), observation_times=(0.1,)).build(1, seed, generator()) for seed in (0, 1)]
    quick = replace(SMALL, iterations=5)
    together = quick.solve_batch(problems, [generator(1), generator(2)], CPU)
    for problem, seed, answer in zip(problems, (1, 2), together, strict=True):
        alone = quick.solve(problem, generator(seed), CPU)
        assert isinstance(answer, Solution)
        assert torch.equal(answer.estimates[0].points, alone.estimates[0].points)
