"""Wrong noise, drift, sign and time are found; right answers are not, however biased."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from false_alarms import FALSE_ALARM as FALSE_ALARM_OF_TESTS
from false_alarms import mean_error, spread_error
from harness.catalogue import catalogue, import_target
from harness.conformance.contract import verdict
from harness.conformance.rivals import (
    FALSE_ALARM,
    LEAST_DRAWS,
    MOST_SOLVES,
    Probe,
    diffusion,
    log_likelihood_ratios,
    log_score,
    nearer_to_the_truth,
    nearest_rival,
    porous,
    stationary,
)
from harness.conformance.runs import SolverTrial
from problems.energies import PowerEntropy
from problems.laws import Gaussian
from problems.problem import Problem
from seeding import generator
from solvers import BUILTIN
from solvers.estimates import Estimate, Exact, Particles
from solvers.solver import Solution, Solver, step_counts

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


@dataclass(frozen=True, kw_only=True)
class Paths(Solver):
    """Euler-Maruyama with ``noise`` times the variance of the increments and ``slope`` times the gradient."""

    name: ClassVar[str] = "paths"
    particles: int = 2000
    step_size: float = 0.01
    noise: float = 1.0
    slope: float = 1.0
    first_time: bool = False

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow, h = problem.flow, self.step_size
        counts = step_counts(flow.times, h)
        x = flow.initial.sample(self.particles, generator)
        estimates: list[Estimate] = []
        for step in range(1, counts[-1] + 1):
            kick = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            deviation = math.sqrt(2 * h * self.noise / flow.inverse_temperature)
            x = x - h * self.slope * flow.potential.gradient(x) + deviation * kick
            if step == counts[len(estimates)]:
                estimates.append(Particles(x))
        if self.first_time:
            estimates = estimates[:1] * len(estimates)
        return Solution(flow.times, tuple(estimates))


@pytest.mark.parametrize("particles", [150, 2000])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise": 0.5}, "half the noise"),
        ({"noise": 2.0}, "twice the noise"),
        ({"slope": 0.5}, "half the gradient"),
        ({"slope": 2.0}, "twice the gradient"),
        ({"slope": -1.0}, "the gradient's sign turned"),
        ({"first_time": True}, "the true law at t = 0.1, the first time"),
    ],
)
def test_errors_are_named(settings: Mapping[str, Any], said: str, particles: int) -> None:
    found = nearest_rival(Paths(**settings, particles=particles), diffusion(2))
    assert found is not None
    assert found.startswith(f"nearer to {said}" if said.startswith("the true") else f"nearer to the law with {said}")
    assert "\n" not in found


HEUN = re.search(r"<!-- example: heun.py -->\n```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
WRONG = {
    "right": ("", "", "nearer to the truth than to any error: an Ornstein-Uhlenbeck flow D=2"),
    "half the noise": (
        "math.sqrt(2 * h / ",
        "math.sqrt(h / ",
        "an Ornstein-Uhlenbeck flow D=2: at t = 0.2 the answer is nearer to the law with half the noise than to",
    ),
    "first time": (
        "tuple(estimates)",
        "(estimates[0],) * len(estimates)",
        "an Ornstein-Uhlenbeck flow D=2: at t = 0.2 the answer is nearer to the true law at t = 0.1, the first time,",
    ),
    "last time": (
        "tuple(estimates)",
        "(estimates[-1],) * len(estimates)",
        "an Ornstein-Uhlenbeck flow D=2: at t = 0.1 the answer is nearer to the true law at t = 0.2, the last time,",
    ),
    "initial law": (
        "tuple(estimates)",
        "(Particles(flow.initial.sample(self.particles, generator)), *estimates[1:])",
        "an Ornstein-Uhlenbeck flow D=2: at t = 0.1 the answer is nearer to the initial law than to the true one",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_plugins_that_went_wrong(wrong: str, tmp_path: Path) -> None:
    right, replaced, said = WRONG[wrong]
    assert HEUN is not None
    assert right in HEUN[1]
    plugin = tmp_path / "heun.py"
    plugin.write_text(HEUN[1].replace(right, replaced) if right else HEUN[1])
    component = import_target(catalogue([plugin]).target("solver", "heun"))
    found = verdict("nearer", nearer_to_the_truth, SolverTrial(component, {}, ()))
    assert found.passed == (wrong == "right")
    assert found.detail.startswith(said)
    assert "\n" not in found.detail


@dataclass(frozen=True, kw_only=True)
class Answering(Solver):
    """Gives the laws that a probe has at its times, with an error."""

    name: ClassVar[str] = "answering"
    internal_energies: ClassVar = (PowerEntropy,)
    rival: str = ""
    particles: int = 1000
    chains: int | None = None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        probe = next(each for each in PROBED if each.problem is problem)
        assert problem.truth is not None
        law = problem.truth(problem.flow.horizon)
        if self.rival:
            law = Gaussian(*probe.rivals[self.rival])
        x = law.sample(self.particles, generator)
        groups = None if self.chains is None else torch.arange(self.particles) % self.chains
        return Solution(problem.flow.times, (Particles(x, groups=groups),) * len(problem.flow.times))


PROBED = [make(dim) for make in (diffusion, porous, stationary) for dim in (1, 2)]
CASES = [(probe, name) for probe in PROBED for name in probe.rivals]


@pytest.mark.parametrize(("probe", "name"), CASES, ids=[f"{probe.title}: {name}" for probe, name in CASES])
def test_every_rival_is_told_from_the_truth_by_few_draws(probe: Probe, name: str) -> None:
    found = nearest_rival(Answering(rival=name, particles=500), probe)
    assert found is not None
    assert name in found


@pytest.mark.parametrize("probe", PROBED, ids=[probe.title for probe in PROBED])
@pytest.mark.parametrize("particles", [20, 500, 4000])
def test_draws_of_the_truth_pass(probe: Probe, particles: int) -> None:
    assert nearest_rival(Answering(particles=particles), probe) is None


@pytest.mark.parametrize("chains", [8, 100])
@pytest.mark.parametrize("rival", ["", "the law with half the noise"])
def test_chains_are_groups(chains: int, rival: str) -> None:
    (probe,) = (each for each in PROBED if each.title == "a stationary Gaussian law D=2")
    found = nearest_rival(Answering(rival=rival, chains=chains, particles=1600), probe)
    assert (found is not None) == bool(rival)


def test_too_few_draws_decide_nothing() -> None:
    rival = "the law with half the noise"
    few = LEAST_DRAWS // MOST_SOLVES - 1
    assert nearest_rival(Answering(rival=rival, particles=few), PROBED[1]) is None
    assert nearest_rival(Answering(rival=rival, particles=LEAST_DRAWS), PROBED[1]) is not None
    repeated = Particles(torch.zeros(5000, 2).double())
    assert log_likelihood_ratios(repeated, PROBED[1]).draws == 1


def test_weights_count() -> None:
    probe = diffusion(2)
    assert probe.problem.truth is not None
    law, rival = probe.problem.truth(0.2), Gaussian(*probe.rivals["the law with half the noise"])
    assert isinstance(law, Gaussian)
    x = rival.sample(20_000, generator(1))
    plain = log_likelihood_ratios(Particles(x), probe)
    weighted = log_likelihood_ratios(Particles(x, law.log_prob(x) - rival.log_prob(x)), probe)
    assert plain.means["the law with half the noise"][0] > 0.1
    assert weighted.means["the law with half the noise"][0] < 0
    assert weighted.draws < 0.9 * plain.draws
    assert plain.draws == pytest.approx(20_000)


BIASED: list[tuple[str, Mapping[str, Any]]] = [
    ("euler-maruyama", {"step_size": 0.1, "particles": 1000}),
    ("gaussian-jko", {"step_size": 0.1}),
    ("barenblatt-jko", {"step_size": 0.1}),
    ("quantile-jko", {"step_size": 0.1, "nodes": 100}),
    ("finite-volume", {"cells": 24}),
    ("chang-cooper", {"cells": 60, "step_size": 0.1}),
    ("blob", {"particles": 100}),
    ("svgd", {"particles": 100, "iterations": 100}),
    ("proximal-recursion", {"particles": 200, "step_size": 0.02}),
]


@pytest.mark.parametrize(("name", "settings"), BIASED, ids=[name for name, _ in BIASED])
def test_coarse_right_methods_pass(name: str, settings: Mapping[str, Any]) -> None:
    said = nearer_to_the_truth(SolverTrial(import_target(BUILTIN[name]), settings, ()))
    assert said.startswith("nearer to the truth than to any error")


@dataclass(frozen=True, kw_only=True)
class Widened(Answering):
    """The kernel density of so many draws: Silverman's width is n^(-1/(D+4)) deviations."""

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        assert problem.truth is not None
        mean, covariance = problem.truth(problem.flow.horizon).moments()
        wider = Gaussian(mean, (1 + self.particles ** (-2 / (4 + len(mean)))) * covariance)
        return Solution(problem.flow.times, (Exact(wider),) * len(problem.flow.times))


