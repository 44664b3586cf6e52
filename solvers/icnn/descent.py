"""One training iteration with fixed memory and no host synchronisation, so that it can be recorded as a CUDA graph.

A hundred and more small kernels, each of which takes the host longer to launch than
the device to run, are recorded once and then launched as one. Nothing that changes from one iteration to the next may
come from the host but the batch: learning rates and Adam's bias corrections lie in tables on the device, and so do the
places in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from solvers.icnn.parameter_gradients import Batch, ParameterGradients
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import Architecture
from solvers.networks.cuda_graph import recording

# An epsilon above the usual 1e-8, in units of the flow's own energy: near the optimum of a step the derivatives by
# hidden units vanish, and what Adam would otherwise blow up to full steps is rounding. A larger one, 1e-3, keeps units
# from learning where forces are weak: on a mixture in the plane SymKL was half as much again.
FIRST_MOMENT_DECAY, SECOND_MOMENT_DECAY, ADAM_EPSILON = 0.9, 0.99, 1e-6
FINAL_RATE = 1e-3

# Iterations that are worked on as they come before one is recorded: on first use libraries allocate, and potentials
# work out what they keep.
BEFORE_RECORDING = 3


def cosine_rate(peak: float, progress: float) -> float:
    """Return the learning rate at a share of the schedule: from ``peak`` down to a thousandth along half a cosine."""
    return peak * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class Schedule:
    """A schedule says how long and how fast a step is trained: by Adam.

    The rate falls from ``learning_rate`` to nearly 0 in ``iterations``, on batches of ``batch_size`` particles.

    ``shrinkage`` times the sum of the output weights f, which are >= 0, is added to the objective.
    A step that gains less than ``tolerance`` (in the units of the objective) from one judgement to the next skips to
    the last fifth of its schedule.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    tolerance: float = 0.0
    shrinkage: float = 0.0

    def rates(self) -> list[float]:
        """Return the learning rate at each of the ``iterations`` places of the schedule, and 0 behind its end."""
        last = max(1, self.iterations - 1)
        return [*(cosine_rate(self.learning_rate, place / last) for place in range(self.iterations)), 0.0]


class ScheduledAdam:
    """Adam (Kingma, Ba, ICLR 2015) on the parameters (S, size) of several networks, for at most ``steps`` steps."""

    def __init__(self, parameters: torch.Tensor, rates: torch.Tensor, steps: int) -> None:
        self.parameters, self.rates = parameters, rates
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        self.done = torch.zeros(1, dtype=torch.long, device=parameters.device)
        scales = [math.sqrt(1 - SECOND_MOMENT_DECAY**step) for step in range(1, steps + 1)]
        self.epsilons = parameters.new_tensor([ADAM_EPSILON * scale for scale in scales])
        self.factors = parameters.new_tensor(
            [scale / (1 - FIRST_MOMENT_DECAY**step) for step, scale in enumerate(scales, 1)]
        )

    def restart(self) -> None:
        """Forget the steps so far."""
        for memory in (self.mean, self.square, self.done):
            memory.zero_()

    def step(self, slope: torch.Tensor, rate: torch.Tensor) -> None:
        """Move the parameters against ``slope`` (S, size), in place, at the networks' rates ``rate`` (S, 1)."""
        self.mean.lerp_(slope, 1 - FIRST_MOMENT_DECAY)
        self.square.mul_(SECOND_MOMENT_DECAY).addcmul_(slope, slope, value=1 - SECOND_MOMENT_DECAY)
        root = self.square.sqrt().add_(self.epsilons.index_select(0, self.done))
        move = (self.mean / root).mul_(rate).mul_(self.factors.index_select(0, self.done))
        self.parameters.addcmul_(move, self.rates, value=-1)
        self.done.add_(1)


class Pace(NamedTuple):
    """How one network learns in a step: at which ``share`` of the schedule's rates, by which ``shrinkage``."""

    share: float
    shrinkage: float


