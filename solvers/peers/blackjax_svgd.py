"""BlackJAX 1.7.1 (``svgd``): Stein variational gradient descent with Optax's optimisers.

Liu, Wang, Stein variational gradient descent, Advances in Neural Information Processing Systems 29, 2016.

Kept: its kernel exp(-‖x-y‖²/h) and its median heuristic, after each step, h the squared median of the distances of
distinct pairs over log n (which is not ours, see docs/conventions.md), 1 in the first step; every pair's
gradient, as it works them out. Changed: the optimiser, which the user brings, is Optax's Adam with its defaults, which
is that of our ``svgd`` with ``optimiser = "adam"``. V is that of ``jax_potentials.py``, its gradient JAX's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from problems.problem import Problem
from solvers.peers import EXTRA
from solvers.peers.jax_potentials import log_density
from solvers.peers.jax_runs import DTYPES, compiled_call, in_double_precision
from solvers.peers.stages import Stages
from solvers.peers.stein import SteinParticles
from solvers.solver import Solution


@dataclass(frozen=True, kw_only=True)
class BlackjaxSVGD(SteinParticles):
    """BlackJAX's SVGD moves ``particles`` ``iterations`` times to the stationary law exp(-βV) only, by Adam.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "blackjax-svgd"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "blackjax": EXTRA}

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the final particles (n, D) as the answer at every time; all of it runs on the CPU.

        Raises ``Diverged`` where they are not finite.
        """
        stages, flow, dtype = Stages(), problem.flow, DTYPES[self.dtype]
        with stages.importing():
            import blackjax
            import jax
            import optax
        function, parameters = log_density(flow)
        parameters = tuple(np.asarray(each, dtype=dtype) for each in parameters)
        initial = flow.initial.sample(self.particles, generator).numpy().astype(dtype)

        def program(points: Any, parameters: Any) -> Any:
            slope = jax.grad(lambda x: function(parameters, x))
            algorithm = blackjax.svgd(slope, optax.adam(self.learning_rate))
            start = algorithm.init(points, {"length_scale": points.dtype.type(1)})
            moved = jax.lax.fori_loop(0, self.iterations, lambda _, state: algorithm.step(state), start)
            return moved.particles

        with in_double_precision():
            points = compiled_call(stages, program, initial, parameters)
        return self.answer(flow, points, stages)
