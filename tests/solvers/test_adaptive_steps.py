"""Steps that choose their sizes, of numbers in place of laws: order 2 with a known error, and noise that is known."""

import math

import pytest
import torch

from seeding import fixed_generator
from solvers.adaptive_steps import AdaptiveSteps
from solvers.solver import Diverged

HORIZON = 1.0


def heun(state: float, size: float) -> float:
    """Return the state after a step of order 2 of x' = -x²."""
    slope = -(state**2)
    return state + 0.5 * size * (slope - (state + size * slope) ** 2)


def chosen(noise: float, power: float = 1.0, *, tolerance: float = 1e-10, noisy: bool = True, seed: int = 0):
    """Return steps on [0, 1] and the state there; a step has normal noise of ``noise`` times its size to ``power``."""
    generator = fixed_generator(seed)

    def step(state: float, size: float) -> float:
        return heun(state, size) + noise * size**power * float(torch.randn((), generator=generator))

    steps = AdaptiveSteps[float](step, step, lambda a, b: abs(a - b), tolerance, HORIZON, noisy=noisy)
    return steps, steps.advance(1.0, 0.0, HORIZON)


def test_steps_without_noise_are_those_of_who_does_not_look_for_it():
    looked, last = chosen(0.0)
    plain, same = chosen(0.0, noisy=False)
    assert looked.sizes == plain.sizes
    assert last == same
    assert looked.noise == looked.noise_rate == 0
    assert last == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_noise_that_falls_as_the_size_is_no_reason_for_shorter_steps(seed):
    steps, last = chosen(0.01, seed=seed)
    # Two tries of a step and of its halves are apart by normal noise: three halves of it in the mean square. Under 70
    # other seeds the ratio is .47 to 2.3, the steps are 8 at most, and the error is .007.
    assert 0.2 < steps.noise_rate / (0.01 * math.sqrt(1.5)) < 5
    assert len(steps.sizes) < 25
    assert steps.noise > 0
    assert abs(last - 0.5) < 0.06


def test_no_step_is_short_enough_for_noise_that_nothing_makes_less():
    with pytest.raises(Diverged, match=r"no step from t = 0 is within the tolerance"):
        chosen(0.01, 0.0, noisy=False)
    steps, last = chosen(0.01, 0.0)  # under 70 other seeds 8 steps at most, and an error of .04
    assert len(steps.sizes) < 25
    assert abs(last - 0.5) < 0.2
