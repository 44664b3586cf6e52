"""The Chang-Cooper scheme for one-dimensional Fokker-Planck equations, with its own estimate of its error.

    dp_i/dt = J_{i-½} - J_{i+½},   J_{i+½} = (B(z_i) p_i - B(-z_i) p_{i+1}) / (β width²),   z_i = β (V_{i+1} - V_i),

B(z) = z / (eᶻ - 1), no flux through the walls (Chang & Cooper 1970, J. Comput. Phys. 6): of second order in space where
z is small, of first where it is large and the flux upwind; positive, conservative, exp(-βV) stationary. In time either
exact, p(t) = exp(tL) p(0), or by steps of order 2. Observations multiply the density by their likelihood, cell by cell:
the reference of one-dimensional filtering.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.laws import Density
from problems.problem import Problem
from problems.references.exact_filter import grid_recursion
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import GridLaw, discretised, symmetric_divergence
from problems.references.marginals_1d import effective_domain
from problems.validation import require_counts, require_positive
from solvers.estimates import Estimate, GridDensity
from solvers.filtering import Filter, Propagation, assimilate, equal_steps
from solvers.solver import Cost, Diverged, Solution, step_counts

Found = TypeVar("Found")

# The least order that is taken for observed: with less, the grids are too coarse to tell.
LEAST_ORDER = 0.25
TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class ChangCooper(Filter):
    """Chang-Cooper follows a density on ``cells`` equal cells of ``domain``, chosen from ρ0 and exp(-βV) if ``None``.

    Without ``step_size`` the marginals are exact in time; with it, they are stepped by a factorised L-stable SDIRK
    scheme of order 2. The diagnostics declare the error at the horizon, ``error_l1`` and ``error_symkl``: the spatial
    part extrapolated from a solution with half the cells (Richardson 1911), by the order ``observed_order`` that one
    with a quarter of them shows, ¼ to 2, the temporal part taken from the solution exact in time. Where no law is held
    by so few cells, the order counts as 1. Filters declare ``error_log_evidence`` in the same way.

    Raises ``ValueError`` for settings out of range, and for a ``domain`` that is not finite and increasing.
    """

    name: ClassVar[str] = "chang-cooper"
    version: ClassVar[int] = 2
    needs_density: ClassVar[bool] = True
    most_dimensions: ClassVar[int | None] = 1
    orders: ClassVar[tuple[int, ...]] = (2,)
    cells: int = 2000
    step_size: float | None = None
    domain: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        # Half of them must still make a grid.
        require_counts(self.name, at_least=6, cells=self.cells)
        if self.step_size is not None:
            require_positive(self.name, step_size=self.step_size)
        if self.domain is not None and not (
            len(self.domain) == 2 and all(map(math.isfinite, self.domain)) and self.domain[0] < self.domain[1]
        ):
            raise ValueError(f"{self.name}: domain must be (lower, upper), finite, lower < upper; got {self.domain!r}")

    @property
    def order_in_time(self) -> int | None:
        return None if self.step_size is None else super().order_in_time

    def check_times(self, times: Sequence[float]) -> None:
        if self.step_size is not None:
            step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        """Return why there is no domain of its own choice, where none is given; ``None`` where there is one."""
        if self.domain is None:
            try:
                effective_domain(problem.flow)
            except ValueError as error:
                return f"{error}: domain = [lower, upper] gives one"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the density on the grid at each time; nothing is random, and all of it runs on the CPU.

        Raises ``ValueError`` when the domain or the cells miss part of the initial law, and ``Diverged`` when masses
        are not finite.
        """
        if problem.observations is not None:
            return self._filtered(problem, generator)
        started = time.perf_counter()
        flow = problem.flow
        lower, upper = self.domain if self.domain is not None else effective_domain(flow)
        operator, start = _set_up(flow, lower, upper, self.cells)
        coarse_operator, coarse_start = _set_up(flow, lower, upper, fewer(self.cells))
        setup_seconds = time.perf_counter() - started

        if self.step_size is None:
            marginals = [operator.propagate(start, t) for t in flow.times]
            exact_in_time = marginals[-1]
        else:
            marginals = _stepped(operator, start, self.step_size, flow.times)
            exact_in_time = operator.propagate(start, flow.horizon)
        for t, masses in zip(flow.times, marginals, strict=True):
            if not np.isfinite(masses).all():
                raise Diverged(f"{self.name}: the masses are not finite at t = {t:g}")

        coarse = coarse_operator.law(coarse_operator.propagate(coarse_start, flow.horizon))
        final, limit = operator.law(marginals[-1]), operator.law(exact_in_time)

        def quarter() -> GridLaw:
            least_operator, least_start = _set_up(flow, lower, upper, fewer(coarse.cells))
            return least_operator.law(least_operator.propagate(least_start, flow.horizon))

        least = _where_it_is(quarter)
        order = 1.0 if least is None else _observed_order(limit, coarse, least)
        error_l1, error_symkl = _declared_error(final, limit, coarse, order)
        return Solution(
            flow.times,
            tuple(GridDensity(operator.law(masses)) for masses in marginals),
            Cost(setup_seconds=setup_seconds),
            {
                "domain_lower": lower,
                "domain_upper": upper,
                "error_l1": error_l1,
                "error_symkl": error_symkl,
                "observed_order": order,
                "mass_defect": max(abs(math.fsum(masses) - 1) for masses in marginals),
                "smallest_mass": min(float(masses.min()) for masses in marginals),
            },
        )

    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Propagation:
        domain = self.domain if self.domain is not None else effective_domain(flow)
        return GridPropagation(flow, domain, self.cells, self.step_size)

    def _filtered(self, problem: Problem, generator: torch.Generator) -> Solution:
        """Filter on the cells, and for the error at the horizon on half of them, and exactly in time."""
        flow, observations, horizon = problem.flow, problem.observations, problem.flow.horizon
        assert observations is not None
        lower, upper = domain = self.domain if self.domain is not None else effective_domain(flow)
        solution = assimilate(GridPropagation(flow, domain, self.cells, self.step_size), problem, generator)
        final = solution.estimates[-1]
        assert isinstance(final, GridDensity)
        exact_in_time, evidence = final.law, float(solution.diagnostics["log_evidence"])
        limit = evidence
        if self.step_size is not None:
            exact_in_time, limit = grid_recursion(flow, observations, domain, self.cells)(horizon)
        coarse, coarse_evidence = grid_recursion(flow, observations, domain, fewer(self.cells))(horizon)
        quarter = _where_it_is(lambda: grid_recursion(flow, observations, domain, fewer(coarse.cells))(horizon))
        order, order_of_evidence = 1.0, 1.0
        if quarter is not None:
            order = _observed_order(exact_in_time, coarse, quarter[0])
            order_of_evidence = min(order, order_of(abs(limit - coarse_evidence), abs(coarse_evidence - quarter[1])))
        error_l1, error_symkl = _declared_error(final.law, exact_in_time, coarse, order)
        own = {
            "domain_lower": lower,
            "domain_upper": upper,
            "error_l1": error_l1,
            "error_symkl": error_symkl,
            "error_log_evidence": abs(evidence - coarse_evidence) / (2**order_of_evidence - 1),
            "observed_order": order,
        }
        return replace(solution, diagnostics={**solution.diagnostics, **own})


