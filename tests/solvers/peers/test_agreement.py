"""Each peer agrees with ours on Gaussian problems: with the scheme's own law, the exact one, or our figure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from false_alarms import mean_error, sigmas
from harness.catalogue import catalogue, import_target
from installed_peers import absent, needing
from problems.linear_filtering import LinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import fixed_generator, generator

CPU = torch.device("cpu")
STEP = 0.05
TIMES = (0.25, 0.5)


def made(name, **settings):
    return import_target(catalogue().targets["solver"][name])(**settings)


def problem(dim=2):
    return OrnsteinUhlenbeck(instance="random", times=TIMES).build(dim, 0, fixed_generator(0))


def resting(dim=2):
    found = problem(dim)
    flow = found.flow
    law = ornstein_uhlenbeck_marginal(flow.initial, flow.potential, flow.inverse_temperature, 1e4)
    return replace(found, stationary=True, truth=lambda t: law)


def law_of_steps(flow, order, count):
    """Return mean and covariance after steps of Euler's or Heun's scheme, which is linear in X - b and the noise."""
    precision, centre = flow.potential.precision, flow.potential.centre
    identity = torch.eye(flow.dim, dtype=torch.float64)
    drift = identity - STEP * precision
    noise = identity
    if order == 2:
        drift = drift + STEP**2 / 2 * precision @ precision
        noise = identity - STEP / 2 * precision
    mean, covariance = flow.initial.moments()
    for _ in range(count):
        mean = centre + drift @ (mean - centre)
        covariance = drift @ covariance @ drift.T + 2 * STEP / flow.inverse_temperature * noise @ noise.T
    return mean, covariance


def assert_moments(estimate, mean, covariance, size, slack=0.0):
    """Assert that moments are those of ``size`` independent draws of a Gaussian, or within ``slack`` of them."""
    dim = len(mean)
    found_mean, found_covariance = estimate.moments(fixed_generator())
    variance = covariance.diagonal()
    bound = sigmas(figures=2 * dim)
    assert bool(((found_mean - mean).abs() <= bound * (variance / size).sqrt() + slack).all()), (found_mean, mean)
    error = (found_covariance.diagonal() - variance).abs()
    assert bool((error <= bound * variance * math.sqrt(2 / size) + slack).all()), (found_covariance, covariance)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", needing(["torchsde", "diffrax"]))
def test_paths_have_the_law_of_their_scheme(name, order):
    solver, flow = made(name, order=order, step_size=STEP, particles=20_000), problem().flow
    solution = solver.solve(problem(), generator(1), CPU)
    for time, estimate in zip(solution.times, solution.estimates, strict=True):
        assert_moments(estimate, *law_of_steps(flow, order, round(time / STEP)), 20_000)
    assert solution.cost.gradient_evaluations >= order * 20_000 * round(TIMES[-1] / STEP)
    assert solution.diagnostics["run_seconds"] > 0


@pytest.mark.parametrize("name", needing(["torchsde", "diffrax"]))
def test_paths_that_choose_their_steps_have_the_exact_law(name):
    solver, exact = made(name, order=2, step_size=STEP, tolerance=1e-3, particles=5000), problem()
    solution = solver.solve(exact, generator(2), CPU)
    for time, estimate in zip(solution.times, solution.estimates, strict=True):
        assert_moments(estimate, *exact.truth(time).moments(), 5000, slack=0.01)


@pytest.mark.parametrize("name", needing(["particles-bootstrap"]))
def test_the_filter_is_kalmans(name):
    exact = LinearFiltering(times=(1.5,), observation_times=(0.0, 0.5, 1.0, 1.0)).build(1, 0, fixed_generator(0))
    mean, covariance = exact.truth(1.5).moments()
    runs = [made(name, particles=4000, step_size=0.01).solve(exact, generator(seed), CPU) for seed in range(8)]
    means = [float(run.estimates[0].moments(fixed_generator())[0][0]) for run in runs]
    variances = [float(run.estimates[0].moments(fixed_generator())[1][0, 0]) for run in runs]
    evidences = [run.diagnostics["log_evidence"] for run in runs]
    # Steps of 0.01 are off by less than a hundredth.
    assert sum(means) / 8 == pytest.approx(float(mean[0]), abs=mean_error(means, figures=3) + 0.01)
    assert sum(variances) / 8 == pytest.approx(float(covariance[0, 0]), abs=mean_error(variances, figures=3) + 0.01)
    known = exact.log_evidence(1.5)
    assert sum(evidences) / 8 == pytest.approx(known, abs=mean_error(evidences, figures=3) + 0.01)
    assert list(runs[0].assimilated["observation_time"]) == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("blackjax-mala", {"chains": 100, "particles": 4000, "warmup": 400, "thinning": 10},
                     marks=absent("blackjax-mala")),
        pytest.param("blackjax-nuts", {"chains": 40, "particles": 4000, "warmup": 300}, marks=absent("blackjax-nuts")),
        pytest.param("numpyro-nuts", {"chains": 40, "particles": 4000, "warmup": 300}, marks=absent("numpyro-nuts")),
    ],
)  # fmt: skip
def test_chains_have_the_stationary_law(name, settings):
    exact = resting()
    solution = made(name, **settings).solve(exact, generator(3), CPU)
    # The effective size of forty chains is known to a quarter; below half of it there is room for that.
    size = min(4000, 0.5 * solution.diagnostics["ess"])
    assert size > 500
    assert solution.diagnostics["rhat"] < 1.1
    assert_moments(solution.estimates[-1], *exact.truth(1.0).moments(), size)


@pytest.mark.parametrize("name", needing(["blackjax-svgd", "numpyro-svgd"]))
def test_particles_come_to_rest_where_ours_do(name):
    exact = resting()
    settings = {"particles": 80, "iterations": 600, "learning_rate": 0.1}
    found = made(name, **settings).solve(exact, generator(4), CPU).estimates[0].moments(fixed_generator())
    ours = made("svgd", optimiser="adam", **settings).solve(exact, generator(4), CPU).estimates[0]
    mean, covariance = ours.moments(fixed_generator())
    # Their median heuristics differ from ours, and so does the spread of few particles, by a few hundredths.
    torch.testing.assert_close(found[0], mean, rtol=0, atol=0.01)
    torch.testing.assert_close(found[1].diagonal(), covariance.diagonal(), rtol=0.05, atol=0)


def distance(left, right):
    """Return Σ|p - q| of two grid densities on the same cells."""
    return float((left.law.masses - right.law.masses).abs().sum())


@pytest.mark.parametrize("method", ["BDF", "Radau"])
def test_solve_ivp_is_exact_in_time_as_ours_is(method):
    ours = made("chang-cooper", cells=200).solve(problem(1), generator(), CPU)
    theirs = made("scipy-ivp", cells=200, method=method, tolerance=1e-8).solve(problem(1), generator(), CPU)
    for left, right in zip(theirs.estimates, ours.estimates, strict=True):
        assert distance(left, right) < 1e-5
    assert theirs.diagnostics["mass_defect"] < 1e-10


def error_of(solution, exact):
    """Return Σ|p - q| of the last answer and the exact law on its cells, by the density at their centres."""
    law = solution.estimates[-1].law
    truth = exact.truth(solution.times[-1]).log_prob(law.centres()[:, None]).exp() * law.width
    return float((law.masses - truth).abs().sum())


@pytest.mark.parametrize("name", needing(["pychangcooper"]))
def test_implicit_steps_are_of_order_one(name):
    exact = problem(1)
    coarse, fine = (
        error_of(made(name, cells=1500, step_size=step).solve(exact, generator(), CPU), exact) for step in (0.01, 0.005)
    )
    assert coarse / fine == pytest.approx(2, abs=0.15)
    assert fine < 0.015


@pytest.mark.parametrize("name", needing(["py-pde"]))
def test_central_differences_are_near_the_exact_law(name):
    exact = problem(1)
    solution = made(name, cells=200).solve(exact, generator(), CPU)
    # of second order in the width of a cell
    assert error_of(solution, exact) < solution.estimates[-1].law.width ** 2
    assert solution.diagnostics["mass_defect"] < 1e-9


@pytest.mark.parametrize("name", needing(["py-pde"]))
def test_central_differences_in_the_plane(name):
    exact = problem(2)
    solution = made(name, cells=48).solve(exact, generator(), CPU)
    mean, covariance = exact.truth(TIMES[-1]).moments()
    found = solution.estimates[-1].moments(fixed_generator())
    torch.testing.assert_close(found[0], mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(found[1], covariance, rtol=0, atol=0.02)