@pytest.mark.parametrize("probe", PROBED, ids=[probe.title for probe in PROBED])
def test_kernel_densities_pass(probe: Probe) -> None:
    assert nearest_rival(Widened(particles=500), probe) is None


def as_near(probe: Probe, name: str, x: torch.Tensor) -> torch.Tensor:
    """Return draws ``x`` (n, D) of the truth, moved and stretched towards a rival until both are as near."""
    assert probe.problem.truth is not None
    truth = tuple(moment.numpy() for moment in probe.problem.truth(0.2).moments())
    rival = tuple(moment.numpy() for moment in probe.rivals[name])

    def between(share: float) -> list[Any]:
        return [a + share * (b - a) for a, b in zip(truth, rival, strict=True)]

    def nearness(share: float) -> float:
        mean, covariance = between(share)

        def score(at: Any, spread: Any) -> float:
            gap = np.outer(mean - at, mean - at) + covariance
            return float(-0.5 * (np.linalg.slogdet(spread)[1] + np.trace(np.linalg.solve(spread, gap))))

        return score(*rival) - score(*truth)

    mean, covariance = between(float(optimize.brentq(nearness, 0, 1)))
    return torch.from_numpy(mean + (x.numpy() - truth[0]) * math.sqrt(covariance[0, 0] / truth[1][0, 0]))