class GridPropagation(Propagation):
    """A grid propagation moves the masses of the cells of ``domain``, exactly or by steps of at most ``step_size``."""

    def __init__(self, flow: GradientFlow, domain: tuple[float, float], cells: int, step_size: float | None) -> None:
        started = time.perf_counter()
        self.operator, self.masses = _set_up(flow, *domain, cells)
        self.propagated = self.operator.propagator()
        self.step_size = step_size
        self.setup_seconds = time.perf_counter() - started

    def start(self) -> Estimate:
        return GridDensity(self.operator.law(self.masses))

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, GridDensity)
        masses = estimate.law.masses.numpy()
        if self.step_size is None:
            masses = self.propagated(masses, stop - start)
        else:
            count, step_size = equal_steps(stop - start, self.step_size)
            step = self.operator.stepper(step_size)
            for _ in range(count):
                masses = step(masses)
        if not np.isfinite(masses).all():
            raise Diverged(f"chang-cooper: the masses are not finite at t = {stop:g}")
        return GridDensity(self.operator.law(masses))

    def cost(self) -> Cost:
        return Cost(setup_seconds=self.setup_seconds)


def _set_up(flow: GradientFlow, lower: float, upper: float, cells: int) -> tuple[FokkerPlanck, Reals]:
    assert isinstance(flow.initial, Density)
    start = discretised(flow.initial, lower, upper, cells)
    return FokkerPlanck.discretise(flow, lower, upper, cells), start.masses.numpy()


def _stepped(operator: FokkerPlanck, masses: Reals, step_size: float, times: Sequence[float]) -> list[Reals]:
    step = operator.stepper(step_size)
    marginals: list[Reals] = []
    taken = 0
    for count in step_counts(times, step_size):
        for _ in range(count - taken):
            masses = step(masses)
        taken = count
        marginals.append(masses)
    return marginals


def fewer(cells: int) -> int:
    """Return half as many cells, rounded up."""
    return -(-cells // 2)


def _where_it_is(found: Callable[[], Found]) -> Found | None:
    """Return what is found on few cells, or ``None`` where they do not hold the laws that come there."""
    try:
        return found()
    except (ValueError, ArithmeticError):
        return None


def order_of(last: float, before: float) -> float:
    """Return the order of an error, by the ``last`` change on halving the width and the one ``before``."""
    return 2.0 if last == 0 else min(2.0, max(LEAST_ORDER, math.log2(max(before, TINY) / last)))


def _observed_order(limit: GridLaw, coarse: GridLaw, least: GridLaw) -> float:
    """Return the order of the spatial error in L1, of three laws with halving cells, seen on the fewest of them."""
    fine, half = limit.rebinned(least.cells).masses, coarse.rebinned(least.cells).masses
    return order_of(float((fine - half).abs().sum()), float((half - least.masses).abs().sum()))


def _declared_error(final: GridLaw, exact_in_time: GridLaw, coarse: GridLaw, order: float) -> tuple[float, float]:
    """Return the estimated L1 and SymKL errors of ``final``, seen on the cells of ``coarse``.

    The spatial error falls with the width to this ``order``, so it is the change from ``coarse`` over ratio^order - 1.
    """
    ratio = final.cells / coarse.cells
    seen, limit = final.rebinned(coarse.cells).masses, exact_in_time.rebinned(coarse.cells).masses
    truth = limit + (limit - coarse.masses) / (ratio**order - 1)
    # Extrapolation may overshoot where the coarse solution is off by its own size; no mass is negative.
    truth = truth.clamp_min(0.1 * limit.clamp_min(0))
    return float((seen - truth).abs().sum()), symmetric_divergence(seen, truth)
