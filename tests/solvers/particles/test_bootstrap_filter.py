"""The bootstrap filter: unbiased evidence, Kalman's moments, published accuracy, and what it must never do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions, sigmas
from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.references.exact_filter import grid_recursion
from seeding import fixed_generator, generator
from solvers.particles.bootstrap_filter import BootstrapFilter
from solvers.particles.euler_maruyama import EulerMaruyama
from solvers.particles.resampling import SCHEMES
from solvers.solver import Diverged

CPU = torch.device("cpu")


def solve(solver, problem, seed=1):
    return solver.solve(problem, generator(seed), CPU)


def discretised_log_evidence(problem, step_size):
    """Kalman's filter of the Euler-Maruyama chain itself: what the particle filter estimates without bias."""
    flow, seen = problem.flow, problem.observations
    dim = flow.dim
    step = torch.eye(dim, dtype=torch.float64) - step_size * flow.potential.precision
    mean, covariance = flow.initial.moments()
    now, total = 0.0, 0.0
    for index, time in enumerate(seen.times):
        for _ in range(round((time - now) / step_size)):
            mean = step @ mean + step_size * flow.potential.precision @ flow.potential.centre
            covariance = step @ covariance @ step.T + 2 * step_size / flow.inverse_temperature * torch.eye(dim)
        now, matrix = time, seen.function.matrix
        spread = matrix @ covariance @ matrix.T + seen.noise.std**2 * torch.eye(len(matrix))
        total += float(Gaussian(matrix @ mean, 0.5 * (spread + spread.T)).log_prob(seen.values[index][None]))
        gain = torch.linalg.solve(spread, matrix @ covariance).T
        mean = mean + gain @ (seen.values[index] - matrix @ mean)
        covariance = covariance - gain @ matrix @ covariance
    return total


@pytest.mark.parametrize(("resampling", "threshold"), [*((scheme, 1.0) for scheme in SCHEMES), ("systematic", 0.5)])
@repetitions(200, 2000)
def test_evidence_is_unbiased(resampling, threshold, repetitions):
    """E[Ẑ] = Z of the discretised model, over runs of 60 particles."""
    problem = LinearFiltering(observation_times=(0.0, 0.2, 0.2, 0.5), times=(0.5,)).build(1, 8, fixed_generator(8))
    exact = discretised_log_evidence(problem, 0.1)
    solver = BootstrapFilter(particles=60, step_size=0.1, resampling=resampling, threshold=threshold, collapse=0)
    ratios = [math.exp(solve(solver, problem, seed).diagnostics["log_evidence"] - exact) for seed in range(repetitions)]
    assert abs(np.mean(ratios) - 1) < mean_error(ratios) < 0.25


@pytest.mark.parametrize("dim", [1, 3])
def test_moments_and_evidence_are_kalmans(dim):
    """20,000 particles in steps of 2e-3: standard errors at the effective sample size, plus the step's bias."""
    problem = LinearFiltering(noise_std=1.0).build(dim, 2, generator(2))
    solution = solve(BootstrapFilter(particles=20_000, step_size=2e-3), problem)
    mean, covariance = solution.estimates[0].moments(generator())
    exact_mean, exact_covariance = problem.truth(2.0).moments()
    effective = 20_000 * solution.diagnostics["smallest_effective_share"]
    spread = exact_covariance.diagonal()
    assert bool(((mean - exact_mean).abs() < sigmas(10) * (spread / effective).sqrt() + 2e-3).all())
    products = torch.outer(spread, spread) + exact_covariance**2
    assert bool(((covariance - exact_covariance).abs() < sigmas(10) * (products / effective).sqrt() + 4e-3).all())
    rough = math.sqrt(sum((1 / share - 1) / 20_000 for share in solution.assimilated["effective_share"]))
    assert abs(solution.diagnostics["log_evidence"] - problem.log_evidence(2.0)) < 10 * rough + 0.01


def test_published_accuracy():
    """Median SymKL of 1000 particles over seven runs of the 15 instances within the published quartiles, or below."""
    values = []
    for seed in range(105):
        instance = seed % 15
        problem = NonlinearFiltering().build(1, instance, generator())
        (estimate,) = solve(BootstrapFilter(particles=1000, step_size=5e-3), problem, seed).estimates
        truth, _ = grid_recursion(problem.flow, problem.observations, (-12.6, 12.6), 1000)(5.0)
        values.append(SymKL()(Subject(estimate, truth, problem), 100, generator()).value)
    assert np.median(values) < 0.0429


