"""The finite volumes of Carrillo, Chertock and Huang for any free energy of this project, in one and two dimensions.

    ∂ρ = ∇·(ρ ∇ξ),  ξ = V + U'(ρ) + W∗ρ;   dρ_j/dt = -Σ_axes (F_{j+½} - F_{j-½}) / h,
    F_{j+½} = u⁺ ρ^E_j + u⁻ ρ^W_{j+1},   u_{j+½} = -(ξ_{j+1} - ξ_j) / h,

with minmod-limited face values ρ^E and ρ^W (Commun. Comput. Phys. 17, 2015): of second order where ρ is smooth,
positive, conservative, with an energy that falls in every step. ``problems/references/finite_volumes.py`` has the
scheme, ``finite_volumes_steps.py`` beside it the steps in time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, GradientFlow, InternalEnergy, PowerEntropy
from problems.problem import Problem
from problems.references.cell_law_2d import CellLaw2D
from problems.references.finite_volumes import equal_cells
from problems.references.finite_volumes_box import WIDENINGS, AtTheWall, Box, find_box, widened
from problems.references.finite_volumes_marginals import Marginals, marginals
from problems.references.finite_volumes_steps import Stuck
from problems.references.grid_law import GridLaw
from problems.validation import require_counts, require_number
from solvers.estimates import Estimate, Exact, GridDensity
from solvers.solver import Cost, Diverged, Solution, Solver

CELLS = {1: 400, 2: 128}
# Twice coarser it must still be a grid.
LEAST_CELLS = 16


@dataclass(frozen=True, kw_only=True)
class FiniteVolume(Solver):
    """Finite volumes follow a density on ``cells`` cells along the longest side of a ``box``, 400 or 128 (D = 2).

    The box is ((lower, upper),) or one such pair for each axis; by default it is found on a coarse grid, large enough
    for the flow's mass until its last time. Cells are near square, their numbers rounded to multiples of four.
    ``limiter`` is θ of the slopes, from 1 (most diffusive) to 2. Time steps choose themselves.

    The diagnostics declare the errors at the horizon, by grids with a half and a quarter of the cells: ``error_l1`` of
    the density, ``error_energy`` of the free energy, and the order ``observed_order`` (1 to 2) that they are worked
    out by. The traces hold ``time``, ``free_energy`` and ``mass`` after every step.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "finite-volume"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 2
    cells: int | None = None
    box: tuple[tuple[float, float], ...] | None = None
    limiter: float = 2.0

    def __post_init__(self) -> None:
        if self.cells is not None:
            require_counts(self.name, at_least=LEAST_CELLS, cells=self.cells)
        require_number(self.name, at_least=1, at_most=2, limiter=self.limiter)
        if self.box is not None and not (
            1 <= len(self.box) <= 2
            and all(len(side) == 2 and all(map(math.isfinite, side)) and side[0] < side[1] for side in self.box)
        ):
            raise ValueError(
                f"{self.name}: box must be one or two pairs (lower, upper), finite, lower < upper; got {self.box!r}"
            )

    def unsupported(self, problem: Problem) -> str | None:
        if self.box is not None and len(self.box) not in (1, problem.flow.dim):
            return f"the box has {len(self.box)} sides, the problem {problem.flow.dim} dimension"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the density on the cells at each time; nothing is random, and all of it runs on the CPU.

        Raises ``ValueError`` when box or cells miss part of the initial law, and ``Diverged`` when mass comes to a
        wall of the box, or steps in time shrink to nothing.
        """
        started = time.perf_counter()
        flow = problem.flow
        try:
            box = self._box(flow)
            setup_seconds = time.perf_counter() - started
            box, shape, found = self._within(flow, box)
        except (AtTheWall, Stuck) as error:
            raise Diverged(f"{self.name}: {str(error).removeprefix('finite volumes: ')}") from None
        laws = [found.law(index) for index in range(len(flow.times))]
        sides = {
            f"{end}_{axis}": corner[axis]
            for axis in range(flow.dim)
            for end, corner in zip(("box_lower", "box_upper"), box, strict=True)
        }
        trace = found.trace
        return Solution(
            flow.times,
            tuple(_estimate(law) for law in laws),
            Cost(setup_seconds=setup_seconds),
            {
                **sides,
                "cells": math.prod(shape),
                "error_l1": found.errors[-1],
                "observed_order": found.orders[-1],
                "free_energy": found.energies[-1],
                "error_energy": abs(found.energies[-1] - found.energy_limits[-1]),
                "mass_defect": max(abs(mass - 1) for mass in trace.masses),
                "smallest_density": min(float(density.min()) for density in found.densities),
                "steps": len(trace.times) - 1,
                "evaluations": trace.evaluations,
            },
            {"time": trace.times[1:], "free_energy": trace.energies[1:], "mass": trace.masses[1:]},
        )

    def _within(self, flow: GradientFlow, box: Box) -> tuple[Box, tuple[int, ...], Marginals]:
        """Return the marginals in the box; one that was looked for is widened where fine cells find it too small."""
        for _ in range(WIDENINGS):
            shape = equal_cells(CELLS[flow.dim] if self.cells is None else self.cells, *box)
            try:
                return box, shape, marginals(flow, box, shape, self.limiter)
            except AtTheWall as wall:
                if self.box is not None:
                    raise
                box, last = widened(box, wall), wall
        raise last

    def _box(self, flow: GradientFlow) -> Box:
        if self.box is None:
            return find_box(flow, self.limiter)
        sides = self.box * flow.dim if len(self.box) == 1 else self.box
        return tuple(low for low, _ in sides), tuple(high for _, high in sides)


def _estimate(law: GridLaw | CellLaw2D) -> Estimate:
    if isinstance(law, GridLaw):
        return GridDensity(law)
    return Exact(law)
