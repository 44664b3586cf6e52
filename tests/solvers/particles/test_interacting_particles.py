"""Euler-Maruyama with interactions: closed forms of the limit and of the scheme, and the noise of the field."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from false_alarms import sigmas
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.interactions import (
    GaussianAttraction,
    Interaction,
    LogarithmicInteraction,
    QuadraticInteraction,
    QuarticInteraction,
)
from problems.laws import Empirical, Gaussian
from problems.potentials import Flat, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.particles.euler_maruyama import EulerMaruyama
from solvers.particles.interaction_field import field_noise, field_of
from solvers.solver import Diverged
from solvers.threads import workers

CPU = torch.device("cpu")


def eye(dim):
    return torch.eye(dim, dtype=torch.float64)


def zeros(dim):
    return torch.zeros(dim, dtype=torch.float64)


def solve(initial, energy, times, seed=0, **settings):
    problem = Problem(GradientFlow(initial, energy, times), (), None)
    return EulerMaruyama(**{"dtype": "float64", **settings}).solve(problem, generator(seed), CPU)


def points_as_law(points):
    return Empirical(points, points.mean(0), points.T.cov().reshape(points.shape[1], points.shape[1]))


@dataclasses.dataclass(frozen=True)
class Pairwise(Interaction):
    """An interaction whose sums are over all pairs."""

    form: Interaction

    @property
    def dim(self):
        return self.form.dim

    def value(self, x):
        return self.form.value(x)

    def gradient(self, x):
        return self.form.gradient(x)


def test_gaussian_laws_stay_so_with_the_moments_of_mckean_and_vlasov():
    """Σ_t = e^{-Gt}Σ₀e^{-Gt} + β⁻¹G⁻¹(1 - e^{-2Gt}) with G = A + κ, the mean by A alone; h² R is an error in h."""
    rates, kappa, beta, n, h, time = torch.tensor([0.5, 1.5], dtype=torch.float64), 0.8, 2.0, 40_000, 0.005, 0.5
    initial = Gaussian(torch.tensor([2.0, 0.0], dtype=torch.float64), 0.3 * eye(2))
    energy = FreeEnergy(Quadratic(torch.diag(rates), zeros(2)), Entropy(beta), QuadraticInteraction(2, kappa))
    solution = solve(initial, energy, (time,), particles=n, step_size=h)
    points = solution.estimates[0].points
    both, fall = rates + kappa, torch.exp(-rates * time)
    variance = 0.3 * torch.exp(-2 * both * time) + (1 - torch.exp(-2 * both * time)) / (beta * both)
    # The centre of mass has the noise of the law without interaction.
    centre = 0.3 * fall**2 + (1 - fall**2) / (beta * rates)
    allowed = sigmas(4)
    assert bool(((points.mean(0) - fall * initial.mean).abs() < allowed * (centre / n).sqrt() + h).all())
    assert bool(((points.var(0) - variance).abs() < allowed * variance * math.sqrt(2 / n) + 2 * h * variance).all())
    assert solution.diagnostics["field_noise"] == pytest.approx(1 / math.sqrt(n), rel=5)


@pytest.mark.parametrize("order", [1, 2])
def test_without_noise_the_quartic_shell_follows_its_characteristics(order):
    """W = |z|⁴/4 - |z|²/2: all radii obey r' = r(1 - (1 + 2/D)M - r²), M = E r²; here a ring of radius r, D = 2."""
    angles = 2 * math.pi * torch.arange(50, dtype=torch.float64) / 50
    ring = 0.9 * torch.stack([angles.cos(), angles.sin()], dim=1)
    errors = []
    for h in (0.02, 0.01):
        energy = FreeEnergy(Flat(2), None, QuarticInteraction(2))
        solution = solve(points_as_law(ring), energy, (1.0,), particles=50, step_size=h, order=order)
        points = solution.estimates[0].points
        radius = points.norm(dim=1)
        assert float(radius.max() - radius.min()) < 1e-12
        # r' = r - 3r³ with u = r⁻²: u' = -2u + 6
        exact = (3 + (0.9**-2 - 3) * math.exp(-2)) ** -0.5
        errors.append(abs(float(radius[0]) - exact))
    assert errors[1] < {1: 2e-3, 2: 2e-5}[order]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_steps_of_order_two_have_the_fields_and_the_noise_of_both_ends():
    """W = ½κ|z|² alone: deviations from the mean follow Heun's step with rate κ, the mean moves by the noise alone."""
    kappa, n, h, beta = 2.0, 40_000, 0.1, 2.0
    energy = FreeEnergy(Flat(1), Entropy(beta), QuadraticInteraction(1, kappa))
    points = solve(Gaussian(zeros(1), eye(1)), energy, (0.3,), particles=n, step_size=h, order=2).estimates[0].points
    variance, rate = 1.0, h * kappa
    for _ in range(3):
        variance = (1 - rate + rate**2 / 2) ** 2 * variance + 2 * h / beta * (1 - rate / 2) ** 2
    assert float(points.var()) == pytest.approx(variance, rel=sigmas(2) * math.sqrt(2 / n))
    assert abs(float(points.mean())) < sigmas(2) * math.sqrt((1 + 0.3 * 2 / beta) / n)


