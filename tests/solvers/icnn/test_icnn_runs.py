"""Runs of ICNN-JKO give the same bits in a batch, after they were cut off, and on any number of threads."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from problems.uniform import Uniform
from seeding import generator
from solvers.checkpoint import ForeignCheckpoint
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.solver import Diverged
from tests.solvers.icnn.icnn_runs import CPU, QUICK, Faulty, line, same, solved


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("dim", "batch_size", "pool_size"), [(1, 1024, 2048), (3, 300, 700)])
def test_seeds_in_one_batch_are_those_one_at_a_time(dim, batch_size, pool_size, dtype):
    solver = ICNNJKO(
        step_size=0.1, iterations=12, batch_size=batch_size, width=8, rank=2, pool_size=pool_size, dtype=dtype
    )
    family = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.2))
    problems = [family.build(dim, seed, generator(seed)) for seed in range(3)]
    together = solver.solve_batch(problems, [generator(10 + seed) for seed in range(3)], CPU)
    for seed, answer in enumerate(together):
        assert same(answer, solved(solver, problems[seed], 10 + seed))
    assert not same(together[0], together[1])


def test_a_network_that_diverges_does_not_disturb_the_others():
    family = OrnsteinUhlenbeck(instance="random", times=(0.1, 0.2))
    problems = [family.build(1, seed, generator(seed)) for seed in range(3)]
    calls = itertools.count(1)
    faulty = Faulty(lambda x: x if next(calls) < 2 else x + math.nan)
    spoilt = line(faulty, 0.0, 1.0, 1.0, (0.1, 0.2))
    together = QUICK.solve_batch([problems[0], spoilt, problems[2]], [generator(10), generator(11), generator(12)], CPU)
    assert isinstance(together[1], Diverged)
    assert str(together[1]).startswith("step 1 of 2 (t = 0.1): ")
    assert same(together[0], solved(QUICK, problems[0], 10))
    assert same(together[2], solved(QUICK, problems[2], 12))


class Cut(BaseException):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("order", [1, 2])
def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path, order):
    solver, made = replace(QUICK, order=order), 0

    def cut_after(calls: float) -> Problem:
        nonlocal made
        made = 0

        def spoil(x: torch.Tensor) -> torch.Tensor:
            nonlocal made
            made += 1
            if made > calls:
                raise Cut
            return x

        return line(Faulty(spoil), 0.5, 1.5, 1.0, (0.2, 0.5))

    whole = solved(solver, cut_after(math.inf))
    a_step = made / 5
    folder = tmp_path / "kept"
    # Each attempt dies in the middle of its second step.
    attempts = 0
    while attempts < 10:
        attempts += 1
        try:
            answer = solver.solve(cut_after(1.5 * a_step), generator(), CPU, folder)
            break
        except Cut:
            continue
    assert attempts == 5
    assert same(answer, whole)
    assert answer.cost.earlier_seconds > 0
    assert {name: series for name, series in answer.traces.items() if name != "seconds"} == {
        name: series for name, series in whole.traces.items() if name != "seconds"
    }
    with pytest.raises(ForeignCheckpoint, match="holds the checkpoint of another run"):
        replace(solver, learning_rate=1e-3).solve(cut_after(math.inf), generator(), CPU, folder)


def test_a_checkpoint_has_the_form_that_its_version_gives_it(tmp_path):
    """Runs that were killed before an update go on after it; a form that changes needs another identity."""
    problem = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(2, 0, generator())
    QUICK.solve(problem, generator(), CPU, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.pt", "step-1.pt"]
    found = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(found) == {"identity", "step", "state"}
    assert found["identity"] == f"{QUICK!r} version {QUICK.version} in dimension 2 to (0.1,), 1 at once"
    assert found["identity"].startswith("ICNNJKO(step_size=0.1, order=1, iterations=12, ")
    assert set(found["state"]) == {"seconds", "courses"}
    (flow,) = found["state"]["courses"]
    assert set(flow) == {
        *("pool", "fresh", "pool_density", "fresh_density", "scores", "centres", "lengths", "affine", "nodes"),
        *("generator", "traces", "failure", "evaluations"),
    }
    assert set(flow["traces"]) == {"seconds", "iterations", "last_gain", "fresh_gap", "stationarity"}


def test_results_follow_the_generator_and_not_the_threads(on_threads):
    problem = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(2, 0, generator())
    answers = on_threads(lambda: solved(QUICK, problem))
    assert all(same(answers[0], answer) for answer in answers)
    assert not same(answers[0], solved(QUICK, problem, seed=1))


def test_flows_with_and_without_a_score_are_followed_as_alone_and_each_keeps_its_checkpoint(tmp_path):
    scored = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(2, 0, generator())
    box = Uniform(torch.zeros(2).double(), torch.ones(2).double())
    unscored = replace(scored, flow=replace(scored.flow, initial=box))
    together = QUICK.solve_batch([scored, unscored], [generator(1), generator(2)], CPU, tmp_path)
    assert same(together[0], solved(QUICK, scored, seed=1))
    assert same(together[1], solved(QUICK, unscored, seed=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
