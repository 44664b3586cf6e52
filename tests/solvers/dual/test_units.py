"""Dual steps in polynomials are the same in all units and places."""

import pytest
import torch

from harness.conformance.motions import Motion
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import fixed_generator
from solvers.dual.dual_jko import DualJKO

CPU = torch.device("cpu")
FLOW = OrnsteinUhlenbeck(
    times=(0.5,),
    instance="given",
    precision=((1.5,),),
    centre=(0.7,),
    initial_mean=(-1.0,),
    initial_covariance=((0.3,),),
)


@pytest.mark.parametrize(("length", "shift"), [(0.01, 0.0), (100.0, 0.0), (1e-6, 0.0), (1e6, 1e10), (1.0, 1e4)])
def test_the_line_in_other_units_and_places_has_the_same_symkl(length, shift):
    problem = FLOW.build(1, 0, fixed_generator(0))
    motion = Motion(torch.eye(1, dtype=torch.float64), torch.tensor([shift], dtype=torch.float64), length)
    found = []
    for each in (problem, motion.problem(problem)):
        (answer,) = DualJKO(samples=4000).solve(each, fixed_generator(1), CPU).estimates
        law = each.truth(0.5)
        x = law.sample(4000, fixed_generator(2))
        ratio = answer.density.log_prob(x) - law.log_prob(x)
        found.append(float((2 * ratio * torch.tanh(ratio / 2)).mean()))
    assert found[1] == pytest.approx(found[0], rel=0.02)
