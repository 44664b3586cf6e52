"""pychangcooper 0.6.0 (``ChangCooper``): the Chang-Cooper scheme with implicit Euler steps on a logarithmic grid.

Chang, Cooper, A practical difference scheme for Fokker-Planck equations, J. Comput. Phys. 6, 1970.

The library solves ∂N/∂t = ∂/∂γ [B N + C ∂N/∂γ] for electrons of energy γ in [1, 10⁵], in cells of equal width of log γ.
So γ = exp((x - lower)/s), with s such that γ runs over its default range: N = ρ s/γ follows with

    B = γ (V'(x)/s + 1/(βs²)),   C = γ²/(βs²),

and its cells are equal ones of x. Kept: the grid, its range, the scheme, the solver of its tridiagonal systems, the
steps. Changed: B and C, which the user brings. Its first and last cells hold other distances than those in between, so
that mass which comes there is not kept; the domain here is so large that none does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from problems.laws import Density
from problems.problem import Problem
from problems.references.grid_law import GridLaw, discretised
from problems.references.marginals_1d import effective_domain
from problems.validation import require_counts, require_positive
from solvers.estimates import Estimate, GridDensity
from solvers.peers import EXTRA
from solvers.peers.masses import Amiss
from solvers.peers.stages import Stages
from solvers.solver import Solution, Solver, step_counts

LARGEST_ENERGY = 1e5


@dataclass(frozen=True, kw_only=True)
class PyChangCooper(Solver):
    """pychangcooper follows a density on ``cells`` cells of the line, by steps of ``step_size``.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "pychangcooper"
    needs: ClassVar[Mapping[str, str]] = {"pychangcooper": EXTRA}
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 1
    orders: ClassVar[tuple[int, ...]] = (1,)
    cells: int = 500
    step_size: float = 1e-3

    def __post_init__(self) -> None:
        require_counts(self.name, at_least=6, cells=self.cells)
        require_positive(self.name, step_size=self.step_size)

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the density on the grid at each time; nothing is random, and all of it runs on the CPU.

        Raises ``ValueError`` where the cells miss part of the initial law, and ``Diverged`` where masses are not
        finite or too many are lost.
        """
        stages, amiss, flow = Stages(), Amiss(), problem.flow
        counts = step_counts(flow.times, self.step_size)
        assert isinstance(flow.initial, Density)
        with stages.importing():
            from pychangcooper import ChangCooper
            from pychangcooper.tridiagonal_solver import TridiagonalSolver
        with stages.stage("compile"):
            TridiagonalSolver(-np.ones(3), 3 * np.ones(3), -np.ones(3)).solve(np.ones(3))
        lower, upper = effective_domain(flow)
        scale = (upper - lower) / math.log(LARGEST_ENERGY)
        temperature = 1 / (flow.inverse_temperature * scale**2)

        class Electrons(ChangCooper):
            """The library's equation with the terms of this flow."""

            def _define_terms(self) -> None:
                energy = self._half_grid
                x = torch.from_numpy(lower + scale * np.log(energy))[:, None]
                slope = flow.potential.gradient(x)[:, 0].double().numpy() / scale
                self._heating_term = energy * (slope + temperature)
                self._dispersion_term = energy**2 * temperature

        estimates: list[Estimate] = []
        with stages.stage("run"):
            electrons = Electrons(self.cells, LARGEST_ENERGY, self.step_size)
            width = (upper - lower) / self.cells
            edges = lower - 0.5 * width, upper - 0.5 * width
            energies = electrons._delta_grid_bar
            electrons._n_current = discretised(flow.initial, *edges, self.cells).masses.numpy() / energies
            for step in range(1, counts[-1] + 1):
                electrons.solve_time_step()
                if step == counts[len(estimates)]:
                    masses = amiss.righted(electrons.n * energies, flow.times[len(estimates)])
                    estimates.append(GridDensity(GridLaw(*edges, torch.from_numpy(masses))))
        return Solution(flow.times, tuple(estimates), stages.cost(), stages.diagnostics() | amiss.diagnostics())
