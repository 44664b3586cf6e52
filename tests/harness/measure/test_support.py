"""The radius of a support by the second moment, and the mass outside of it: closed forms and standard errors."""

import math

import numpy as np
import pytest
import torch

from balls import Ring, ball
from false_alarms import is_share, mean_error, repetitions, spread_error
from harness.measure.measure import Subject
from harness.measure.support import MassOutside, SupportRadius
from problems.laws import Gaussian
from problems.references.grid_law import GridLaw, discretised
from seeding import generator
from solvers.estimates import Exact, GridDensity, Particles
from solvers.maps import Pushforward


def measured(measure, estimate, truth, draws=2000, seed=0):
    asked = Subject(estimate, truth, None)
    assert measure.unsuited(asked) is None
    return measure(asked, draws, generator(seed))


@pytest.mark.parametrize("dim", [1, 3])
def test_radius_of_laws_that_know_their_moments(dim):
    found = measured(SupportRadius(), Exact(ball(dim, 0.97, 0.2)), ball(dim))
    assert found.value == pytest.approx(0.03, rel=1e-12)
    assert (found.standard_error, found.estimator) == (0.0, "closed form of the fit's second moment")
    if dim == 1:
        grid = GridDensity(discretised(ball(1, 0.97), -1.0, 1.0, 400))
        assert measured(SupportRadius(), grid, ball(1)).value == pytest.approx(0.03, rel=1e-3)


@repetitions(300, 5000)
def test_radius_of_particles_is_unbiased_and_covered(repetitions):
    truth, fit = ball(3), ball(3, 1.3, 2.0)
    figures = [
        measured(SupportRadius(), Particles(fit.sample(200, generator(seed))), truth) for seed in range(repetitions)
    ]
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert figures[0].estimator == "second moment of 200 particles"
    assert values.mean() == pytest.approx(0.3, abs=mean_error(values) + 0.002)
    assert is_share(int((np.abs(values - 0.3) <= 1.96 * errors).sum()), repetitions, 0.92, 0.97)
    assert errors.mean() == pytest.approx(values.std(), rel=0.05 + spread_error(repetitions))


def test_radius_of_weighted_particles():
    points = ball(2).sample(500, generator(1))
    weights = torch.cat([torch.zeros(300), torch.full((200,), -torch.inf)]).double()
    weighted = measured(SupportRadius(), Particles(points, weights), ball(2))
    plain = measured(SupportRadius(), Particles(points[:300]), ball(2))
    assert weighted.value == pytest.approx(plain.value, abs=1e-12)
    assert weighted.standard_error == pytest.approx(plain.standard_error, rel=1e-10)
    one = torch.full((500,), -torch.inf).double()
    one[0] = 0.0
    assert measured(SupportRadius(), Particles(points, one), ball(2)).value == 1


@repetitions(300, 5000)
def test_mass_outside_of_a_larger_ball(repetitions):
    """In the plane the mass beyond a share s of the radius is (1 - s²)², covered by draws, particles, and weights."""
    truth, exact = ball(2), (1 - 0.8**2) ** 2
    pushed = Pushforward(ball(2, 1.25), ())
    figures = [measured(MassOutside(), pushed, truth, 200, seed) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    errors = np.array([figure.standard_error for figure in figures])
    assert abs(values.mean() - exact) < mean_error(values)
    assert is_share(int((np.abs(values - exact) <= 1.96 * errors).sum()), repetitions, 0.92, 0.98)
    points = ball(2, 1.25).sample(400, generator(2))
    found = measured(MassOutside(), Particles(points), truth)
    count = int((points.norm(dim=1) > 1).sum())
    assert found.value == pytest.approx(count / 400)
    assert found.estimator == f"{count} of 400 particles"
    flat = measured(MassOutside(), Particles(points, torch.zeros(400, dtype=torch.float64)), truth)
    assert flat.value == pytest.approx(found.value)


def test_none_outside_is_not_certain():
    found = measured(MassOutside(), Exact(ball(3, 0.9)), ball(3), 1000)
    assert found.value == 0
    assert found.standard_error == pytest.approx(math.sqrt(2) / 1000, rel=0.01)


def test_mass_of_a_grid_outside():
    masses = torch.full((100,), 0.01, dtype=torch.float64)
    found = measured(MassOutside(), GridDensity(GridLaw(-2.0, 2.0, masses)), ball(1))
    assert found.value == pytest.approx(0.5)
    assert (found.standard_error, found.estimator) == (0.0, "sum over 100 cells")


def test_a_ring_has_an_inside_and_an_outside():
    ring = Ring(1.0)
    assert measured(MassOutside(), Exact(ring), ring).value == 0
    assert measured(MassOutside(), Exact(Ring(1.01)), ring).value == 1
    assert measured(SupportRadius(), Exact(Ring(1.01)), ring).value == pytest.approx(0.01)


def test_what_is_unsuited_says_why():
    truth = Gaussian(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    for measure in (SupportRadius(), MassOutside()):
        assert measure.unsuited(Subject(Exact(truth), None, None)) == "the true law is not known"
        assert "mass everywhere" in measure.unsuited(Subject(Exact(truth), truth, None))
    one = Particles(ball(2).sample(1, generator(3)))
    assert SupportRadius().unsuited(Subject(one, ball(2), None)) == "one particle has no radius"
