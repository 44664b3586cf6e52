"""JKO steps on the line for power entropies and interactions: closed forms, refinement, units, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import betainc

from balls import ball
from problems.barenblatt import log_pressure
from problems.double_well import DoubleWellPotential
from problems.energies import Entropy, PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.interactions import (
    GaussianAttraction,
    LogarithmicInteraction,
    QuadraticInteraction,
    QuarticInteraction,
)
from problems.laws import Density, Empirical, Gaussian
from problems.potentials import Flat, Potential, Quadratic
from problems.problem import Problem
from problems.references.log_gas import Semicircle
from seeding import generator
from solvers.one_dimensional.initial_map import initial_map
from solvers.one_dimensional.mapped_energy import MappedEnergy
from solvers.one_dimensional.mapped_step import minimise
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.solver import Diverged

CPU = torch.device("cpu")


def bump(radius, exponent, mean=0.0):
    return ball(1, radius, mean, exponent)


@dataclass(frozen=True, eq=False)
class Mixed(Density):
    """A mixture of laws on the line."""

    weights: tuple[float, ...]
    laws: tuple[Density, ...]

    @property
    def dim(self):
        return 1

    def sample(self, n, generator):
        raise NotImplementedError

    def log_prob(self, x):
        return sum(w * law.log_prob(x).exp() for w, law in zip(self.weights, self.laws, strict=True)).log()

    def moments(self):
        parts = [(w, *law.moments()) for w, law in zip(self.weights, self.laws, strict=True)]
        mean = sum(w * m for w, m, _ in parts)
        return mean, sum(w * (v + (m - mean) ** 2) for w, m, v in parts)


def normal(mean=0.0, variance=1.0):
    return Gaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64))


def problem(initial, potential, internal, interaction, times):
    return Problem(GradientFlow(initial, FreeEnergy(potential, internal, interaction), times), (), None)


def solve(initial, potential, internal, interaction, times, **settings):
    solver = QuantileJKO(**settings)
    given = problem(initial, potential, internal, interaction, times)
    assert solver.refusal(given) is None
    return solver.solve(given, generator(), CPU).estimates


def l1(first, second, reach, centre=0.0, places=40001):
    x = centre + torch.linspace(-reach, reach, places, dtype=torch.float64)[:, None]
    gap = (first.log_prob(x).exp() - second.log_prob(x).exp()).abs()
    return float(gap.sum() * 2 * reach / (places - 1))


def implicit_radius(radius, kappa, power, step, steps):
    for _ in range(steps):
        start, found = radius, radius
        for _ in range(60):
            found -= (found - start - step * kappa * found**-power) / (1 + power * step * kappa * found ** (-power - 1))
        radius = found
    return radius


@pytest.mark.parametrize(
    ("exponent", "expected", "distance"), [(2.0, 0.6176450697, 0.01187), (3.0, 0.5967821125, 0.01102)]
)
def test_porous_medium_is_the_closed_form_of_the_step(exponent, expected, distance):
    """R' - R = a κ R'^-m, from the self-similar law at t = .002; order 2 has a hundredth of the error."""
    kappa = math.exp(log_pressure(exponent, 1))
    start, end = (((exponent + 1) * kappa * t) ** (1 / (exponent + 1)) for t in (0.002, 0.027))
    arguments = (bump(start, exponent), Flat(1), PowerEntropy(exponent), None, (0.025,))
    (first,) = solve(*arguments, step_size=0.001)
    assert first.values[-1] == pytest.approx(expected, abs=1e-9)
    _, variance = first.moments(generator())
    truth = bump(end, exponent)
    assert math.sqrt(float(variance) * (3 + 2 * truth.power)) == pytest.approx(expected, abs=1e-9)
    assert l1(first, truth, 0.8) == pytest.approx(distance, abs=6e-6)
    levels = (np.arange(2000) + 0.5) / 2000
    exact = end * (2 * np.interp(levels, betainc(truth.power + 1, truth.power + 1, np.linspace(0, 1, 20001)),
                                 np.linspace(0, 1, 20001)) - 1)  # fmt: skip
    found = np.array(first.quantiles(levels.tolist(), generator()))
    assert math.sqrt(np.mean((found - exact) ** 2)) == pytest.approx((end - expected) / math.sqrt(3 + 2 * truth.power),
                                                                     rel=1e-3)  # fmt: skip
    (second,) = solve(*arguments, step_size=0.001, order=2)
    assert abs(second.values[-1] - end) < abs(expected - end) / 50
    assert l1(second, truth, 0.8) < distance / 50


def test_fast_diffusion_stays_straight():
    """For m < 1 the law Z (1 + x²/R²)^-k keeps its shape: R' - R = a κ R'^-m, κ = 2m Z^(m-1)/(1 - m)."""
    exponent, radius = 0.6, 0.8
    kappa = math.exp(log_pressure(exponent, 1))
    (found,) = solve(bump(radius, exponent), Flat(1), PowerEntropy(exponent), None, (0.2,), step_size=0.02)
    expected = implicit_radius(radius, kappa, exponent, 0.02, 10)
    central = np.abs(found.mesh.places) < 30
    stretch = found.values[central] / found.mesh.places[central]
    np.testing.assert_allclose(stretch[np.abs(found.mesh.places[central]) > 0.1], expected, rtol=1e-4)


def test_quadratic_wells_and_interactions_keep_the_shape():
    """R'(1 + a(κ + λ)) - R = a κ_m R'^-m; the mean moves by V alone, by 1/(1 + aλ)."""
    well = Quadratic(0.5 * torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    (found,) = solve(bump(0.6, 2.0, 1.0), well, PowerEntropy(2.0), QuadraticInteraction(1, 1.5), (0.1,), step_size=0.1)
    root = 0.6
    for _ in range(50):
        kappa = math.exp(log_pressure(2.0, 1))
        root -= (1.2 * root - 0.6 - 0.1 * kappa * root**-2) / (1.2 + 0.2 * kappa * root**-3)
    assert 0.5 * (found.values[-1] - found.values[0]) == pytest.approx(root, abs=1e-10)
    assert float(found.moments(generator())[0]) == pytest.approx(1 / 1.05, abs=1e-10)


def test_normal_laws_with_an_entropy_and_an_interaction_are_the_closed_form():
    """The step is σ'(1 + aκ) - σ = a/(βσ'), at fixed mean."""
    (found,) = solve(normal(0.5, 1.0), Flat(1), Entropy(2.0), QuadraticInteraction(1), (0.4,), step_size=0.1)
    deviation = 1.0
    for _ in range(4):
        deviation = (deviation + math.sqrt(deviation**2 + 4 * 1.1 * 0.1 / 2.0)) / 2.2
    mean, variance = found.moments(generator())
    assert float(mean) == pytest.approx(0.5, abs=1e-12)
    assert math.sqrt(float(variance)) == pytest.approx(deviation, abs=1e-7)


BUMPS = Mixed((0.3, 0.7), (bump(0.3, 2.0, -0.8), bump(0.5, 2.0, 0.2)))


@pytest.mark.parametrize(
    ("initial", "potential", "times", "step"),
    [
        (BUMPS, Flat(1), (0.05, 0.2), 0.01),
        (bump(0.5, 2.0, 0.3), DoubleWellPotential(1.0, 0.25), (0.5, 2.0), 0.05),
        (normal(0.75, 0.25), DoubleWellPotential(1.0, 0.25), (0.5,), 0.05),
    ],
    ids=["bumps that merge", "a double well", "a double well, from a normal law"],
)
def test_the_default_nodes_are_within_1e_4_of_a_refinement(initial, potential, times, step):
    coarse, default, fine = (
        solve(initial, potential, PowerEntropy(2.0), None, times, step_size=step, nodes=nodes)
        for nodes in (400, 1200, 3600)
    )
    for k in range(len(times)):
        error = l1(default[k], fine[k], 3.0)
        assert error < 3e-5
        assert l1(coarse[k], fine[k], 3.0) / error > 3
        x = torch.linspace(-3, 3, 40001, dtype=torch.float64)[:, None]
        assert float(default[k].log_prob(x).exp().sum() * 6 / 40000) == pytest.approx(1, abs=1e-5)
        assert float(default[k].log_prob(torch.tensor([[5.0]], dtype=torch.float64))) == -math.inf


@pytest.mark.parametrize(
    ("initial", "potential", "internal", "interaction"),
    [
        (BUMPS, DoubleWellPotential(1.0, 0.2), PowerEntropy(2.0), None),
        (normal(), Flat(1), PowerEntropy(0.6), QuadraticInteraction(1)),
        (bump(0.5, 3.0), Flat(1), PowerEntropy(3.0, 0.1), GaussianAttraction(1)),
        (normal(), Flat(1), None, LogarithmicInteraction(1)),
        (normal(0.2, 0.3), DoubleWellPotential(0.5, 0.1), Entropy(2.0), QuarticInteraction(1)),
    ],
)
def test_the_energy_falls_by_what_a_step_costs(initial, potential, internal, interaction):
    """F falls by W₂²/2a at least; and the derivatives are those of the values."""
    start = initial_map(initial, internal, interaction, 120)
    energy = MappedEnergy(FreeEnergy(potential, internal, interaction), start.mesh, start.origin)
    before = start.values
    for _ in range(4):
        after, _, left = minimise(energy, 0.05, before)
        assert left < 1e-7
        x, w = energy.points(after)
        moved = float((w * (x - energy.points(before)[0]) ** 2).sum())
        fall = sum(float(term.sum()) for term in energy.terms(before))
        fall -= sum(float(term.sum()) for term in energy.terms(after))
        assert fall >= moved / 0.1 - 1e-12
        before = after
    found = energy.derivatives(before, 0.05, before)
    gaps = np.diff(before)
    towards = np.sin(np.arange(len(before))) * np.minimum(np.append(gaps, gaps[-1]), np.append(gaps[0], gaps))
    numeric = sum(
        sign * sum(float(term.sum()) for term in energy.terms(before + sign * 1e-4 * towards)) for sign in (1, -1)
    )
    assert float(found.gradient @ towards) == pytest.approx(numeric / 2e-4, rel=1e-4, abs=1e-9)


def test_semicircles_of_the_log_gas_are_the_closed_form_of_the_step():
    """R' = (R + √(R² + 8a(1 + a)))/(2(1 + a)); the nodes' error falls with their square."""
    errors = []
    for nodes in (120, 240):
        (found,) = solve(Semicircle(0.0, 1.0), Flat(1), None, LogarithmicInteraction(1), (1.0,), nodes=nodes)
        errors.append(2 * math.sqrt(float(found.moments(generator())[1])) - 1.3598852574)
    assert abs(errors[1]) < 4e-5
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_a_shell_on_the_line_becomes_two_points():
    (early, late) = solve(
        normal(0.0, 0.25), Flat(1), None, QuarticInteraction(1), (1.0, 60.0), step_size=0.5, nodes=200
    )
    assert early.density is not None
    levels = late.quantiles([0.02, 0.3, 0.7, 0.98], generator())
    assert levels == pytest.approx([-0.5, -0.5, 0.5, 0.5], abs=1e-6)
    assert late.cumulative(0.0, generator()) == pytest.approx(0.5, abs=1e-12)
    draws = late.sample(200, generator())
    assert float((draws.abs() - 0.5).abs().median()) < 1e-6


@pytest.mark.parametrize(("unit", "shift"), [(1e4, 0.0), (1e-4, 0.0), (1.0, 2e4), (1e-3, 30.0)])
def test_units_and_shifts_do_not_matter(unit, shift):
    """In x = c y + d the flow of ε c^(m+1) is the same: shapes agree to rounding."""

    def shape(unit, shift, internal, interaction):
        centre = torch.tensor([shift + 0.5 * unit], dtype=torch.float64)
        well = Quadratic(torch.eye(1, dtype=torch.float64), centre)
        initial = bump(0.3 * unit, 2.0, shift)
        (found,) = solve(initial, well, internal(unit), interaction(unit), (0.1,), step_size=0.05, nodes=100)
        return (np.array(found.quantiles([0.01, 0.3, 0.9], generator())) - shift) / unit

    for internal, interaction in (
        (lambda c: PowerEntropy(2.0, c**3), lambda c: QuadraticInteraction(1)),
        (lambda c: None, lambda c: LogarithmicInteraction(1, c**2)),
        (lambda c: None, lambda c: QuarticInteraction(1, c**-2)),
        (lambda c: PowerEntropy(3.0, c**4), lambda c: GaussianAttraction(1, c**2, c)),
    ):
        rounding = 1e-9 + 1e-14 * shift / unit
        np.testing.assert_allclose(
            shape(unit, shift, internal, interaction), shape(1.0, 0.0, internal, interaction), rtol=0, atol=rounding
        )


def test_quantiles_ranks_and_draws_of_two_pieces_are_those_of_the_law():
    found = initial_map(BUMPS, PowerEntropy(2.0), None, 800)
    assert found.mesh.masses == pytest.approx((0.3, 0.7), abs=1e-12)
    assert found.quantiles([0.15, 0.65], generator()) == pytest.approx([-0.8, 0.2], abs=1e-9)
    assert found.cumulative(-0.4, generator()) == pytest.approx(0.3, abs=1e-12)
    x = torch.tensor([[-0.8], [0.0], [-0.4]], dtype=torch.float64)
    torch.testing.assert_close(found.log_prob(x)[:2], BUMPS.log_prob(x)[:2], atol=1e-9, rtol=0)
    assert float(found.log_prob(x)[2]) == -math.inf
    mean, variance = found.moments(generator())
    assert float(mean) == pytest.approx(float(BUMPS.moments()[0]), abs=1e-9)
    assert float(variance) == pytest.approx(float(BUMPS.moments()[1]), abs=1e-9)
    draws = found.sample(1000, generator())
    assert bool(torch.isfinite(BUMPS.log_prob(draws)).all())


@dataclass(frozen=True)
class Root(QuadraticInteraction):
    """-|z|^½, whose slope is infinite at 0."""

    singular = True


class Broken(Potential):
    """NaN to the right of 2."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return torch.where(x > 2, math.nan, 0.5 * x * x)[:, 0]


