"""What ICNN-JKO cannot do it says, and where it broke down."""

import itertools
import math
import re

import pytest
import torch

from problems.gaussian_mixture import GaussianMixtureFlow
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.solver import Diverged
from tests.solvers.icnn.icnn_runs import CPU, QUICK, Faulty, line, solved


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_potential_that_is_not_finite_is_named_with_its_step(value):
    solver = ICNNJKO(step_size=0.05, iterations=10, batch_size=64, width=16, pool_size=8192)
    batches = itertools.count(1)

    def in_training(x: torch.Tensor) -> torch.Tensor:
        own = x**3 - x
        return own if len(x) != 64 or next(batches) < 3 else torch.where(x > 0, value, own)

    with pytest.raises(Diverged) as failure:
        solved(solver, line(Faulty(in_training), 0.0, 1.0, 1.0, (0.05, 0.5)))
    assert re.match(
        r"step \d of 10 \(t = 0.\d+\): iteration 3: the gradient of the potential is not finite", str(failure.value)
    )
    assert str(failure.value).endswith("of 64 points")

    calls = itertools.count(1)

    def everywhere(x: torch.Tensor) -> torch.Tensor:
        return x if next(calls) < 200 else torch.where(x > 0, value, x)

    with pytest.raises(Diverged, match=r"step [2-9] of 10 \(t = 0\.\d+\): .* not finite"):
        solved(solver, line(Faulty(everywhere), 0.0, 1.0, 1.0, (0.05, 0.5)))


def test_a_gradient_of_the_wrong_shape_is_refused():
    problem = line(Faulty(lambda x: x[:, 0]), 0.0, 1.0, 1.0, (0.1,))
    with pytest.raises(ValueError, match=r"the potential's gradient at points \(700, 1\) has shape \(700,\)"):
        solved(QUICK, problem)


def test_training_that_diverges_says_where():
    problem = GaussianMixtureFlow(times=(0.1,)).build(2, 0, generator())
    solver = ICNNJKO(step_size=0.1, iterations=50, batch_size=64, width=32, pool_size=4096, learning_rate=1e30)
    with pytest.raises(Diverged, match=r"step 1 of 1 \(t = 0.1\): iteration \d+: "):
        solved(solver, problem)


def test_a_device_without_memory_names_what_to_lower():
    def exhausted(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    problem = line(Faulty(exhausted), 0.0, 1.0, 1.0, (0.1,))
    with pytest.raises(torch.OutOfMemoryError, match=r"^batch_size below 300 or width below 8 .*20\.00 MiB"):
        solved(QUICK, problem)
    with pytest.raises(torch.OutOfMemoryError, match="or fewer than 2 seeds at once"):
        QUICK.solve_batch([problem, problem], [generator(), generator(1)], CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 2000, "pool_size": 1000}, "batch_size must be at most pool_size 1000, got 2000"),
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"depth": 0}, "depth must be a whole number >= 1, got 0"),
        ({"rank": 0}, "rank must be a whole number >= 1, got 0"),
        ({"iterations": 0}, "iterations must be a whole number >= 1, got 0"),
        ({"step_size": 0.0}, "step_size must be a finite number > 0, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number > 0, got nan"),
        ({"tolerance": -1.0}, "tolerance must be a finite number >= 0, got -1.0"),
        ({"sharpness": 0.5}, "sharpness must be a finite number >= 1, got 0.5"),
        ({"minibatch": 0}, "minibatch must be a whole number >= 1, got 0"),
        ({"order": 3}, "order must be one of 1, 2; got 3"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64'; got 'float16'"),
        ({"cuda_graph": "no"}, "cuda_graph must be one of False, True; got 'no'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match="icnn-jko") as refusal:
        ICNNJKO(**settings)
    assert message in str(refusal.value)


def test_what_does_not_apply_is_said():
    problem = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(4, 0, generator())
    assert ICNNJKO().unsupported(problem) is None
    assert ICNNJKO(batch_size=4).unsupported(problem) == "a batch of 4 particles does not span dimension 4"
    assert len(solved(ICNNJKO(step_size=0.1, iterations=2, batch_size=5, width=4), problem).estimates) == 1
    with pytest.raises(ValueError, match=r"0\.12 is not a multiple of step_size 0\.05"):
        ICNNJKO().check_times((0.12,))
    other = OrnsteinUhlenbeck(instance="random", times=(0.1,)).build(3, 0, generator())
    with pytest.raises(ValueError, match="the same dimension and times"):
        QUICK.solve_batch([problem, other], [generator(), generator()], CPU)
