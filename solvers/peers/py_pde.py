"""py-pde 0.59.0 (``PDE``): the Fokker-Planck equation as an expression, on cells between walls without flux.

Zwicker, py-pde: a Python package for solving partial differential equations, J. Open Source Softw. 5, 2020.

    ∂p = Σ_i ∂_i (p ∂_iV) + β⁻¹ Δp

Kept: its central differences, its compiled right-hand side, ``solve_ivp``'s RK45 behind its solver "scipy". Changed:
that solver instead of explicit Euler steps of a size that the user has to find; tolerances, which are 1e-3 and 1e-6 by
default; walls, periodic or Neumann by default: nothing passes where the drift's flux, p ∂_iV, is 0 there, and the
derivative of p in the Laplacian. Where the drift outweighs diffusion within a cell, central differences leave masses
below zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from problems.flow import GradientFlow
from problems.laws import Density
from problems.problem import Problem
from problems.references.cell_law_2d import CellLaw2D
from problems.references.finite_volumes import equal_cells
from problems.references.finite_volumes_box import Box, find_box, initial_density
from problems.references.grid_law import GridLaw
from problems.references.marginals_1d import effective_domain
from problems.validation import require_counts, require_positive
from solvers.estimates import Estimate, Exact, GridDensity
from solvers.peers import EXTRA
from solvers.peers.masses import Amiss
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution, Solver

CELLS = {1: 400, 2: 96}
AXES = ("x", "y")
# Of the slopes of the finite volumes that look for a box in the plane.
LIMITER = 2.0


@dataclass(frozen=True, kw_only=True)
class PyPDE(Solver):
    """py-pde follows a density on ``cells`` cells along the longest side, 400 or 96 (D = 2), to a ``tolerance``.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "py-pde"
    needs: ClassVar[Mapping[str, str]] = {"pde": EXTRA}
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 2
    cells: int | None = None
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if self.cells is not None:
            require_counts(self.name, at_least=16, cells=self.cells)
        require_positive(self.name, tolerance=self.tolerance)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the density on the cells at each time; nothing is random, and all of it runs on the CPU.

        Raises ``ValueError`` where the cells miss part of the initial law, and ``Diverged`` where the method gives up
        or masses are not finite.
        """
        stages, amiss, flow = Stages(), Amiss(), problem.flow
        assert isinstance(flow.initial, Density)
        with stages.importing():
            import pde
            from pde.solvers.scipy import ScipySolverError
        with stages.stage("run"):
            lower, upper = box_of(flow)
            shape = equal_cells(CELLS[flow.dim] if self.cells is None else self.cells, lower, upper)
            grid = pde.CartesianGrid(list(zip(lower, upper, strict=True)), shape, periodic=False)
            centres = torch.from_numpy(grid.cell_coords.reshape(-1, flow.dim))
            slopes = flow.potential.gradient(centres).double().numpy().reshape(*shape, flow.dim)
            volume = math.prod((high - low) / count for low, high, count in zip(lower, upper, shape, strict=True))
            axes = AXES[: flow.dim]
            drift = {f"v{axis}": pde.ScalarField(grid, slopes[..., place]) for place, axis in enumerate(axes)}
            equation = pde.PDE(
                {"p": " + ".join([*(f"d_d{axis}(p * v{axis})" for axis in axes), "temperature * laplace(p)"])},
                bc_ops={"p:laplace": {"derivative": 0}, "p:*": {"value": 0}},
                consts={**drift, "temperature": 1 / flow.inverse_temperature},
            )
            state = pde.ScalarField(grid, initial_density(flow.initial, lower, upper, shape))
        settings = {
            "tracker": None,
            "solver": "scipy",
            "rtol": self.tolerance,
            "atol": 1e-3 * self.tolerance / (volume * math.prod(shape)),
        }
        with stages.stage("compile"):
            equation.solve(state, t_range=1e-9 * flow.horizon, **settings)
        estimates: list[Estimate] = []
        with stages.stage("run"):
            now = 0.0
            for time in flow.times:
                try:
                    state = equation.solve(state, t_range=(now, time), **settings)
                except (ScipySolverError, RuntimeError) as error:
                    raise Diverged(f"py-pde gives up by t = {time:g}: {error}") from error
                now = time
                masses = torch.from_numpy(amiss.righted(np.asarray(state.data) * volume, time))
                if flow.dim == 1:
                    estimates.append(GridDensity(GridLaw(lower[0], upper[0], masses)))
                else:
                    estimates.append(Exact(CellLaw2D((lower[0], lower[1]), (upper[0], upper[1]), masses)))
        noted = {"cells": math.prod(shape)}
        return Solution(flow.times, tuple(estimates), stages.cost(), stages.diagnostics() | amiss.diagnostics() | noted)


def box_of(flow: GradientFlow) -> Box:
    """Return the corners of a box that holds the flow's mass, by the grids of ours that are its dimension's."""
    if flow.dim == 1:
        lower, upper = effective_domain(flow)
        return (lower,), (upper,)
    return find_box(flow, LIMITER)