def clearly(groups: int) -> float:
    return -float(stats.t.ppf(FALSE_ALARM, groups - 1))


@pytest.mark.parametrize(("probe", "name"), CASES, ids=[f"{probe.title}: {name}" for probe, name in CASES])
def test_the_rate_of_false_alarms(probe: Probe, name: str) -> None:
    """Of ``LEAST_DRAWS`` draws of the truth the mean is nine of its own deviations and more below the bound; of a law
    as near to the rival its deviates are as a normal law's, of 0 and 1, so far as that many repetitions tell."""
    repetitions = 1000
    assert probe.problem.truth is not None
    x = probe.problem.truth(0.2).sample(repetitions * LEAST_DRAWS, generator(5))

    def deviates(points: torch.Tensor) -> np.ndarray[Any, Any]:
        law = probe.problem.truth(0.2)  # type: ignore[misc]
        ratio = log_score(points, probe.rivals[name]) - log_score(points, law.moments())
        each = ratio.reshape(repetitions, LEAST_DRAWS)
        return (each.mean(1) / each.std(1) * math.sqrt(LEAST_DRAWS)).numpy()

    right, middling = deviates(x), deviates(as_near(probe, name, x))
    assert clearly(LEAST_DRAWS) - right.mean() > 9 * right.std()
    assert abs(middling.mean()) < 0.1 + mean_error(middling, len(CASES))
    assert middling.std() < 1.02 * (1 + spread_error(repetitions, len(CASES)))


def test_the_tail_where_it_is_widest() -> None:
    """ℓ of half the noise on the line falls in the square: its mean is that of χ² of n degrees, whose tail is widest.

    With the error 2/n of the sample's own variance, the mean of ℓ is over the bound where χ² < n / (1 + bound √(2/n)).
    """
    n = LEAST_DRAWS
    assert MOST_SOLVES * stats.chi2.cdf(n / (1 + clearly(n) * math.sqrt(2 / n)), n) < FALSE_ALARM_OF_TESTS
