"""NumPyro 0.22.0 (``contrib.einstein.SVGD``): Stein variational gradient descent.

Liu, Wang, Stein variational gradient descent, Advances in Neural Information Processing Systems 29, 2016; Rønning,
Al-Sibahi, Ley, Hamelryck, EinSteinVI: general and integrated Stein variational inference, arXiv 2208.01626, 2022.

Kept: its kernel exp(-‖x-y‖²/h) and its median heuristic, in each step, h the squared median of the distances of all
pairs over log n (which is not ours, see docs/conventions.md). Changed: the model is one site, whose own law is masked,
with -βV as a factor; particles start from the initial law, not from a cube; the optimiser, which the user brings, is
its Adam with its defaults, which is that of our ``svgd`` with ``optimiser = "adam"``; what a step would print is not
worked out. V is that of ``jax_potentials.py``, its gradient JAX's.
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
from solvers.peers.jax_runs import DTYPES, compiled_call, in_double_precision, seed_from
from solvers.peers.stages import Stages
from solvers.peers.stein import SteinParticles
from solvers.solver import Solution


@dataclass(frozen=True, kw_only=True)
class NumPyroSVGD(SteinParticles):
    """NumPyro's SVGD moves ``particles`` ``iterations`` times to the stationary law exp(-βV) only, by Adam.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "numpyro-svgd"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "numpyro": EXTRA}

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the final particles (n, D) as the answer at every time; all of it runs on the CPU.

        Raises ``Diverged`` where they are not finite.
        """
        stages, flow, dtype = Stages(), problem.flow, DTYPES[self.dtype]
        with stages.importing():
            import jax
            import numpyro
            from numpyro.contrib.einstein import SVGD, RBFKernel
        function, parameters = log_density(flow)
        parameters = tuple(np.asarray(each, dtype=dtype) for each in parameters)
        initial = flow.initial.sample(self.particles, generator).numpy().astype(dtype)

        def program(key: Any, points: Any, parameters: Any) -> Any:
            def model() -> None:
                # It wants a law to draw from, which the mask keeps out of the density.
                normal = numpyro.distributions.Normal(np.zeros(flow.dim, dtype), dtype(1))
                x = numpyro.sample("x", normal.to_event(1).mask(False))
                numpyro.factor("density", function(parameters, x))

            algorithm = SVGD(
                model, numpyro.optim.Adam(self.learning_rate), RBFKernel(), num_stein_particles=self.particles
            )
            start = algorithm.init(key)
            (site,) = algorithm.get_params(start)
            start = start._replace(optim_state=algorithm.optim.init({site: points}))
            moved = jax.lax.fori_loop(0, self.iterations, lambda _, state: algorithm.update(state)[0], start)
            return algorithm.get_params(moved)[site]

        with in_double_precision():
            key = jax.random.key(seed_from(generator))
            points = compiled_call(stages, program, key, initial, parameters)
        return self.answer(flow, points, stages)
