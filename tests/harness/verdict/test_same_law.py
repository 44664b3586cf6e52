"""Solvers of one law are told apart as rarely as stated, and Euler-Maruyama in twelve dimensions from exact draws."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
import torch

from false_alarms import is_share, repetitions
from harness.measure.kl import KL
from harness.measure.measure import Measure, Subject
from harness.measure.transport import EnergyDistance
from harness.report.verdict import verdict
from harness.verdict.against import meetings
from harness.verdict.judge import judge
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from seeding import generator
from solvers.estimates import Particles
from solvers.particles.euler_maruyama import EulerMaruyama
from sweeps import sweep

TIMES = (0.5, 0.9)
MEASURES: tuple[tuple[str, Measure], ...] = (("kl", KL()), ("energy-distance", EnergyDistance()))
Answer = Callable[[Problem, int], Particles]


def paths(particles: int, step_size: float) -> Answer:
    """Return what Euler-Maruyama answers at the last time, from a stream of its own."""
    solver = EulerMaruyama(particles=particles, step_size=step_size)

    def answer(problem: Problem, stream: int) -> Particles:
        found = solver.solve(problem, generator(stream), torch.device("cpu")).estimates[-1]
        assert isinstance(found, Particles)
        return found

    return answer


def exact(particles: int) -> Answer:
    """Return exact draws at the last time."""

    def answer(problem: Problem, stream: int) -> Particles:
        assert problem.truth is not None
        return Particles(problem.truth(TIMES[-1]).sample(particles, generator(stream)))

    return answer


def figures(dim: int, seeds: int, answers: dict[str, Answer], stream: int, draws: int) -> pd.DataFrame:
    """Return a frame of these answers, "oracle" beside them, on instances of the published flow."""
    values: dict[str, dict[str, list[float]]] = {name: {label: [] for label in answers} for name, _ in MEASURES}
    for seed in range(seeds):
        problem = OrnsteinUhlenbeck(instance="mokrov2021", times=TIMES).build(dim, seed, generator(seed))
        assert problem.truth is not None
        for place, (label, answer) in enumerate(answers.items()):
            own = 100 * (10 * stream + seed) + place
            subject = Subject(answer(problem, own), problem.truth(TIMES[-1]), problem, TIMES[-1])
            for name, measure in MEASURES:
                values[name][label].append(measure(subject, draws, generator(10**7 + 10 * stream + seed)).value)
    parts = []
    for decides, (name, _) in enumerate(MEASURES, start=1):
        floors = values[name].pop("oracle")
        parts.append(sweep(values[name], floors, metric=name, decides=decides))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.random
@repetitions(8, 200)
@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_the_same_solver_with_another_stream_is_told_apart_as_rarely_as_stated(seeds: int, repetitions: int) -> None:
    """In 5 % of cases at most: 10 of 200 repetitions are expected, and more than 22 twice in ten thousand."""
    answers = {"oracle": exact(200), "em one": paths(200, 0.05), "em two": paths(200, 0.05)}
    told = 0
    for repetition in range(repetitions):
        (row,) = meetings(judge(figures(2, seeds, answers, 20 * repetition + seeds, 200)), "em one").to_dict("records")
        told += row["outcome"] not in ("tie", "same")
    assert is_share(told, repetitions, 0.0, 0.05, figures=6)


def test_one_seed_cannot_tell_them_apart() -> None:
    answers = {"oracle": exact(200), "em one": paths(200, 0.05), "em two": paths(200, 0.05)}
    (row,) = meetings(judge(figures(2, 1, answers, 5, 200)), "em one").to_dict("records")
    assert row["outcome"] == "cannot tell"


@pytest.mark.random
@repetitions(6, 100)
def test_euler_maruyama_is_not_told_from_exact_draws_in_twelve_dimensions(repetitions: int) -> None:
    """By both measures that decide, of 1,000 particles with steps of .01: what is not told is called at its floor."""
    answers = {"oracle": exact(1000), "em": paths(1000, 0.01)}
    at_floor = 0
    for repetition in range(repetitions):
        ((_, (entry,)),) = verdict(figures(12, 3, answers, 3000 + 10 * repetition, 1000)).rows
        assert entry is not None
        at_floor += entry.state == "at floor"
    assert is_share(at_floor, repetitions, 0.9, 1.0)
