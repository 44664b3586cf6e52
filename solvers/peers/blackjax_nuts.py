"""BlackJAX 1.7.1 (``nuts`` after ``window_adaptation``): the no-U-turn sampler, all chains in one vectorised program.

Hoffman, Gelman, The no-U-turn sampler, J. Mach. Learn. Res. 15, 2014; Cabezas, Corenflos, Lao, Louf, arXiv 2402.10797.

Kept: Stan's warm-up in windows to 80 % acceptance, a diagonal mass matrix, at most ten doublings. Changed: all is in
float64, as our chains are; what the warm-up has to tell is not kept. V is that of ``jax_potentials.py``, its gradient
JAX's. Vectorised chains wait for the longest trajectory among them in every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from problems.problem import Problem
from solvers.peers import EXTRA
from solvers.peers.chains import Chains, answer
from solvers.peers.jax_potentials import log_density
from solvers.peers.jax_runs import compiled_call, in_double_precision, seed_from
from solvers.peers.stages import Stages
from solvers.solver import Solution


@dataclass(frozen=True, kw_only=True)
class BlackjaxNUTS(Chains):
    """BlackJAX's NUTS runs ``chains`` chains from the initial law to the stationary law exp(-βV) only.

    Diagnostics: ``divergent`` transitions, and R̂ and effective sample size by our own measures.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "blackjax-nuts"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "blackjax": EXTRA}

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the states of all chains as the answer at every time; all of it runs on the CPU.

        Raises ``Diverged`` where they are not finite.
        """
        stages, flow = Stages(), problem.flow
        with stages.importing():
            import blackjax
            import jax
            from blackjax.adaptation.base import get_filter_adapt_info_fn
        function, parameters = log_density(flow)
        initial = flow.initial.sample(self.chains, generator).numpy()

        def chain(key: Any, start: Any, parameters: Any) -> Any:
            def density(x: Any) -> Any:
                return function(parameters, x)

            warming, sampling = jax.random.split(key)
            adaptation = blackjax.window_adaptation(
                blackjax.nuts,
                density,
                adaptation_info_fn=get_filter_adapt_info_fn(info_keys={"num_integration_steps"}),
            )
            (state, settings), warmed = adaptation.run(warming, start, self.warmup)
            step = blackjax.nuts(density, **settings).step

            def one(state: Any, key: Any) -> Any:
                state, info = step(key, state)
                return state, (state.position, info.num_integration_steps, info.is_divergent)

            _, (positions, leaps, divergent) = jax.lax.scan(one, state, jax.random.split(sampling, self.draws))
            return positions, leaps.sum() + warmed.info.num_integration_steps.sum(), divergent.sum()

        def program(key: Any, starts: Any, parameters: Any) -> Any:
            return jax.vmap(chain, (0, 0, None))(jax.random.split(key, self.chains), starts, parameters)

        with in_double_precision():
            key = jax.random.key(seed_from(generator))
            states, leaps, divergent = compiled_call(stages, program, key, initial, parameters)
        return answer(flow, states, stages, int(np.sum(leaps)), {"divergent": int(np.sum(divergent))})
