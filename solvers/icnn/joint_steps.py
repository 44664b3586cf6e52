"""One JKO step of several flows at once: their networks are trained together, then each flow takes its own map."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from problems.flow import GradientFlow
from solvers.icnn.flow_state import FlowState
from solvers.icnn.parameter_gradients import gradients_on
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.step_objective import StepScheme
from solvers.icnn.training import Trainer
from solvers.threads import Run


class JointSteps:
    """Joint steps move S flows of one dimension together.

    They hold the flows' states and the parameters (S, size) of the networks of their next step. A flow that has failed
    stands still, and the others don't notice.
    """

    def __init__(
        self,
        settings: ICNNSettings,
        flows: Sequence[GradientFlow],
        generators: Sequence[torch.Generator],
        device: torch.device,
        run: Run,
        scored: bool = True,
    ) -> None:
        self.settings, self.run = settings, run
        self.architecture = settings.architecture(flows[0].dim)
        self.states: list[FlowState] = []
        networks = []
        for flow, generator in zip(flows, generators, strict=True):
            self.states.append(FlowState.drawn_from(flow, settings, generator, device, scored))
            networks.append(self._identity(self.states[-1]))
        self.parameters = torch.cat(networks).to(device, settings.torch_dtype)
        gradients = gradients_on(self.parameters.device, run)
        self.trainer = Trainer(
            self.architecture,
            self.parameters,
            settings.schedule,
            gradients,
            settings.cuda_graph,
            self.scores is not None,
        )

    def _identity(self, state: FlowState) -> torch.Tensor:
        """Return the parameters (size,) of a network that starts as the identity, for particles of width 1."""
        identity = self.architecture.identity(1.0, state.generator, self.settings.sharpness)
        return torch.cat([part.flatten() for part in identity.parts()])

    @property
    def scores(self) -> list[torch.Tensor] | None:
        """The scores (n, D) that the flows' particles carry, by which networks learn; ``None`` if some have none."""
        found = [state.particles.scores for state in self.states if state.particles.scores is not None]
        return found if len(found) == len(self.states) else None

    @property
    def going(self) -> bool:
        """Whether there is a flow that has not failed."""
        return any(state.failure is None for state in self.states)

    def take(self, scheme: StepScheme, place: str) -> float:
        """Take a step of all flows that have not failed, called ``place`` in their failures; return its seconds.

        Raises ``torch.OutOfMemoryError`` with the settings to lower.
        """
        taking = [state for state in self.states if state.failure is None]
        began = time.perf_counter()
        try:
            self._take(scheme)
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError(f"{self._memory_advice()} ({error})") from error
        seconds = time.perf_counter() - began
        for state in taking:
            state.end_step(place, seconds / len(taking))
        return seconds

    def _take(self, scheme: StepScheme) -> None:
        states, weights, run = self.states, self.trainer.iteration.weights, self.run
        schedule = self.settings.schedule
        for state in states:
            state.initialise(scheme)
        going = [network for network, state in enumerate(states) if state.failure is None]
        found = {network: states[network].objectives(scheme, run) for network in going}
        objectives = {network: pair for network, pair in found.items() if pair is not None}
        going = list(objectives)
        learning = [
            network
            for network in going
            if states[network].begins_to_learn(weights.of(network), objectives[network][0], scheme, schedule, run)
        ]
        trainings = self.trainer.train(
            [state.particles.pool for state in states],
            lambda network: next(objectives[network][1]),
            [state.generator for state in states],
            lambda network: states[network].fresh_values(weights.of(network), objectives[network][0], run),
            learning,
            [state.batch_density for state in states],
            [state.pace(scheme, schedule) for state in states],
            self.scores,
        )
        for network in going:
            states[network].accept(weights.of(network), objectives[network][0], trainings[network], run)

    def _memory_advice(self) -> str:
        settings = f"batch_size below {self.settings.batch_size} or width below {self.settings.width}"
        networks = len(self.states)
        return settings if networks == 1 else f"{settings}, or fewer than {networks} seeds at once"

    def state(self) -> list[dict[str, Any]]:
        """Return what the next steps of each flow depend on, beside ``parameters``."""
        return [state.state() for state in self.states]

    def restore(self, states: Sequence[dict[str, Any]], snapshots: Sequence[torch.Tensor]) -> None:
        """Go to where the steps were that gave these ``states``, with the parameters (S, size) after each so far."""
        self.parameters.copy_(snapshots[-1])
        for network, (state, kept) in enumerate(zip(self.states, states, strict=True)):
            state.restore(kept, [self.architecture.weights(snapshot).of(network) for snapshot in snapshots])