@pytest.mark.parametrize("order", [1, 2])
def test_without_observations_it_is_euler_maruyama(order):
    """The same particles to the bit: streams, blocks and steps are those of the plain solver."""
    problem = LinearFiltering(observation_times=(), times=(0.5, 1.0)).build(2, 0, generator())
    ours = solve(BootstrapFilter(particles=3000, step_size=0.01, order=order), problem)
    theirs = solve(EulerMaruyama(particles=3000, step_size=0.01, order=order), problem)
    last = [solution.estimates[0].points for solution in (ours, theirs)]
    assert torch.equal(*last)
    assert ours.cost == theirs.cost
    assert ours.estimates[1].log_weights is None


def test_threads_do_not_matter(on_threads):
    """70,000 particles are three blocks."""
    problem = NonlinearFiltering(
        instance="random", observation_times=(0.0, 0.03, 0.03), times=(0.03, 0.05), noise_scale=0.5
    ).build(1, 0, generator())
    solver = BootstrapFilter(particles=70_000, step_size=0.01, threshold=1.0)
    one, two = on_threads(lambda: solve(solver, problem), (1, 2))
    assert one.diagnostics == two.diagnostics
    assert dict(one.assimilated) == dict(two.assimilated)
    for left, right in zip(one.estimates, two.estimates, strict=True):
        assert torch.equal(left.points, right.points)


def test_threshold_decides_when_to_resample():
    problem = NonlinearFiltering().build(1, 0, generator())
    counts = {
        threshold: solve(
            BootstrapFilter(particles=500, step_size=0.02, threshold=threshold, collapse=0), problem
        ).diagnostics["resamplings"]
        for threshold in (0.0, 0.5, 1.0)
    }
    assert counts[0.0] == 0
    assert counts[1.0] == 9
    assert 0 < counts[0.5] < 9


def test_posterior_at_an_observation_keeps_its_weights():
    problem = NonlinearFiltering(times=(0.5,)).build(1, 0, generator())
    (estimate,) = solve(BootstrapFilter(particles=500, step_size=0.02), problem).estimates
    weights = estimate.normalised_log_weights.exp()
    assert float(weights.sum()) == pytest.approx(1)
    assert estimate.effective_sample_size == pytest.approx(1 / float((weights**2).sum()))
    assert 1 < estimate.effective_sample_size < 500


def test_single_particle_is_itself():
    """Its evidence is the likelihood along its path; it is never resampled away, and nothing is NaN."""
    problem = NonlinearFiltering().build(1, 0, generator())
    solution = solve(BootstrapFilter(particles=1, step_size=0.02), problem)
    assert solution.estimates[0].defect() is None
    assert solution.diagnostics["smallest_effective_share"] == 1
    assert all(math.isfinite(value) for series in solution.assimilated.values() for value in series)
    by_hand = sum(
        float(problem.observations.likelihood(index)(torch.tensor([[place]], dtype=torch.float64)))
        for index, place in enumerate(solution.assimilated["predictive_mean"])
    )
    assert solution.diagnostics["log_evidence"] == pytest.approx(by_hand)


@pytest.mark.parametrize(("particles", "value"), [(100, 1e7), (50_000, 40.0)])
def test_collapse_is_reported_unless_allowed(particles, value):
    """An observation that many standard deviations away: of 100 particles the two best must not share the weight."""
    family = NonlinearFiltering(instance="given", values=((value,),), observation_times=(0.1,), times=(0.2,))
    problem = family.build(1, 0, generator())
    with pytest.raises(Diverged, match=r"observation 1 \(t = 0.1\): the weights have collapsed"):
        solve(BootstrapFilter(particles=particles, step_size=0.02), problem)
    allowed = solve(BootstrapFilter(particles=particles, step_size=0.02, collapse=0), problem)
    assert allowed.estimates[0].defect() is None
    assert allowed.diagnostics["smallest_effective_share"] < 10 / particles


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resampling": "none"}, "resampling must be one of 'systematic', 'stratified', 'residual', 'multinomial'"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1, got 1.5"),
        ({"collapse": math.nan}, "collapse must be between 0 and 1, got nan"),
        ({"dtype": "float16"}, "dtype must be one of"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BootstrapFilter(**settings)
