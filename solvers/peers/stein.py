"""What libraries that move particles by Stein's gradient share: their settings, and their answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import Particles
from solvers.peers.jax_potentials import unwritten
from solvers.peers.jax_runs import DTYPES, points_of
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution, Solver


@dataclass(frozen=True, kw_only=True)
class SteinParticles(Solver):
    """``particles`` that a library moves ``iterations`` times by Stein's gradient, with Adam's ``learning_rate``.

    Raises ``ValueError`` for settings out of range.
    """

    stationary_only: ClassVar[bool] = True
    particles: int = 1000
    iterations: int = 1000
    learning_rate: float = 0.05
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_counts(self.name, iterations=self.iterations)
        require_counts(self.name, at_least=2, particles=self.particles)
        require_positive(self.name, learning_rate=self.learning_rate)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def not_alike(self) -> Mapping[str, str]:
        reason = "learning_rate is a length"
        return {"small units": reason, "large units": reason}

    def unsupported(self, problem: Problem) -> str | None:
        return unwritten(problem)

    def answer(self, flow: GradientFlow, points: Reals, stages: Stages) -> Solution:
        """Return the solution that the final ``points`` (n, D) are at every time.

        Raises ``Diverged`` where they are not finite.
        """
        if not np.isfinite(points).all():
            raise Diverged(f"the particles are not finite: a learning_rate below {self.learning_rate:g} may help")
        particles = Particles(points_of(points))
        # Libraries write a particle's gradient inside the sum over pairs, but it does not depend on the other: the
        # compiler takes it out.
        cost = stages.cost(self.particles * self.iterations)
        return Solution(flow.times, tuple(particles for _ in flow.times), cost, stages.diagnostics())
