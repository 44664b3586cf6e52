import pytest
import torch

from seeding import generator
from solvers.icnn.descent import ADAM_EPSILON, Schedule, ScheduledAdam


def test_adam_is_torchs():
    start = torch.randn(2, 7, dtype=torch.float64, generator=generator(10))
    ours, theirs = start.clone(), start.clone().requires_grad_()
    optimiser = ScheduledAdam(ours, torch.ones(7, dtype=torch.float64), 20)
    reference = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99), eps=ADAM_EPSILON)
    for step in range(20):
        slope = torch.randn(2, 7, dtype=torch.float64, generator=generator(11 + step))
        optimiser.step(slope, torch.full((2, 1), 0.01, dtype=torch.float64))
        theirs.grad = slope.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)
    # Starting again is starting anew.
    again, slope = (torch.ones(2, 7, dtype=torch.float64) for _ in range(2))
    fresh = again.clone()
    optimiser.parameters = again
    optimiser.restart()
    for each in (optimiser, ScheduledAdam(fresh, torch.ones(7, dtype=torch.float64), 20)):
        each.step(slope, torch.full((2, 1), 0.01, dtype=torch.float64))
    assert torch.equal(again, fresh)


def test_the_learning_rate_ends_near_zero():
    *rates, behind = Schedule(500, 1, 0.02).rates()
    assert len(rates) == 500
    assert rates[0] == 0.02
    assert rates[-1] == pytest.approx(2e-5)
    assert behind == 0
    assert rates == sorted(rates, reverse=True)
