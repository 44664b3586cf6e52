"""The orders in time that solvers declare are those at which their moments converge, on flows with exact Gaussian laws.

From N(m, s²) in V = ½x² the law is N(m e⁻ᵗ, s² e⁻²ᵗ + (1 - e⁻²ᵗ)/β).
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import solvers
from harness.catalogue import import_target
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import fixed_generator

TIME = 1.0
STEPS = (0.1, 0.05, 0.025)
ONE = torch.eye(1, dtype=torch.float64)
# A method whose noise is as good as none: its mean then shows the order alone.
COLD = 1e14

SETTINGS = [
    ("gaussian-jko", {"order": 1}, 1.0),
    ("gaussian-jko", {"order": 2}, 1.0),
    ("gaussian-jko", {"order": 2, "second_order": "fitted"}, 1.0),
    ("gaussian-jko", {"order": 2, "second_order": "fitted-energy"}, 1.0),
    ("barenblatt-jko", {"order": 1}, 1.0),
    ("barenblatt-jko", {"order": 2}, 1.0),
    ("barenblatt-jko", {"order": 2, "second_order": "fitted"}, 1.0),
    ("gaussian-variational", {"order": 1}, 1.0),
    ("gaussian-variational", {"order": 2}, 1.0),
    ("quantile-jko", {"nodes": 2400}, 1.0),
    ("quantile-jko", {"nodes": 9600, "order": 2}, 1.0),
    ("euler-maruyama", {"particles": 1, "dtype": "float64"}, COLD),
    ("euler-maruyama", {"order": 2, "particles": 1, "dtype": "float64"}, COLD),
    ("bootstrap-filter", {"particles": 1, "dtype": "float64"}, COLD),
    ("bootstrap-filter", {"order": 2, "particles": 1, "dtype": "float64"}, COLD),
    ("chang-cooper", {"cells": 1000}, 1.0),
]
TOO_COSTLY = {"icnn-jko", "primal-dual-jko", "dual-jko", "proximal-recursion"}
"""Their error in the step size lies below that of training, of their basis, or of their particles."""


def answer(name, settings, beta):
    """Return the mean and the variance of the answer at the time, and the solver."""
    deviation = 0.5 if beta == 1 else beta**-0.5
    initial = Gaussian(torch.tensor([2.0], dtype=torch.float64), deviation**2 * ONE)
    potential = Quadratic(ONE, torch.zeros(1, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), (TIME,))
    solver = import_target(solvers.BUILTIN[name])(**settings)
    (estimate,) = solver.solve(Problem(flow, (), None), fixed_generator(0), torch.device("cpu")).estimates
    mean, covariance = ornstein_uhlenbeck_marginal(initial, potential, beta, TIME).moments()
    # The spacing of a grid in space is an error of its own: it is left out by comparing with the same, exact in time.
    if name == "chang-cooper":
        exact = import_target(solvers.BUILTIN[name])(**{**settings, "step_size": None})
        (reference,) = exact.solve(Problem(flow, (), None), fixed_generator(0), torch.device("cpu")).estimates
        mean, covariance = reference.law.moments()
    if hasattr(estimate, "points"):
        return abs(float(estimate.points.mean() - mean[0])), solver
    found = estimate.moments(fixed_generator())
    return max(abs(float(found[0][0] - mean[0])), abs(float(found[1][0, 0] - covariance[0, 0]))), solver


@pytest.mark.parametrize(("name", "settings", "beta"), SETTINGS, ids=[f"{n} {s}" for n, s, _ in SETTINGS])
def test_errors_fall_at_the_declared_order(name, settings, beta):
    errors, declared = [], None
    for step in STEPS:
        error, solver = answer(name, {**settings, "step_size": step}, beta)
        errors.append(error)
        declared = solver.order_in_time
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes[-1] == pytest.approx(declared, abs=0.15), errors


def test_every_order_is_tried_or_too_costly():
    declared = {
        (name, order)
        for name, target in solvers.BUILTIN.items()
        if name not in TOO_COSTLY
        for order in import_target(target).orders
    }
    tried = {
        (name, import_target(solvers.BUILTIN[name])(**{**settings, "step_size": STEPS[0]}).order_in_time)
        for name, settings, _ in SETTINGS
    }
    assert tried == declared


def test_the_order_is_that_of_the_settings():
    made = {name: import_target(target) for name, target in solvers.BUILTIN.items()}
    assert made["icnn-jko"](order=2).order_in_time == 2
    assert made["gaussian-jko"]().order_in_time == 1
    assert made["chang-cooper"]().order_in_time is None
    assert made["mala"]().order_in_time is None