def test_without_noise_the_log_gas_from_quantiles_has_its_variance():
    """W = ½z² - log|z|: d/dt var = 1 - 1/N - 2 var for N particles; Euler's step adds an error of order h."""
    n, h = 100, 1e-3
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    energy = FreeEnergy(Flat(1), None, LogarithmicInteraction(1))
    points = solve(points_as_law(quantiles), energy, (0.25,), particles=n, step_size=h).estimates[0].points
    limit = 0.5 - 0.5 / n
    expected = limit + (float(quantiles.var(correction=0)) - limit) * math.exp(-0.5)
    assert float(points.var(correction=0)) == pytest.approx(expected, rel=2 * h)
    # Free convolution of N(0, e^{-2t}) with a semicircle of variance (1 - e^{-2t})/2: its density at 0.
    ordered = points[:, 0].sort().values
    middle = (ordered[60] - ordered[40]) / 20
    assert 1 / (n * float(middle)) == pytest.approx(0.403708, rel=0.02)


def test_sums_over_pairs_move_particles_as_moments_do():
    energies = [
        FreeEnergy(Quadratic(eye(2), zeros(2)), Entropy(), kind)
        for kind in (QuarticInteraction(2), Pairwise(QuarticInteraction(2)))
    ]
    found = [
        solve(Gaussian(zeros(2), eye(2)), energy, (0.1,), particles=700, step_size=0.02).estimates[0].points
        for energy in energies
    ]
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [GaussianAttraction(2), QuarticInteraction(2)])
@pytest.mark.parametrize(("dtype", "order"), [("float32", 1), ("float32", 2), ("float64", 1)])
def test_bits_do_not_depend_on_the_number_of_threads(kind, dtype, order, on_threads):
    energy = FreeEnergy(Quadratic(eye(2), zeros(2)), Entropy(), kind)
    n = 1200 if isinstance(kind, GaussianAttraction) else 40_000

    def answer():
        settings = {"particles": n, "step_size": 0.01, "dtype": dtype, "order": order}
        return solve(Gaussian(zeros(2), eye(2)), energy, (0.03,), **settings)

    first, *others = on_threads(answer)
    for other in others:
        assert torch.equal(first.estimates[0].points, other.estimates[0].points)
        assert first.diagnostics == other.diagnostics


def test_noise_of_the_field_is_its_error():
    """W = ½κ|z|²: the field κ(x - mean) of N(0, 1) is off by κ/√N, and as large as κ itself."""
    found = []
    with workers() as run:
        for seed in range(400):
            particles = torch.randn(100, 1, generator=generator(seed), dtype=torch.float64)
            found.append(field_noise(QuadraticInteraction(1, 3.0), particles, run) ** 2)
        assert field_noise(QuadraticInteraction(1), particles[:3], run) == 0
    # Squares are χ² of one degree over N: relative deviation √2 each, and little more.
    assert np.mean(found) == pytest.approx(1 / 100, rel=sigmas() * 1.6 / math.sqrt(400) + 0.03)


def test_field_takes_weights():
    points = torch.randn(30, 2, generator=generator(), dtype=torch.float64)
    weights = torch.full((30,), 1 / 30, dtype=torch.float64)
    with workers() as run:
        for kind in (GaussianAttraction(2), QuarticInteraction(2)):
            one, other = (field_of(kind, points, points, each, run) for each in (weights, None))
            torch.testing.assert_close(one, other)


def test_a_step_too_long_for_a_singular_interaction_is_divergence():
    """Two of three particles are 1e-4 apart and repel at 1/3e-4."""
    near = torch.tensor([[0.0], [1e-4], [1.0]], dtype=torch.float64)
    energy = FreeEnergy(Flat(1), None, LogarithmicInteraction(1))
    with pytest.raises(
        Diverged, match=r"at step 1 \(t = 0.1\) the interaction, which is singular where particles meet"
    ):
        solve(points_as_law(near), energy, (0.2,), particles=3, step_size=0.1)


def test_particles_that_meet_under_a_singular_interaction_are_divergence():
    twice = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64)
    energy = FreeEnergy(Flat(1), None, LogarithmicInteraction(1))
    with pytest.raises(Diverged, match="at step 0 1 particles lie where others do"):
        solve(points_as_law(twice), energy, (0.2,), particles=3, step_size=0.1)


def test_divergence_names_the_step():
    energy = FreeEnergy(Flat(1), None, QuarticInteraction(1))
    with pytest.raises(Diverged, match=r"not finite by step 20 \(t = 2\); a step_size below 0.1 may help"):
        solve(Gaussian(zeros(1), 400 * eye(1)), energy, (2.0,), particles=50, step_size=0.1)
