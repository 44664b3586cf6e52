"""A network in a batch has the bits that it has alone, and every process that a sweep starts is made so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from harness.streams import stream
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.icnn import icnn_jko
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import Pushforward
from solvers.reproducibility import BEST_CODE_PATH, VARIABLE, arithmetic, batches_are_alike, hold
from solvers.solver import Diverged, Solution

SEEDS = (0, 1, 2)
CPU = torch.device("cpu")


def instances(dim: int) -> list[Problem]:
    return [OrnsteinUhlenbeck(times=(0.05, 0.1)).build(dim, seed, stream("problem", "", seed)) for seed in SEEDS]


def small() -> ICNNJKO:
    return ICNNJKO(step_size=0.05, iterations=5, batch_size=300, pool_size=700, width=16)


def draws(solutions: Sequence[Solution | Diverged]) -> list[torch.Tensor]:
    found = []
    for solution in solutions:
        assert isinstance(solution, Solution)
        estimate = solution.estimates[-1]
        assert isinstance(estimate, Pushforward)
        found.append(estimate.sample(50, torch.Generator().manual_seed(0)))
    return found


def test_a_batch_has_the_bits_of_each_alone_here() -> None:
    assert batches_are_alike()
    assert os.environ[VARIABLE]


def test_instances_go_one_at_a_time_where_a_batch_would_round_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    solver, problems = small(), instances(2)
    together = draws(solver.solve_batch(problems, [stream("solver", seed) for seed in SEEDS], CPU))
    monkeypatch.setattr(icnn_jko, "batches_are_alike", lambda: False)
    with pytest.warns(RuntimeWarning, match="icnn-jko: .* one at a time; call solvers.reproducibility.hold"):
        alone = solver.solve_batch(problems, [stream("solver", seed) for seed in SEEDS], CPU, tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(together, draws(alone), strict=True))
    assert len(list(tmp_path.iterdir())) == len(SEEDS)
    with pytest.warns(RuntimeWarning):
        resumed = solver.solve_batch(problems, [stream("solver", seed) for seed in SEEDS], CPU, tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(together, draws(resumed), strict=True))


def test_a_process_that_was_not_told_keeps_the_bits_and_says_what_it_could_not_do() -> None:
    program = """
import warnings, torch
from harness.streams import stream
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.reproducibility import batches_are_alike
torch.set_num_threads(1)
solver = ICNNJKO(step_size=0.05, iterations=5, batch_size=300, pool_size=700, width=16)
problems = [OrnsteinUhlenbeck(times=(0.1,)).build(3, seed, stream("problem", "", seed)) for seed in (0, 1, 2)]
sources = lambda: [stream("solver", seed) for seed in (0, 1, 2)]
draws = lambda found: found.estimates[-1].sample(50, torch.Generator().manual_seed(0))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    together = solver.solve_batch(problems, sources(), torch.device("cpu"))
alone = [solver.solve(*one, torch.device("cpu")) for one in zip(problems, sources())]
assert all(torch.equal(draws(a), draws(b)) for a, b in zip(together, alone))
assert bool(said) is not batches_are_alike(), (said, batches_are_alike())
"""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr


def test_a_value_of_the_users_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "COMPATIBLE")
    hold()
    assert os.environ[VARIABLE] == "COMPATIBLE"
    monkeypatch.delenv(VARIABLE)
    hold()
    assert os.environ[VARIABLE] == BEST_CODE_PATH


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_what_the_arithmetic_hangs_on_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    assert arithmetic().startswith(f"{capability} instructions, {VARIABLE}={os.environ[VARIABLE]}")
    monkeypatch.delenv(VARIABLE)
    assert arithmetic().startswith(f"{capability} instructions, {VARIABLE} not set")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernels' names are those of x86")
@pytest.mark.parametrize("kernels", ["Nehalem", "Sandybridge"])
def test_the_kernels_that_numpy_uses_are_said(kernels: str) -> None:
    program = "from solvers.reproducibility import arithmetic; print(arithmetic())"
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=1200
    )
    if "OpenBLAS" not in done.stdout:
        pytest.skip("this NumPy has no OpenBLAS")
    assert done.stdout.strip().endswith(f", NumPy with OpenBLAS for {kernels}")
