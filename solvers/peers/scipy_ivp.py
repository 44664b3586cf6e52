"""SciPy's ``solve_ivp`` on the Fokker-Planck equation in cells, dp/dt = L p, by the method of lines.

Byrne, Hindmarsh, A polyalgorithm for the numerical solution of ordinary differential equations, ACM Trans. Math. Softw.
1, 1975 (BDF); Hairer, Wanner, Solving Ordinary Differential Equations II, 1996 (Radau).

Kept: step and order as the method chooses them, its dense output at times in between. Changed: the method, since the
explicit default takes steps of width²; L is handed over as a sparse Jacobian, which it has to be told; tolerances,
which are 1e-3 and 1e-6 by default, absolute ones beyond any cell's mass. L is that of Scharfetter & Gummel, as in
``chang-cooper``: what differs is the way through time alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.integrate
import scipy.sparse
import torch

from problems.arrays import Reals
from problems.laws import Density
from problems.problem import Problem
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import discretised
from problems.references.marginals_1d import effective_domain
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import GridDensity
from solvers.peers.masses import Amiss
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution, Solver

METHODS = {"BDF": scipy.integrate.BDF, "Radau": scipy.integrate.Radau}


@dataclass(frozen=True, kw_only=True)
class SciPyIVP(Solver):
    """SciPy's ``method``, "BDF" or "Radau", on ``cells`` cells of the line, to a relative ``tolerance``.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "scipy-ivp"
    needs: ClassVar[Mapping[str, str]] = {}
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 1
    cells: int = 2000
    method: str = "BDF"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_counts(self.name, at_least=3, cells=self.cells)
        require_choice(self.name, "method", self.method, tuple(METHODS))
        require_positive(self.name, tolerance=self.tolerance)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the density on the grid at each time; nothing is random, and all of it runs on the CPU.

        Raises ``ValueError`` where the cells miss part of the initial law, and ``Diverged`` where the method gives up.
        """
        stages, amiss, flow = Stages(), Amiss(), problem.flow
        assert isinstance(flow.initial, Density)
        with stages.stage("run"):
            lower, upper = effective_domain(flow)
            operator = FokkerPlanck.discretise(flow, lower, upper, self.cells)
            start = discretised(flow.initial, lower, upper, self.cells).masses.numpy()
            # A column holds the rates of leaving one cell.
            rates: Reals = np.stack([operator.right, -(operator.left + operator.right), operator.left]).astype(
                np.float64
            )
            matrix = scipy.sparse.dia_array((rates, np.array([-1, 0, 1])), shape=(self.cells, self.cells)).tocsc()

            def rate(t: float, masses: Reals) -> Reals:
                return np.asarray(matrix @ masses)

            found = scipy.integrate.solve_ivp(
                rate,
                (0.0, flow.horizon),
                start,
                method=METHODS[self.method],
                t_eval=flow.times,
                jac=matrix,
                rtol=self.tolerance,
                atol=1e-3 * self.tolerance / self.cells,
            )
            if not found.success:
                raise Diverged(f"solve_ivp gives up: {found.message}")
            estimates = tuple(
                GridDensity(operator.law(amiss.righted(masses, t)))
                for t, masses in zip(flow.times, found.y.T, strict=True)
            )
        noted = {"evaluations": int(found.nfev), "factorisations": int(found.nlu)}
        return Solution(flow.times, estimates, stages.cost(), stages.diagnostics() | amiss.diagnostics() | noted)
