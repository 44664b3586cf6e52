"""The check that a solver solves the free energies that it declares, and refuses others, on small problems of each.

A kind that it does not declare is refused; one that it declares is solved, or refused for a reason of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from harness.conformance.contract import require
from harness.conformance.gallery import DIMS, TIMES, Exhibit
from harness.conformance.runs import SolverTrial, attempt
from problems.flow import Entropy, FreeEnergy, GradientFlow, InternalEnergy, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian
from problems.potentials import Flat, Quadratic
from problems.problem import Problem
from solvers.solver import Diverged, solves_energy

KINDS: Sequence[tuple[str, bool, InternalEnergy | None, bool]] = (
    ("no potential", False, Entropy(), False),
    ("an interaction", True, Entropy(), True),
    ("a power entropy", True, PowerEntropy(2.0), False),
    ("a power entropy and an interaction", True, PowerEntropy(2.0), True),
    ("no internal energy", True, None, False),
    ("an interaction alone", False, None, True),
)
"""Names, and whether there is a potential, which internal energy, and whether there is an interaction."""

VARIANCE = 0.5


@cache
def energies() -> tuple[Exhibit, ...]:
    """Return problems of every kind of energy in each dimension of the gallery, in time and, in a well, stationary."""
    found = []
    for name, well, internal, interacts in KINDS:
        for dim in DIMS:
            moving = problem(dim, well, internal, interacts)
            found.append(Exhibit(f"{name}, D={dim}", moving))
            if well:
                resting = replace(moving, truth=None, truth_missing="not worked out", stationary=True)
                found.append(Exhibit(f"{name}, stationary, D={dim}", resting))
    return tuple(found)


def problem(dim: int, well: bool, internal: InternalEnergy | None, interacts: bool) -> Problem:
    """Return a flow from N(1, ½) by V = ½|x|² and W = ½|z|², whose law stays Gaussian but for a power entropy's."""
    identity = torch.eye(dim, dtype=torch.float64)
    centre = torch.zeros(dim, dtype=torch.float64)

    def truth(t: float) -> Gaussian:
        # The mean moves by V alone, the variance by V and W together.
        rate = float(well) + float(interacts)
        temperature = 1 / internal.inverse_temperature if isinstance(internal, Entropy) else 0.0
        gained = temperature * (-math.expm1(-2 * rate * t) / rate if rate else 2 * t)
        return Gaussian(
            torch.full_like(centre, math.exp(-float(well) * t)),
            (VARIANCE * math.exp(-2 * rate * t) + gained) * identity,
        )

    energy = FreeEnergy(
        Quadratic(identity, centre) if well else Flat(dim), internal, QuadraticInteraction(dim) if interacts else None
    )
    flow = GradientFlow(truth(0.0), energy, TIMES)
    if isinstance(internal, PowerEntropy):
        return Problem(flow, ("energy-distance",), None, "not worked out")
    return Problem(flow, ("energy-distance",), truth)


def keeps_to_its_declaration(trial: SolverTrial) -> str:
    """Free energies that are not declared are refused in one line; those that are get an answer, or a reason."""
    solver = trial.solver
    order, orders = solver.order_in_time, trial.component.orders
    require(order is None or order in orders, f"order_in_time is {order!r}, none of the declared orders {orders!r}")
    solved = 0
    for exhibit in energies():
        energy, reason = exhibit.problem.flow.energy, solver.refusal(exhibit.problem)
        line = reason is None or (isinstance(reason, str) and reason.strip() != "" and "\n" not in reason)
        require(line, f"{exhibit.title}: refusal must answer None or one line, got {reason!r}")
        declared = (
            solves_energy(solver.internal_energies, energy.internal)
            and (energy.interaction is None or solver.interacts)
            and (exhibit.problem.stationary or not solver.stationary_only)
        )
        require(declared or reason is not None, f"{exhibit.title}: neither declared nor refused")
        if reason is not None:
            continue
        outcome = attempt(solver, exhibit).outcome
        if isinstance(outcome, Diverged):
            continue
        if isinstance(outcome, Exception):
            require(False, f"{exhibit.title}: raised {type(outcome).__name__}: {outcome}")
        else:
            defects = [estimate.defect() for estimate in outcome.estimates]
            require(defects == [None] * len(TIMES), f"{exhibit.title}: {len(defects)} estimates, {defects}")
            solved += 1
    return f"{solved} of {len(energies())} kinds of free energies solved, the others refused"
