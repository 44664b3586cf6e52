"""NumPyro 0.22.0 (``MCMC`` of ``NUTS``): the no-U-turn sampler, all chains in one vectorised program.

Hoffman, Gelman, The no-U-turn sampler, J. Mach. Learn. Res. 15, 2014; Phan, Pradhan, Jankowiak, Composable effects for
flexible and accelerated probabilistic programming in NumPyro, arXiv 1912.11554, 2019.

Kept: Stan's warm-up in windows to 80 % acceptance, a diagonal mass matrix, at most ten doublings. Changed: it is given
a potential instead of a model; chains are vectorised instead of taking devices each, of which a CPU is one, and start
from the initial law; all is in float64, as our chains are; the whole run is compiled at once, so that this can be timed
apart. V is that of ``jax_potentials.py``, its gradient JAX's. Vectorised chains wait for the longest trajectory among
them in every step. Steps of the warm-up are not in its count of gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from problems.problem import Problem
from solvers.peers import EXTRA
from solvers.peers.chains import Chains, answer
from solvers.peers.jax_potentials import log_density
from solvers.peers.jax_runs import compiled_call, in_double_precision, seed_from
from solvers.peers.stages import Stages
from solvers.solver import Solution


@dataclass(frozen=True, kw_only=True)
class NumPyroNUTS(Chains):
    """NumPyro's NUTS runs ``chains`` chains from the initial law to the stationary law exp(-βV) only.

    Diagnostics: ``divergent`` transitions, and R̂ and effective sample size by our own measures.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "numpyro-nuts"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "numpyro": EXTRA}

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the states of all chains as the answer at every time; all of it runs on the CPU.

        Raises ``Diverged`` where they are not finite.
        """
        stages, flow = Stages(), problem.flow
        with stages.importing():
            import jax
            from numpyro.infer import MCMC, NUTS
        function, parameters = log_density(flow)
        initial = flow.initial.sample(self.chains, generator).numpy()

        def program(key: Any, starts: Any, parameters: Any) -> Any:
            run = MCMC(
                NUTS(potential_fn=lambda x: -function(parameters, x)),
                num_warmup=self.warmup,
                num_samples=self.draws,
                num_chains=self.chains,
                chain_method="vectorized",
                progress_bar=False,
            )
            run.run(key, init_params=starts, extra_fields=("num_steps", "diverging"))
            noted = run.get_extra_fields()
            return run.get_samples(group_by_chain=True), noted["num_steps"].sum(), noted["diverging"].sum()

        with in_double_precision():
            key = jax.random.key(seed_from(generator))
            states, leaps, divergent = compiled_call(stages, program, key, initial, parameters)
        return answer(flow, states, stages, int(leaps), {"divergent": int(divergent)})
