"""Scores of hidden states against closed forms, and evidence and coverage against counts by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM, is_share, repetitions, sigmas, spread_error
from harness.measure.filtering import (
    CRPS,
    PIT,
    Coverage50,
    Coverage90,
    EffectiveShare,
    LogEvidenceError,
    mean_distances,
)
from harness.measure.measure import Subject
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.references.grid_law import discretised
from seeding import fixed_generator, generator
from solvers.estimates import Exact, GridDensity, Particles
from solvers.one_dimensional.chang_cooper import ChangCooper

FAMILY = LinearFiltering(observation_times=(0.0, 0.5, 1.0, 1.0), times=(0.5, 1.0))


@pytest.fixture(scope="module")
def problem():
    return FAMILY.build(1, 7, fixed_generator(7))


@pytest.fixture(scope="module")
def solution(problem):
    return ChangCooper(cells=800).solve(problem, generator(), torch.device("cpu"))


def subject(problem, estimate, t=1.0, assimilated=None):
    return Subject(estimate, problem.truth(t), problem, t, assimilated or {})


def gaussian_crps(mean, std, x):
    """Gneiting & Raftery (2007), equation 21."""
    z = (x - mean) / std
    return std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))


def test_crps_of_a_gaussian(problem):
    """A grid has the closed form; draws, particles and equal weights are within its standard errors of it."""
    x = float(problem.observations.hidden.at(1.0))
    law = Gaussian(torch.tensor([x - 0.4], dtype=torch.float64), torch.tensor([[0.49]], dtype=torch.float64))
    exact = gaussian_crps(x - 0.4, 0.7, x)
    grid = CRPS()(subject(problem, GridDensity(discretised(law, x - 7, x + 7, 1500))), 1, generator())
    assert grid.value == pytest.approx(exact, abs=5e-6)
    assert grid.standard_error == 0
    draws = law.sample(20_000, generator(1))
    uniform = torch.zeros(20_000, dtype=torch.float64)
    for estimate in (Exact(law), Particles(draws), Particles(draws, uniform)):
        figure = CRPS()(subject(problem, estimate), 20_000, generator(2))
        assert 1e-4 < figure.standard_error < 0.01
        assert abs(figure.value - exact) < sigmas(3) * figure.standard_error


@repetitions(300, 5000)
def test_standard_error_of_crps(problem, repetitions):
    x = float(problem.observations.hidden.at(1.0))
    law = Gaussian(torch.tensor([x - 0.4], dtype=torch.float64), torch.tensor([[0.49]], dtype=torch.float64))
    figures = [CRPS()(subject(problem, Exact(law)), 500, generator(seed)) for seed in range(repetitions)]
    ratio = np.std([figure.value for figure in figures]) / np.mean([figure.standard_error for figure in figures])
    assert ratio == pytest.approx(1, abs=0.03 + spread_error(repetitions))


def test_crps_by_weight_is_crps_by_repetition(problem):
    """Weights 1, 2, 3 stand for as many copies; and for the definition ∫ (F - 1)²."""
    x = float(problem.observations.hidden.at(1.0))
    points = torch.tensor([[x - 1.0], [x + 0.2], [x + 3.0]], dtype=torch.float64)
    weighted = Particles(points, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log())
    value = CRPS()(subject(problem, weighted), 100, generator()).value
    by_hand = (1 / 6) ** 2 * 1.0 + (1 / 6 - 1) ** 2 * 0.2 + (0.5 - 1) ** 2 * 2.8
    assert value == pytest.approx(by_hand, abs=1e-12)


def test_crps_of_one_particle_is_its_distance(problem):
    x = float(problem.observations.hidden.at(1.0))
    figure = CRPS()(subject(problem, Particles(torch.tensor([[x + 2.0]], dtype=torch.float64))), 10, generator())
    assert figure.value == pytest.approx(2.0)
    assert figure.standard_error == math.inf


def test_energy_score_in_two_dimensions():
    """E|X - x| - ½ E|X - X'| of 400 points by every pair; the exact filter scores better than the initial law."""
    problem = FAMILY.build(2, 3, generator(3))
    points = torch.randn(400, 2, generator=generator(4), dtype=torch.float64)
    figure = CRPS()(subject(problem, Particles(points)), 400, generator())
    distance = torch.cdist(points, points).sum() / (400 * 399)
    expected = (points - problem.observations.hidden.at(1.0)).norm(dim=1).mean() - 0.5 * distance
    assert figure.value == pytest.approx(float(expected))


