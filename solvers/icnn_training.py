"""Training of the network of one JKO step: Adam under a schedule that ends near zero, judged on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from solvers.icnn import Architecture, Weights
from solvers.icnn_derivatives import derivatives, fold
from solvers.icnn_slopes import Batch, Slopes
from solvers.jko_objective import StepObjective
from solvers.particle_pool import Batches

# An epsilon far above the usual 1e-8: near the optimum of a step the derivatives by hidden units vanish, and what Adam
# would otherwise blow up to full steps is their noise. The couplings then wander off from one JKO step to the next.
FIRST_MOMENT_DECAY, SECOND_MOMENT_DECAY, ADAM_EPSILON = 0.9, 0.99, 1e-3
FINAL_RATE = 1e-3

# A step is judged at every tenth of its schedule; one that has converged skips to the last fifth, where the rate falls.
JUDGEMENTS = 10
COOLING = 0.8

# A device that runs behind is asked only so often whether its numbers are still finite.
ITERATIONS_BETWEEN_CHECKS = 25


class Adam:
    """Adam (Kingma, Ba, ICLR 2015) on the parameters (S, size) of several networks, each at its own rate."""

    def __init__(self, parameters: torch.Tensor, rates: torch.Tensor) -> None:
        self.parameters, self.rates = parameters, rates
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        self.steps = 0

    def step(self, slope: torch.Tensor, rate: torch.Tensor) -> None:
        """Move the parameters against ``slope`` (S, size), in place, at the networks' rates ``rate`` (S, 1)."""
        self.steps += 1
        self.mean.lerp_(slope, 1 - FIRST_MOMENT_DECAY)
        self.square.mul_(SECOND_MOMENT_DECAY).addcmul_(slope, slope, value=1 - SECOND_MOMENT_DECAY)
        scale = math.sqrt(1 - SECOND_MOMENT_DECAY**self.steps)
        root = self.square.sqrt().add_(ADAM_EPSILON * scale)
        move = (self.mean / root).mul_(rate)
        self.parameters.addcmul_(move, self.rates, value=-scale / (1 - FIRST_MOMENT_DECAY**self.steps))


def cosine_rate(peak: float, progress: float) -> float:
    """Return the learning rate at a share of the schedule: from ``peak`` down to a thousandth along half a cosine."""
    return peak * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a step is trained: Adam from ``learning_rate`` down to nearly 0 in ``iterations``.

    ``shrinkage`` times the sum of the output weights f, which are >= 0, is added to the objective.
    A step that gains less than ``tolerance`` (in the units of the objective) from one judgement to the next skips to
    the last fifth of its schedule.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    tolerance: float = 0.0
    shrinkage: float = 0.0


@dataclass
class Training:
    """How far the training of one network is: iterations done, place in the schedule, why it failed.

    ``judge()`` is the mean objective on points of the pool that stay the same; ``last_gain`` is by how much it fell
    over the last tenth of the schedule.
    """

    schedule: Schedule
    judge: Callable[[], float]
    iterations: int = 0
    place: int = 0
    value: float = math.inf
    last_gain: float = math.nan
    failure: str | None = None

    @property
    def going(self) -> bool:
        """Whether there is something left to train."""
        return self.failure is None and self.place < self.schedule.iterations

    @property
    def rate(self) -> float:
        """Learning rate of the next iteration."""
        return cosine_rate(self.schedule.learning_rate, self.place / max(1, self.schedule.iterations - 1))

    def advance(self) -> None:
        """Count an iteration, and judge the step where its time has come."""
        if self.failure is not None:
            return
        self.iterations += 1
        self.place += 1
        share = self.place * JUDGEMENTS % self.schedule.iterations
        reached = self.place * JUDGEMENTS // self.schedule.iterations
        if share >= JUDGEMENTS or (reached < JUDGEMENTS - 1 and not self.schedule.tolerance):
            return
        before, self.value = self.value, self.judge()
        self.last_gain = before - self.value
        cooling = round(COOLING * self.schedule.iterations)
        if self.last_gain < self.schedule.tolerance and self.place < cooling:
            self.place = cooling


Objectives = Callable[[int], StepObjective]
"""The objective of one network in its next iteration."""

Judge = Callable[[int], float]
"""The mean objective of one network on points of its pool that stay the same."""


def train(
    architecture: Architecture,
    parameters: torch.Tensor,
    pools: Sequence[torch.Tensor],
    objectives: Objectives,
    generators: Sequence[torch.Generator],
    schedule: Schedule,
    slopes: Slopes,
    judge: Judge,
    going: Sequence[int],
) -> list[Training]:
    """Minimise the objectives of the networks ``going`` over their pools (n, D), all at once, in place.

    Weights stay >= 0 where the networks need it after every iteration. A network whose derivatives are not finite stops
    with the reason; the others go on, and none of them notices.
    """
    size, device = schedule.batch_size, parameters.device
    weights = architecture.weights(parameters)
    optimiser = Adam(parameters.view(len(pools), -1), architecture.rates().to(parameters))
    batches = Batches(pools, size, generators)
    runs = [Training(schedule, partial(judge, network)) for network in range(len(pools))]
    for network in set(range(len(pools))).difference(going):
        runs[network].place = schedule.iterations
    current: dict[int, StepObjective] = {}
    alive = torch.ones(len(pools), 1, dtype=torch.bool, device=device)
    patience = 1 if device.type == "cpu" else ITERATIONS_BETWEEN_CHECKS
    for iteration in itertools.count(1):
        active = [network for network, run in enumerate(runs) if run.going]
        if not active:
            return runs
        points = batches(active)
        current.update((network, objectives(network)) for network in active)
        now = [current.get(network, current[active[0]]) for network in range(len(pools))]
        slope = slopes(Batch(architecture, weights, points, now, active)).div_(size)
        architecture.weights(slope).output.add_(schedule.shrinkage)
        alive &= torch.isfinite(slope.sum(1, keepdim=True))
        if iteration % patience == 0 or any(runs[network].place == schedule.iterations - 1 for network in active):
            for network in [network for network in active if not alive[network]]:
                reason = trouble(weights.of(network), points[network], current[network])
                runs[network].failure = f"iteration {iteration}: {reason}"
        rate = torch.tensor([[run.rate if run.going else 0.0] for run in runs], dtype=slope.dtype, device=device)
        optimiser.step(torch.where(alive, slope, 0), torch.where(alive, rate, 0))
        weights.project()
        for network in active:
            runs[network].advance()
    raise AssertionError("unreachable: a training ends")


def trouble(weights: Weights, x: torch.Tensor, objective: StepObjective) -> str:
    """Return why the derivatives of one network's objective at ``x`` (n, D) are not finite, in words."""
    mapped, hessian, _ = derivatives(fold(weights), x[None])
    return objective.trouble(x, mapped[0], hessian[0])