class TrainingIteration:
    """A training iteration moves all networks at once by the batch that lies in ``points`` (S, B, D).

    The points' log-densities, where objectives carry them, lie in ``log_density`` (S, B); their scores, if it is
    ``scored``, in ``scores`` (S, B, D).
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: torch.Tensor,
        schedule: Schedule,
        gradients: ParameterGradients,
        scored: bool = False,
    ) -> None:
        self.architecture, self.schedule, self.gradients = architecture, schedule, gradients
        self.weights = architecture.weights(parameters)
        networks, device = len(self.weights.output), parameters.device
        self.optimiser = ScheduledAdam(
            parameters.view(networks, -1), architecture.rates().to(parameters), schedule.iterations
        )
        self.rates = parameters.new_tensor(schedule.rates())
        self.points = parameters.new_zeros(networks, schedule.batch_size, architecture.dim)
        self.log_density = parameters.new_zeros(networks, schedule.batch_size)
        self.scores = torch.zeros_like(self.points) if scored else None
        self.shares = parameters.new_ones(networks, 1)
        self.shrinkages = parameters.new_full((networks, 1), schedule.shrinkage)
        self.places = torch.zeros(networks, dtype=torch.long, device=device)
        self.alive = torch.ones(networks, 1, dtype=torch.bool, device=device)

    def restart(self, paces: Sequence[Pace] | None = None) -> None:
        """Begin another step, in which networks learn at their paces; without them, at the schedule's."""
        self.optimiser.restart()
        self.alive.fill_(True)
        chosen = paces or [Pace(1.0, self.schedule.shrinkage)] * len(self.places)
        shares, shrinkages = (
            torch.tensor(column, dtype=torch.float64)[:, None] for column in zip(*chosen, strict=True)
        )
        self.shares.copy_(shares)
        self.shrinkages.copy_(shrinkages)

    def go_to(self, places: Sequence[int]) -> None:
        """Put the networks at their places in the schedule; one behind its end does not learn."""
        self.places.copy_(torch.tensor(places))

    def __call__(self, objectives: Sequence[StepObjective], active: Sequence[int]) -> None:
        """Take a step of Adam, go one place on, and note in ``alive`` whose derivatives have not been finite."""
        batch = Batch(self.architecture, self.weights, self.points, objectives, active, self.log_density, self.scores)
        slope = self.gradients(batch).div_(self.schedule.batch_size)
        self.architecture.weights(slope).output.add_(self.shrinkages)
        self.alive &= torch.isfinite(slope.sum(1, keepdim=True))
        rate = self.rates.index_select(0, self.places)[:, None] * self.shares
        self.optimiser.step(torch.where(self.alive, slope, 0), torch.where(self.alive, rate, 0))
        self.weights.project()
        self.places.add_(1).clamp_(max=self.schedule.iterations)


class RecordedIteration:
    """A recorded iteration runs ``iteration`` on a GPU: recorded once its objectives stay the same, then replayed.

    Objectives that change in every iteration, those of minibatches, are never recorded.
    """

    def __init__(self, iteration: TrainingIteration) -> None:
        self.iteration = iteration
        self.objectives: list[StepObjective] = []
        self.repetitions = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, objectives: Sequence[StepObjective], active: Sequence[int]) -> None:
        """Do what ``iteration`` does, for all networks whether they are ``active`` or not.

        Raises ``RuntimeError`` where the potential's gradient waits for the device.
        """
        everyone = range(len(objectives))
        if len(self.objectives) != len(objectives) or not all(map(same, self.objectives, objectives)):
            # What was recorded works in memory of these objectives, which must live as long.
            self.graph, self.objectives, self.repetitions = None, list(objectives), 0
        if self.graph is None and self.repetitions < BEFORE_RECORDING:
            self.repetitions += 1
            self.iteration(objectives, everyone)
            return
        if self.graph is None:
            # Recorded on the device that the memory is on, which need not be the first.
            with torch.cuda.device(self.iteration.points.device):
                self.graph = recording(lambda: self.iteration(objectives, everyone))
        self.graph.replay()


def same(left: StepObjective, right: StepObjective) -> bool:
    """Return whether two objectives have the very same potential, interaction and weight and equal numbers."""
    numbers = [(each.internal, each.step_size, each.implicitness) for each in (left, right)]
    objects = (
        left.potential is right.potential and left.interaction is right.interaction and left.weight is right.weight
    )
    return objects and numbers[0] == numbers[1]
