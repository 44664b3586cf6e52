"""Nodes, weighted points placed by a rule: what takes them for draws has no figure, and what does not has no noise."""

from __future__ import annotations

import math

import pytest
import torch

from false_alarms import sigmas
from harness.catalogue import BUILTIN, import_target
from harness.measure.measure import Subject
from problems.flow import FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from seeding import fixed_generator
from solvers.estimates import Nodes, Particles
from solvers.particles.weighted_lattice import weighted_lattice

FOR_DRAWS = ["kl", "symkl", "symkl-scipy", "symkl-scikit-learn", "symkl-published", "l1", "hellinger", "c2st"]
OF_MOMENTS = ["bures-w2", "symkl-gaussian", "mean-error", "deviation-error"]


def measure(name):
    return import_target(BUILTIN["measure"][name])()


def subject(dim, *, truth=None, order=None, kind=Nodes, particles=600):
    law = Gaussian(torch.ones(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
    lattice = weighted_lattice(law, particles)
    places = torch.arange(len(lattice.points)) if order is None else order(len(lattice.points))
    estimate = kind(lattice.points[places], lattice.masses[places].log())
    well = Quadratic(torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64))
    flow = GradientFlow(law, FreeEnergy(well, None, QuadraticInteraction(dim)), (1.0,))
    return Subject(estimate, law if truth is None else truth, Problem(flow, (), None))


def shuffled(n):
    return torch.randperm(n, generator=fixed_generator(3))


@pytest.mark.parametrize("name", FOR_DRAWS)
@pytest.mark.parametrize("dim", [1, 2])
def test_what_takes_points_for_draws_has_no_figure_of_nodes(name, dim):
    nodes = subject(dim)
    count = len(nodes.estimate.points)
    assert measure(name).unsuited(nodes) == (
        f"{count} nodes are placed by a rule: their distances tell how, and not the density of their law"
    )
    assert not measure(name).proper(nodes.estimate)
    assert measure(name).unsuited(subject(dim, kind=Particles)) is None


@pytest.mark.parametrize("name", [*OF_MOMENTS, "free-energy"])
@pytest.mark.parametrize("dim", [1, 2])
def test_what_nodes_have_of_themselves_is_without_error_in_any_order(name, dim):
    """On a lattice contiguous blocks are stripes of the law: left out one by one they say nothing of an error."""
    figures = [
        measure(name)(subject(dim, order=order), 1000, fixed_generator(seed))
        for order, seed in ((None, 0), (shuffled, 1))
    ]
    assert [figure.standard_error for figure in figures] == [0.0, 0.0]
    assert figures[0].value == pytest.approx(figures[1].value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", OF_MOMENTS)
def test_moments_of_nodes_are_those_of_a_quadrature(name):
    """No unbiased covariance, which is for draws, and would be wrong by 1/n."""
    assert measure(name)(subject(1), 1000, fixed_generator()).value < 5e-4


def test_energy_of_nodes_is_the_sum_over_all_pairs():
    """½E X² + ½·½E(X - X')² = ½(1 + 1) + ½ at N(1, 1)."""
    assert measure("free-energy")(subject(1), 1000, fixed_generator()).value == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_w2_on_the_line_is_exact_and_decides(shift):
    truth = Gaussian(torch.full((1,), 1 + shift, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    nodes = subject(1, truth=truth)
    figure = measure("w2")(nodes, 1000, fixed_generator())
    spacing = float(nodes.estimate.points[:, 0].diff()[0])
    assert figure.value == pytest.approx(math.hypot(shift, spacing / math.sqrt(12)), rel=0.02)
    assert figure.standard_error == 0
    assert measure("w2").proper(nodes.estimate)
    assert not measure("w2").proper(subject(1, kind=Particles).estimate)


@pytest.mark.parametrize("dim", [1, 2])
def test_draws_of_nodes_are_as_many_as_asked_for_and_independent(dim):
    nodes = subject(dim, particles=100)
    figure = measure("energy-distance")(nodes, 2000, fixed_generator())
    assert figure.estimator == "U-statistic of 2000 against 2000 draws"
    assert abs(figure.value) < sigmas() * figure.standard_error + 1e-3
    assert figure.standard_error < 0.01
