"""Aggregation: particles, energies and laws at rest, in every kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from problems.aggregation import Aggregation, Charge
from problems.interactions import LogarithmicInteraction
from problems.references.ring_laws import Charges, Shell, gathering, resting_charges, resting_shell
from seeding import fixed_generator, generator
from solvers.estimates import Exact


def centre(dim):
    return torch.zeros(dim, dtype=torch.float64)


def followed(flow, x, time, steps):
    """Return equal particles (n, D) of the flow at a later time, by the Runge-Kutta method of order 4."""
    h = time / steps

    def velocity(x):
        return -flow.potential.gradient(x) - flow.energy.interaction.mean_gradient(x, x)

    for _ in range(steps):
        a = velocity(x)
        b = velocity(x + h / 2 * a)
        c = velocity(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + velocity(x + h * c))
    return x


@pytest.mark.parametrize(("dim", "radius"), [(1, 0.5), (2, 0.5773502692), (3, 0.6123724357)])
def test_shells_come_to_rest(dim, radius):
    law = resting_shell(centre(dim))
    assert law.radius == pytest.approx(radius, abs=1e-9)
    assert law.free_energy() == pytest.approx(-(radius**2) / 4, abs=1e-9)
    late = gathering(centre(dim), 0.5, 60.0)
    assert late.support_radius == pytest.approx(radius, abs=1e-7)
    assert late.free_energy() == pytest.approx(-(radius**2) / 4, abs=1e-5)
    problem = Aggregation(stationary=True).build(dim, 0, generator())
    assert isinstance(problem.truth(1.0), Shell)
    assert problem.free_energy(1.0) == pytest.approx(-(radius**2) / 4, abs=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("deviation", [1e-3, 0.5, 5.0])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_far_beyond_relaxation_shells_are_at_rest(dim, deviation):
    rest = resting_shell(centre(dim))
    for time in (400.0, 1e3, 1e5):
        late = gathering(centre(dim), deviation, time)
        assert isinstance(late, Shell)
        assert late.radius == pytest.approx(rest.radius, rel=1e-14)
    before = gathering(centre(dim), deviation, 60.0)
    assert before.second_moment() == pytest.approx(rest.radius**2, rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("charge", [0.0, 0.25])
def test_late_charges_have_the_density_at_rest(charge):
    rest = resting_charges(centre(2), charge)
    x = torch.tensor([[0.3, 0.0], [0.9, 0.1], [1.3, 0.0], [0.0, 4.0]], dtype=torch.float64)
    for time in (100.0, 345.0, 360.0, 1e3):
        late = Charges(centre(2), 0.5, True, charge, time)
        torch.testing.assert_close(late.log_prob(x).exp(), rest.log_prob(x).exp(), rtol=1e-13, atol=0)
        assert late.free_energy() == pytest.approx(rest.free_energy(), rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_particles_follow_the_shell(dim):
    """In one dimension by quantiles, else by draws, whose own moments the radii are compared with."""
    problem = Aggregation(times=(0.7,)).build(dim, 0, generator())
    if dim == 1:
        levels = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        start = 0.5 * 2**0.5 * torch.erfinv(2 * levels - 1)[:, None]
    else:
        start = problem.flow.initial.sample(20000, fixed_generator(3))
        start = torch.cat([start, -start])
    found = followed(problem.flow, start, 0.7, 20)
    law = problem.truth(0.7)
    allowed = 2e-4 if dim == 1 else 0.02
    assert float(found.square().sum(1).mean()) == pytest.approx(law.second_moment(), rel=allowed)
    expected = start.norm(dim=1) * (law.gain / (1 + law.bend * start.square().sum(1))).sqrt()
    assert float((found.norm(dim=1) - expected).abs().max()) < (1e-3 if dim == 1 else 0.03)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_the_shells_moment_and_energy_move_as_the_equation_says(dim):
    """dM/dt = 2 E r²(1 - (1 + 2/D)M - r²) and dF/dt = -E |velocity|², by quantiles of the radius."""
    step = 1e-3
    before, now, after = (gathering(centre(dim), 0.5, t) for t in (0.7 - step, 0.7, 0.7 + step))
    ranks = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    square = now.radial_quantiles(ranks).square()
    rate = 1 - (1 + 2 / dim) * now.second_moment() - square
    found = (after.second_moment() - before.second_moment()) / (2 * step)
    assert found == pytest.approx(float((2 * square * rate).mean()), rel=1e-4, abs=1e-6)
    fall = (after.free_energy() - before.free_energy()) / (2 * step)
    assert fall == pytest.approx(-float((square * rate.square()).mean()), rel=1e-4)


@pytest.mark.parametrize("start", ["normal", "disc"])
@pytest.mark.parametrize("charge", [0.0, 0.25])
def test_charges_in_the_plane(start, charge):
    """Mass, moment and energy agree between density and radii; dF/dt = -E |velocity|²; rest is uniform."""
    size, g = 0.7, charge
    laws = [Charges(centre(2), size, start == "normal", g, t) for t in (0.299, 0.3, 0.301)]
    r = (torch.arange(200_000, dtype=torch.float64) + 0.5) * (6 / 200_000)
    density = laws[1].log_prob(torch.stack([r, torch.zeros_like(r)], 1)).exp() * (2 * math.pi * 6 / 200_000)
    assert float((density * r).sum()) == pytest.approx(1, abs=5e-5)
    assert float((density * r**3).sum()) == pytest.approx(laws[1].second_moment(), abs=5e-5)
    ranks = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    radii = laws[1].radial_quantiles(ranks)
    velocity = (ranks + g) / radii - radii
    fall = (laws[2].free_energy() - laws[0].free_energy()) / 2e-3
    assert fall == pytest.approx(-float(velocity.square().mean()), rel=1e-3)
    rest = resting_charges(centre(2), g)
    assert rest.support_radius == pytest.approx(math.sqrt(1 + g), abs=1e-12)
    x = torch.tensor([[0.9, 0.1], [0.0, 0.2], [1.3, 0.0]], dtype=torch.float64)
    heights = rest.log_prob(x).exp()
    assert float(heights[0]) == pytest.approx(1 / math.pi, rel=1e-12)
    assert (float(heights[1]) == 0) == (g > 0)
    assert float(heights[2]) == 0


def test_particles_follow_the_charges():
    """On rings of equal numbers, turned against each other, which stand for a law that is the same all round."""
    problem = Aggregation(kernel="disc", initial="disc", initial_size=0.5, charge=0.25, times=(0.5,)).build(
        2, 0, generator()
    )
    ranks = (torch.arange(20, dtype=torch.float64) + 0.5) / 20
    turns = 2 * math.pi * torch.arange(24, dtype=torch.float64) / 24
    angles = turns + 2.4 * torch.arange(20, dtype=torch.float64)[:, None]
    start = 0.5 * ranks.sqrt()[:, None, None] * torch.stack([angles.cos(), angles.sin()], 2)
    found = followed(problem.flow, start.reshape(-1, 2), 0.5, 10).norm(dim=1).reshape(20, 24).mean(1)
    torch.testing.assert_close(found, problem.truth(0.5).radial_quantiles(ranks), atol=2e-2, rtol=0)


def test_marginals_of_rings_and_discs():
    levels = torch.tensor([0.02, 0.4, 0.5, 0.9], dtype=torch.float64)
    axis = torch.eye(2, dtype=torch.float64)[:1]
    ring = Shell(centre(2), 0.6).marginal_quantiles(axis, levels)[0]
    torch.testing.assert_close(ring, -0.6 * torch.cos(math.pi * levels), atol=1e-12, rtol=0)
    disc = Charges(centre(2), 1.0, False, 0.0, 0.0).marginal_quantiles(axis, levels)[0]
    below = 0.5 + (disc * (1 - disc**2).sqrt() + torch.asin(disc)) / math.pi
    torch.testing.assert_close(below, levels, atol=1e-5, rtol=0)
    draws = Charges(centre(2), 1.0, False, 0.0, 0.0).sample(10, generator())
    assert bool((draws.norm(dim=1) <= 1).all())


def test_measures_have_what_they_ask_for():
    for kernel, dim in (("log-gas", 1), ("disc", 2), ("shell", 2)):
        problem = Aggregation(kernel=kernel).build(dim, 1, generator(1))
        assert np.isfinite(problem.free_energy(0.5))
        assert ("l1" in problem.measures) == (kernel != "shell")
        truth = problem.truth(0.5)
        assert Exact(truth).defect() is None
        assert truth.marginal_quantiles(torch.eye(dim, dtype=torch.float64)[:1], torch.tensor([0.5])).shape == (1, 1)


def test_a_charge_is_the_interaction_of_one():
    x = torch.tensor([[0.3, -0.4], [1.0, 2.0]], dtype=torch.float64)
    charge, pair = Charge(centre(2), 0.5), LogarithmicInteraction(2, 0.5, 0.0)
    for name in ("value", "gradient", "hessian"):
        torch.testing.assert_close(getattr(charge, name)(x), getattr(pair, name)(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": "loggas"}, "kernel must be"),
        ({"kernel": "shell", "initial": "disc"}, "initial of kernel='shell' must be"),
        ({"kernel": "log-gas", "charge": 0.5}, "charge must be left at 0.0, got 0.5: only kernel='disc' uses it"),
        ({"kernel": "disc", "charge": -1.0}, "charge must be a finite number >= 0"),
        ({"initial_size": 0.0}, "initial_size must be a finite number > 0"),
        ({"stationary": 1}, "stationary must be true or false"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Aggregation(**settings)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="kernel='disc' exists in dimension 2 only, got 3"):
        Aggregation(kernel="disc").build(3, 0, generator())