def test_mean_distances_by_sorting():
    x = torch.randn(300, 1, generator=generator(5), dtype=torch.float64) + 1e6
    weights = torch.rand(300, generator=generator(6), dtype=torch.float64)
    weights /= weights.sum()
    torch.testing.assert_close(mean_distances(x, weights), (x - x.T).abs() @ weights, rtol=1e-9, atol=1e-9)


def test_pit_is_the_rank(problem):
    x = float(problem.observations.hidden.at(1.0))
    for shift, level in ((0.0, 0.5), (1.6448536, 0.05), (-0.6744898, 0.75)):
        law = Gaussian(torch.tensor([x + shift], dtype=torch.float64), torch.eye(1, dtype=torch.float64))
        assert PIT()(subject(problem, Exact(law)), 1, generator()).value == pytest.approx(level, abs=1e-6)


@repetitions(400, 10_000)
def test_exact_filter_is_calibrated(repetitions):
    """Over instances ranks are uniform (Kolmogorov-Smirnov), and 50 and 90 % intervals hold as many."""
    ranks = []
    for seed in range(repetitions):
        problem = FAMILY.build(1, seed, generator(100_000 + seed))
        ranks.append(PIT()(subject(problem, Exact(problem.truth(1.0))), 1, generator()).value)
    assert stats.kstest(ranks, "uniform").pvalue > FALSE_ALARM / 3
    for level in (0.5, 0.9):
        inside = int((np.abs(np.array(ranks) - 0.5) < level / 2).sum())
        assert is_share(inside, repetitions, level, level, figures=3)


def test_coverage_counts_intervals_that_hold_the_state(problem, solution):
    hidden = problem.observations.hidden
    for measure, low, high in (
        (Coverage50(), "posterior_q25", "posterior_q75"),
        (Coverage90(), "posterior_q05", "posterior_q95"),
    ):
        for t, estimate in zip(solution.times, solution.estimates, strict=True):
            figure = measure(subject(problem, estimate, t, solution.assimilated), 1, generator())
            seen = [place for place, time in enumerate(solution.assimilated["observation_time"]) if time <= t]
            held = [
                solution.assimilated[low][place]
                <= float(hidden.at(solution.assimilated["observation_time"][place]))
                <= solution.assimilated[high][place]
                for place in seen
            ]
            assert len(held) == (2 if t == 0.5 else 4)
            assert figure.value == sum(held) / len(held)
    made_up = {**solution.assimilated, "posterior_q25": [-1e9] * 4, "posterior_q75": [-1e9, 1e9, 1e9, 1e9]}
    assert Coverage50()(subject(problem, solution.estimates[1], 1.0, made_up), 1, generator()).value == 0.75


def test_evidence_and_share_are_those_so_far(problem, solution):
    for t, estimate in zip(solution.times, solution.estimates, strict=True):
        count = 2 if t == 0.5 else 4
        found = subject(problem, estimate, t, solution.assimilated)
        exact = problem.log_evidence(t)
        gained = sum(solution.assimilated["log_evidence"][:count])
        assert LogEvidenceError()(found, 1, generator()).value == pytest.approx(abs(gained - exact))
        assert LogEvidenceError()(found, 1, generator()).value < 1e-4
        assert EffectiveShare()(found, 1, generator()).value == min(solution.assimilated["effective_share"][:count])


def test_what_they_say_nothing_about(problem, solution):
    estimate = Exact(problem.truth(1.0))
    plain = replace(problem, observations=None, log_evidence=None)
    unknown = replace(problem, observations=replace(problem.observations, hidden=None), log_evidence=None)
    for measure in (CRPS(), PIT(), Coverage50(), Coverage90()):
        assert measure.unsuited(subject(plain, estimate)) == "no hidden path is known"
        assert (
            measure.unsuited(subject(unknown, estimate, assimilated=solution.assimilated)) == "no hidden path is known"
        )
    for measure in (CRPS(), PIT()):
        assert measure.unsuited(subject(problem, estimate, 0.77)) == "the hidden state at this time is not known"
    for measure in (Coverage50(), EffectiveShare(), LogEvidenceError()):
        assert measure.unsuited(subject(problem, estimate)) == "the solution has no record of observations"
    assert LogEvidenceError().unsuited(subject(unknown, estimate)) == "the true evidence is not known"
    plane = FAMILY.build(2, 0, generator())
    assert PIT().unsuited(subject(plane, Exact(plane.truth(1.0)))) == "on the line only, this is dimension 2"
    assert CRPS().unsuited(subject(plane, Exact(plane.truth(1.0)))) is None
