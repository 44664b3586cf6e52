"""Adam with a rate given for each step, on one flat tensor of parameters."""

from __future__ import annotations

import math

import torch

FIRST_MOMENT_DECAY, SECOND_MOMENT_DECAY, EPSILON = 0.9, 0.99, 1e-7
FINAL_RATE = 1e-2


def cosine(progress: float) -> float:
    """Return the share of the first rate at a share of the schedule: from 1 to a hundredth along half a cosine."""
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class AveragedAdam:
    """Adam (Kingma, Ba, ICLR 2015) on ``parameters`` (size,), in place, with ``average`` their mean over late steps.

    ``rates`` (size,) are relative to the rate of a step. The average forgets at ``forgetting`` a step; 1 keeps none.
    """

    def __init__(self, parameters: torch.Tensor, rates: torch.Tensor | None = None, forgetting: float = 1.0) -> None:
        self.parameters, self.rates, self.forgetting = parameters, rates, forgetting
        self.mean, self.square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.root = torch.zeros_like(parameters)
        self.average = parameters.clone() if forgetting < 1 else parameters
        self.steps = 0

    def restart(self) -> None:
        """Forget the steps so far."""
        self.steps = 0
        self.mean.zero_()
        self.square.zero_()
        if self.forgetting < 1:
            self.average.copy_(self.parameters)

    def settle(self) -> None:
        """Make the average the parameters."""
        self.parameters.copy_(self.average)

    def step(self, slope: torch.Tensor, rate: float) -> None:
        """Move the parameters against ``slope`` (size,)."""
        self.steps += 1
        first, second = 1 - FIRST_MOMENT_DECAY**self.steps, math.sqrt(1 - SECOND_MOMENT_DECAY**self.steps)
        self.mean.lerp_(slope, 1 - FIRST_MOMENT_DECAY)
        self.square.mul_(SECOND_MOMENT_DECAY).addcmul_(slope, slope, value=1 - SECOND_MOMENT_DECAY)
        torch.sqrt(self.square, out=self.root).add_(EPSILON * second)
        if self.rates is not None:
            self.root.div_(self.rates)
        self.parameters.addcdiv_(self.mean, self.root, value=-rate * second / first)
        if self.forgetting < 1:
            self.average.lerp_(self.parameters, self.forgetting)
