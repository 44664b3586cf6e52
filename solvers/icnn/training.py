"""The training of the networks of one JKO step: Adam under a schedule that ends near zero, judged on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from solvers.icnn.descent import Pace, RecordedIteration, Schedule, TrainingIteration
from solvers.icnn.examination import gain
from solvers.icnn.parameter_gradients import ParameterGradients
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_network import Architecture, Weights
from solvers.particles.particle_pool import Batches

# A step is judged at every tenth of its schedule; one that gains less than its tolerance
# skips to the last fifth, where the rate falls. Without a tolerance it is trained to the end: what can be told
# from noise on the way is not what the falling rate gains in the end, and on a mixture in the plane stopping by it
# raised SymKL by a half.
JUDGEMENTS = 10
COOLING = 0.8

# A device that runs behind is asked only so often whether its numbers are still finite.
ITERATIONS_BETWEEN_CHECKS = 25


@dataclass
class Training:
    """A training keeps how far one network is: iterations done, place in the schedule, why it failed.

    ``judge()`` is the objective at particles that stay the same and that are not trained on, (k,); ``last_gain`` is by
    how much its mean fell over the last tenth of the schedule.
    """

    schedule: Schedule
    judge: Callable[[], torch.Tensor]
    iterations: int = 0
    place: int = 0
    values: torch.Tensor | None = None
    last_gain: float = math.nan
    failure: str | None = None

    @property
    def going(self) -> bool:
        """Whether there is something left to train."""
        return self.failure is None and self.place < self.schedule.iterations

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
        before, self.values = self.values, self.judge()
        if before is None:
            return
        self.last_gain, _ = gain(before, self.values)
        cooling = round(COOLING * self.schedule.iterations)
        if self.last_gain < self.schedule.tolerance and self.place < cooling:
            self.place = cooling


Objectives = Callable[[int], StepObjective]
"""The objective of one network in its next iteration."""

Judge = Callable[[int], torch.Tensor]
"""The objective of one network at particles that stay the same and that are not trained on, (k,)."""

BatchDensity = Callable[[torch.Tensor], torch.Tensor]
"""The log-densities (n,) of the particles at ``places`` (n,) of a pool, as a batch has them."""


class Trainer:
    """A trainer minimises the objectives of JKO steps over the ``parameters`` of S networks, all at once, in place.

    On a GPU an iteration is recorded as a CUDA graph and replayed, unless ``recorded`` is false. If they are
    ``scored``, networks learn by path forces.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: torch.Tensor,
        schedule: Schedule,
        gradients: ParameterGradients,
        recorded: bool = True,
        scored: bool = False,
    ) -> None:
        self.schedule = schedule
        self.iteration = TrainingIteration(architecture, parameters, schedule, gradients, scored)
        on_cpu = parameters.device.type == "cpu"
        self.advance = RecordedIteration(self.iteration) if recorded and not on_cpu else self.iteration
        self.patience = 1 if on_cpu else ITERATIONS_BETWEEN_CHECKS

    def train(
        self,
        pools: Sequence[torch.Tensor],
        objectives: Objectives,
        generators: Sequence[torch.Generator],
        judge: Judge,
        going: Sequence[int],
        densities: Sequence[BatchDensity | None] | None = None,
        paces: Sequence[Pace] | None = None,
        scores: Sequence[torch.Tensor] | None = None,
    ) -> list[Training]:
        """Train the networks ``going`` for one step, each on its pool (n, D).

        ``densities`` gives the log-densities of some of a pool's particles where the objective carries them; ``paces``
        how each network learns, all by the schedule if there are none; ``scores`` (n, D) those of the pools, where
        networks learn by path forces.

        Weights stay >= 0 where the networks need it after every iteration. A network whose derivatives are not finite
        stops with the reason; the others go on, and none of them notices.
        """
        descent, end = self.iteration, self.schedule.iterations
        batches = Batches(pools, self.schedule.batch_size, generators, moved=scores is None)
        carried = [] if densities is None else [(each, own) for each, own in enumerate(densities) if own is not None]
        runs = [Training(self.schedule, partial(judge, network)) for network in range(len(pools))]
        for network in set(range(len(pools))).difference(going):
            runs[network].place = end
        current: dict[int, StepObjective] = {}
        descent.restart(paces)
        places = [run.place for run in runs]
        descent.go_to(places)
        for iteration in itertools.count(1):
            active = [network for network, run in enumerate(runs) if run.going]
            if not active:
                return runs
            batches.draw(active, descent.points)
            for network, density in carried:
                if network in active:
                    descent.log_density[network] = density(batches.places[network])
            if scores is not None:
                assert descent.scores is not None
                for network in active:
                    descent.scores[network] = scores[network][batches.places[network]]
            current.update((network, objectives(network)) for network in active)
            self.advance([current.setdefault(each, current[active[0]]) for each in range(len(pools))], active)
            if iteration % self.patience == 0 or any(runs[network].place == end - 1 for network in active):
                alive = descent.alive[:, 0].tolist()
                for network in [network for network in active if not alive[network]]:
                    log_density = descent.log_density[network] if current[network].carries else None
                    reason = trouble(
                        descent.weights.of(network), descent.points[network], current[network], log_density
                    )
                    runs[network].failure = f"iteration {iteration}: {reason}"
            for network in active:
                runs[network].advance()
            one_on = [min(place + 1, end) for place in places]
            places = [run.place if run.going else end for run in runs]
            if places != one_on:
                descent.go_to(places)
        raise AssertionError("unreachable: a training ends")


def trouble(weights: Weights, x: torch.Tensor, objective: StepObjective, log_density: torch.Tensor | None) -> str:
    """Return why the derivatives of one network's objective at ``x`` (n, D) are not finite, in words."""
    mapped, hessian, _ = derivatives(fold(weights), x[None])
    return objective.trouble(x, mapped[0], hessian[0], log_density)
