"""BlackJAX 1.7.1 (``mala``): the Metropolis-adjusted Langevin algorithm, all chains in one vectorised program.

Cabezas, Corenflos, Lao, Louf, BlackJAX: composable Bayesian inference in JAX, arXiv 2402.10797, 2024.

Kept: the kernel, and its own tools to choose a step, ``find_reasonable_step_size`` and dual averaging. Changed: the
library leaves the step to the user; here each chain adapts one of its own in the warm-up, towards the 57.4 % of
accepted proposals that suit this algorithm, instead of the 80 % that the tools aim at for others, and keeps it from
then on. All is in float64, as our chains are. V is that of ``jax_potentials.py``, its gradient JAX's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from problems.problem import Problem
from problems.validation import require_counts
from solvers.peers import EXTRA
from solvers.peers.chains import Chains, answer
from solvers.peers.jax_potentials import log_density
from solvers.peers.jax_runs import compiled_call, in_double_precision, seed_from
from solvers.peers.stages import Stages
from solvers.solver import Solution

OPTIMAL_ACCEPTANCE = 0.574


@dataclass(frozen=True, kw_only=True)
class BlackjaxMALA(Chains):
    """BlackJAX's MALA runs ``chains`` chains from the initial law to the stationary law exp(-βV) only.

    After ``warmup`` steps each keeps every ``thinning``-th of its states.

    Diagnostics: ``acceptance``, and R̂ and effective sample size by our own measures.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "blackjax-mala"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "blackjax": EXTRA}
    particles: int = 10_000
    chains: int = 250
    thinning: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self.name, thinning=self.thinning)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the states of all chains as the answer at every time; all of it runs on the CPU.

        Raises ``Diverged`` where they are not finite.
        """
        stages, flow = Stages(), problem.flow
        with stages.importing():
            import blackjax
            import jax
            from blackjax.adaptation.step_size import dual_averaging_adaptation, find_reasonable_step_size
        function, parameters = log_density(flow)
        initial = flow.initial.sample(self.chains, generator).numpy()
        kernel = blackjax.mala.build_kernel()

        def chain(key: Any, start: Any, parameters: Any) -> tuple[Any, Any]:
            def density(x: Any) -> Any:
                return function(parameters, x)

            def stepping(step_size: Any) -> Any:
                return lambda key, state: kernel(key, state, density, step_size)

            first, warming, sampling = jax.random.split(key, 3)
            state = blackjax.mala.init(start, density)
            begin, update, final = dual_averaging_adaptation(OPTIMAL_ACCEPTANCE)
            step_size = find_reasonable_step_size(first, stepping, state, 1.0, OPTIMAL_ACCEPTANCE)

            def warm(carried: Any, key: Any) -> Any:
                state, adapting = carried
                state, info = kernel(key, state, density, jax.numpy.exp(adapting.log_step_size))
                return (state, update(adapting, info.acceptance_rate)), None

            keys = jax.random.split(warming, self.warmup)
            (state, adapting), _ = jax.lax.scan(warm, (state, begin(step_size)), keys)
            step_size = final(adapting)

            def thinned(state: Any, keys: Any) -> Any:
                def one(state: Any, key: Any) -> Any:
                    state, info = kernel(key, state, density, step_size)
                    return state, info.acceptance_rate

                state, accepted = jax.lax.scan(one, state, keys)
                return state, (state.position, accepted.mean())

            keys = jax.random.split(sampling, (self.draws, self.thinning))
            _, (positions, accepted) = jax.lax.scan(thinned, state, keys)
            return positions, accepted.mean()

        def program(key: Any, starts: Any, parameters: Any) -> Any:
            return jax.vmap(chain, (0, 0, None))(jax.random.split(key, self.chains), starts, parameters)

        with in_double_precision():
            key = jax.random.key(seed_from(generator))
            states, accepted = compiled_call(stages, program, key, initial, parameters)
        evaluations = self.chains * (1 + self.warmup + self.draws * self.thinning)
        return answer(flow, states, stages, evaluations, {"acceptance": float(np.mean(accepted))})
