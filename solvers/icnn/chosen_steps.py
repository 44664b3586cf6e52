"""JKO steps in networks whose sizes and orders are chosen by an estimate of their error (``solvers.adaptive_steps``).

A step is tried as a whole and as two halves, from the same particles. Both laws are known at every point, and so is
what parts them:

    SymKL(p, q) = E_{x~½(p+q)} 2ℓ tanh(ℓ/2),    ℓ = log p(x) - log q(x),

never negative, and 0 for laws that are the same, whatever the draws. Training has noise, by which it is never 0 where
units are trained, and which no shorter steps make less in all: the tolerance is then the noise, which is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import torch

from problems.laws import Density
from solvers.adaptive_steps import AdaptiveSteps
from solvers.estimates import DensityEstimate
from solvers.icnn.flow_state import FlowState
from solvers.icnn.joint_steps import JointSteps
from solvers.icnn.settings import ICNNSettings
from solvers.maps import Pushforward
from solvers.solver import Diverged

# Draws of either law that tell them apart.
DRAWS = 1024
# The least share of the horizon that is tried: each try is three trainings, or nine.
SHORTEST = 1e-3


@dataclass(frozen=True, eq=False)
class Course:
    """A course is the state of one flow and the parameters (size,) of its network, by which one goes on from there.

    ``sizes`` and ``orders`` are those of the steps since the start.
    """

    state: FlowState
    parameters: torch.Tensor
    sizes: tuple[float, ...] = field(default=())
    orders: tuple[int, ...] = field(default=())


class ChosenSteps:
    """Chosen steps move the only flow of ``steps``, each of a size by its own error."""

    def __init__(self, settings: ICNNSettings, steps: JointSteps, generator: torch.Generator) -> None:
        (state,) = steps.states
        self.settings, self.steps, self.generator = settings, steps, generator
        self.base: Density | DensityEstimate | None = None
        self.earlier, self.evaluations = 0, 0
        self.course = Course(copied(state), steps.parameters.clone())
        self.adaptive = AdaptiveSteps[Course](
            lambda course, size: self._taken(course, size, 1),
            lambda course, size: self._taken(course, size, 2),
            self._apart,
            settings.symkl_tolerance,
            state.flow.horizon,
            shortest=SHORTEST,
            noisy=True,
        )

    def advance(self, base: Density | DensityEstimate, start: float, stop: float) -> FlowState:
        """Return the state of the flow at time ``stop``; that of ``steps`` is at ``start``, where its law is ``base``.

        Raises ``Diverged`` where no step is short enough.
        """
        state = self._own()
        self.base, self.earlier = base, len(state.maps)
        course = Course(copied(state), self.steps.parameters.clone(), self.course.sizes, self.course.orders)
        self.evaluations = state.evaluations
        self.course = self.adaptive.advance(course, start, stop)
        self._go_to(self.course)
        return self._own()

    def _own(self) -> FlowState:
        return self.steps.states[0]

    def _go_to(self, course: Course) -> None:
        self.steps.states[0] = copied(course.state)
        self.steps.states[0].evaluations = self.evaluations
        self.steps.parameters.copy_(course.parameters)

    def _taken(self, course: Course, size: float, order: int) -> Course:
        self._go_to(course)
        scheme = self.settings.scheme_of(size, order)
        self.steps.take(scheme, f"a step of {size:g}")
        state = self._own()
        self.evaluations = state.evaluations
        if state.failure is not None:
            raise Diverged(state.failure)
        sizes, orders = (*course.sizes, size), (*course.orders, order)
        return Course(copied(state), self.steps.parameters.clone(), sizes, orders)

    def _apart(self, whole: Course, halves: Course) -> float:
        """Return √SymKL of the laws of two courses."""
        assert self.base is not None
        laws = [Pushforward(self.base, tuple(course.state.maps[self.earlier :])) for course in (whole, halves)]
        ratios = []
        for own, other in (laws, laws[::-1]):
            x, log_density = own.sample_with_log_prob(DRAWS, self.generator)
            ratios.append(log_density - other.log_prob(x))
        ratio = torch.cat(ratios)
        found = float((2 * ratio * torch.tanh(0.5 * ratio)).mean())
        return math.sqrt(found) if found >= 0 else math.inf

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return those of the choice; ``noise_symkl`` is what was taken for the noise of training, 0 if nothing."""
        return self.adaptive.diagnostics() | {"noise_symkl": self.adaptive.noise**2}

    def traces(self) -> Mapping[str, Sequence[float]]:
        """Return ``step_size`` and ``step_order`` of the steps, each of which is half of one that was chosen."""
        return {"step_size": self.course.sizes, "step_order": [float(order) for order in self.course.orders]}


def copied(state: FlowState) -> FlowState:
    """Return a state that goes its own way: its tensors are shared, and no step changes them."""
    return replace(
        state,
        particles=copy(state.particles),
        frames=list(state.frames),
        affine=list(state.affine),
        maps=list(state.maps),
        traces={name: list(series) for name, series in state.traces.items()},
        output_steps=copy(state.output_steps),
    )