def test_what_it_does_not_do():
    solver = QuantileJKO()
    for internal, interaction, reason in (
        (None, LogarithmicInteraction(1, -1.0), "a logarithm that attracts has no JKO steps here"),
        (None, Root(1), "of singular interactions the logarithm only, not Root"),
        (PowerEntropy(0.3), None, "the exponent of a power entropy must be above 1/3"),
    ):
        assert reason in str(solver.refusal(problem(normal(), Flat(1), internal, interaction, (1.0,))))
    draws = torch.linspace(-1, 1, 10, dtype=torch.float64)[:, None]
    sampled = Empirical(draws, torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    reason = solver.refusal(problem(sampled, Flat(1), None, QuadraticInteraction(1), (1.0,)))
    assert reason == "the initial law must have a density, which Empirical has not"
    with pytest.raises(ValueError, match="order must be"):
        QuantileJKO(order=3)


def test_where_it_breaks_down():
    with pytest.raises(Diverged, match=r"quantile-jko: the step to t = 0.05 .* not finite"):
        solve(bump(4.0, 2.0), Broken(), PowerEntropy(2.0), None, (0.05,), nodes=100)
    steep = Quadratic(100 * torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    with pytest.raises(Diverged, match="folds the line"):
        solve(bump(4.0, 2.0), steep, PowerEntropy(2.0), None, (0.1,), nodes=100, order=2, step_size=0.1)
