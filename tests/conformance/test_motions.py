"""Laws that are moved, turned and in other units have the density and the score of what they have become."""

import torch

from harness.conformance.motions import Motion, MovedLaw
from problems.laws import Gaussian
from problems.uniform import Uniform
from seeding import generator


def test_a_moved_law_has_the_density_and_the_score_of_what_it_is():
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator(1)))
    motion = Motion(turn, torch.tensor([1.0, -2.0, 30.0]).double(), 0.3, 2.0)
    law = Gaussian(torch.ones(3).double(), torch.diag(torch.tensor([1.0, 2.0, 3.0]).double()))
    moved, expected = MovedLaw(law, motion), motion.law(law)
    x = expected.sample(20, generator(2))
    torch.testing.assert_close(moved.log_prob(x), expected.log_prob(x))
    torch.testing.assert_close(moved.score(x), expected.score(x))


def test_what_has_no_score_has_none_when_moved():
    box = Uniform(torch.zeros(2).double(), torch.ones(2).double())
    moved = MovedLaw(box, Motion(torch.eye(2, dtype=torch.float64), torch.zeros(2).double(), 2.0))
    assert moved.score(box.sample(3, generator(3))) is None
