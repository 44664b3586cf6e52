"""What chains of a library answer with: their states as particles, and how well they mix, by our own measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.problem import Problem
from problems.validation import require_counts
from solvers.estimates import Particles
from solvers.peers.jax_potentials import unwritten
from solvers.peers.jax_runs import points_of
from solvers.peers.stages import Stages
from solvers.samplers.mixing import mixing, require_chains
from solvers.solver import Diverged, Solution, Solver


@dataclass(frozen=True, kw_only=True)
class Chains(Solver):
    """Chains of a library, which share out ``particles`` among them after so many steps of ``warmup`` each.

    Raises ``ValueError`` for settings out of range, and ``particles`` that are no multiple of ``chains``, at least 4 of
    each.
    """

    stationary_only: ClassVar[bool] = True
    particles: int = 4000
    chains: int = 4
    warmup: int = 1000

    def __post_init__(self) -> None:
        require_chains(self.name, self.particles, self.chains)
        require_counts(self.name, warmup=self.warmup)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def unsupported(self, problem: Problem) -> str | None:
        return unwritten(problem)

    @property
    def draws(self) -> int:
        """The states that a chain keeps."""
        return self.particles // self.chains


def answer(
    flow: GradientFlow, states: Reals, stages: Stages, evaluations: int, noted: Mapping[str, float | int | str]
) -> Solution:
    """Return the solution that chains of ``states`` (chains, draws, D) are: their last words at every time.

    Raises ``Diverged`` where they are not finite.
    """
    if not np.isfinite(states).all():
        raise Diverged("the chains are not finite")
    history = points_of(states)
    rhat, ess = mixing(history)
    particles = Particles(history.reshape(-1, flow.dim))
    # A coordinate that stood still in all chains has R-hat infinite.
    told = {"rhat": float(rhat.max()), "ess": float(torch.nan_to_num(ess).min())}
    return Solution(
        flow.times,
        tuple(particles for _ in flow.times),
        stages.cost(evaluations),
        stages.diagnostics() | dict(noted) | {name: value for name, value in told.items() if not math.isnan(value)},
    )
