"""docs/errata.md: the numbers it gives are those worked out here from the formulas it gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from balls import ball, peak, square_integral
from false_alarms import sigmas
from problems.energies import PowerEntropy
from problems.interactions import QuarticInteraction
from problems.logistic_regression import LogisticRegression
from seeding import generator

TEXT = (Path(__file__).parents[1] / "docs" / "errata.md").read_text()
START = 1e-3
RELEASED = {1: 0.25, 3: 0.4, 6: 0.6}


def said(*numbers: str) -> None:
    """Check that the text has these numbers."""
    for number in numbers:
        assert number in TEXT, number


def mass(dim: int, radius: float) -> float:
    """Return the mass of t^-α (C - k|x|²t^-2β)₊ with C = k R₀² t₀^-2β, for m = 2."""
    beta = 1 / (dim + 2)
    constant = beta / 4 * radius**2 * START ** (-2 * beta)
    return START ** (-dim * beta) * constant * radius**dim / peak(dim)


def spread(radius: float, dim: int, time: float, mass: float = 1.0) -> float:
    """Return the radius after some time in the flow of ∫ρ², exactly."""
    power = dim + 2
    return float((radius**power + 4 * peak(dim) * mass * power * time) ** (1 / power))


def stepped(radius: float, dim: int, step: float) -> float:
    """Return the radius after an exact JKO step: R' - R = 4 a Z R'^-(n+1)."""
    return float(brentq(lambda new: new - radius - 4 * step * peak(dim) * new ** -(dim + 1), radius, 2 * radius))


def test_masses_of_the_released_reference() -> None:
    found = {dim: mass(dim, radius) for dim, radius in RELEASED.items()}
    assert [round(value, 3) for value in found.values()] == [1.736, 0.858, 0.678]
    said("1.736", ".858", ".678")
    right = [brentq(lambda radius, dim=dim: mass(dim, radius) - 1, 0.1, 1.0) for dim in RELEASED]
    assert [round(value, 5) for value in right] == [0.20801, 0.41245, 0.62985]
    said(".20801", ".41245", ".62985")


def test_the_energy_gap_of_the_released_figure_is_the_mass() -> None:
    """Theirs is the mean of ρ, of that mass, over draws of ρ: ∫ρ² over the mass."""
    step, shown = 5e-4, []
    for dim in (3, 6):
        radius, content = RELEASED[dim], mass(dim, RELEASED[dim])
        theirs = content * square_integral(ball(dim, spread(radius, dim, 2 * step, content)))
        ours = square_integral(ball(dim, stepped(stepped(radius, dim, step), dim, step)))
        shown += [f"{theirs:.2f}", f"{ours:.3f}"]
    assert shown == ["3.02", "3.497", "2.68", "3.619"]
    said(*shown)


def test_the_printed_constant_has_mass_two() -> None:
    # On the line with m = 2: α = 1/3, k = 1/12, mass C (C/k)^½ 4/3.
    def content(constant: float) -> float:
        return constant * math.sqrt(12 * constant) * 4 / 3

    assert content((3 / 16) ** (1 / 3)) == pytest.approx(2)
    assert content((3 / 64) ** (1 / 3)) == pytest.approx(1)
    assert f"{(3 / 64) ** (1 / 3):.6f}" == "0.360562"
    said("(3/16)^(1/3)", "(3/64)^(1/3) = .360562")


def test_a_floor_of_the_density_decides_its_divergence() -> None:
    assert -0.01 * math.log(1e-45) == pytest.approx(1.0, abs=0.05)
    smallest = torch.tensor(1e-45, dtype=torch.float32)
    assert round(float(smallest.log()), 1) == -103.3
    assert round(math.log(1e-45), 1) == -103.6
    said("-103.3", "-103.6")


def stein(x: torch.Tensor, y: torch.Tensor, b: float, sign: int) -> torch.Tensor:
    """Return the Stein kernel of N(0, I) for exp(-b|x-y|²), with this sign before 4b²r in the trace."""
    difference, r = x - y, (x - y).square().sum(1)
    k = (-b * r).exp()
    trace = (2 * b * x.shape[1] + sign * 4 * b * b * r) * k
    return (x * y).sum(1) * k - 2 * b * (difference.square().sum(1)) * k + trace


def test_the_sign_in_the_kernel_discrepancy() -> None:
    b, dim = 0.3, 4
    x, y = (torch.randn(1, dim, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))

    def kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (-b * (first - second).square().sum()).exp()

    blocks = torch.autograd.functional.hessian(kernel, (x[0], y[0]))
    r = float((x - y).square().sum())
    assert float(blocks[0][1].trace()) == pytest.approx((2 * b * dim - 4 * b * b * r) * math.exp(-b * r), rel=1e-10)
    first, second = (torch.randn(40_000, dim, generator=generator(seed), dtype=torch.float64) for seed in (3, 4))
    right, wrong = stein(first, second, b, -1), stein(first, second, b, 1)
    assert abs(float(right.mean())) < sigmas(2) * float(right.std()) / 200
    assert float(wrong.mean()) > 0.1 > sigmas(2) * float(wrong.std()) / 200
    r = (first - second).square().sum(1)
    torch.testing.assert_close(wrong - right, 8 * b * b * r * (-b * r).exp())


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_radius_of_the_ring(dim: int) -> None:
    """On a shell of r² = D/(2(D+1)), and not on one of ½ in the plane, the force along the radius vanishes."""
    points = torch.randn(200_000, dim, generator=generator(5), dtype=torch.float64)
    points /= points.norm(dim=1, keepdim=True)
    interaction, place = QuarticInteraction(dim), torch.zeros(1, dim, dtype=torch.float64)
    right = math.sqrt(dim / (2 * (dim + 1)))
    for radius in (right, 0.5):
        place[0, 0] = radius
        force = float(interaction.mean_gradient(place, radius * points)[0, 0])
        assert (abs(force) < 5e-3) == (radius == pytest.approx(right)), radius
    assert (right == 0.5) == (dim == 1)
    if dim == 2:
        assert right == pytest.approx(1 / math.sqrt(3))


def steps_to_the_ring(step: float, implicit: bool) -> int:
    """Return how many steps of a radial law lead from N(0, ¼I) in the plane to within .05 of the ring in W₂.

    Explicit or implicit ones of r' = r (1 - 2M - r²), M = E r².
    """
    levels = (np.arange(2000) + 0.5) / 2000
    r = 0.5 * np.sqrt(-2 * np.log1p(-levels))
    for count in range(1, 300):
        if implicit:
            # Monotone in M: the second moment of the new radii is found by bisection.
            def moved(moment: float, old: np.ndarray = r) -> np.ndarray:
                new = old.copy()
                for _ in range(30):
                    value = new - step * new * (1 - 2 * moment - new**2) - old
                    new = new - value / (1 - step * (1 - 2 * moment - 3 * new**2))
                return new

            moment = brentq(lambda value: float(np.mean(moved(value) ** 2)) - value, 0.0, 2.0, xtol=1e-10)
            r = moved(moment)
        else:
            r = r + step * r * (1 - 2 * np.mean(r**2) - r**2)
        if math.sqrt(np.mean((r - 1 / math.sqrt(3)) ** 2)) < 0.05:
            return count
    raise AssertionError("it does not arrive")


def test_the_half_is_what_makes_backward_steps_fast() -> None:
    found = [steps_to_the_ring(0.05, False), steps_to_the_ring(0.05, True), steps_to_the_ring(0.1, True)]
    assert found == [99, 99, 50]
    said("forward 99 steps", "of ½∬W 99", "50. ")


def test_the_conjugate_vanishes_below_zero() -> None:
    slopes = torch.tensor([-2.0, -1e-3, 0.0, 1.0], dtype=torch.float64)
    for exponent in (2.0, 3.0):
        values = PowerEntropy(exponent).conjugate(slopes)
        assert values[:3].tolist() == [0.0, 0.0, 0.0]
        assert float(values[3]) > 0


def test_the_prior_is_that_of_the_released_code() -> None:
    family = LogisticRegression()
    assert (family.prior_shape, family.prior_rate) == (1.0, 100.0)
    said("rate 100")


def test_the_steady_state_that_was_printed_right() -> None:
    """x - PV∫ρ(y)/(x - y) dy = 0 for ρ = π⁻¹√(2 - y²), by the equal-weight points of Chebyshev's second kind."""
    count = 4001
    angle = math.pi * np.arange(1, count) / count
    y, weight = math.sqrt(2) * np.cos(angle), 2 / count * np.sin(angle) ** 2
    assert weight.sum() == pytest.approx(1)
    middle = math.sqrt(2) * np.cos(math.pi * (np.arange(100, count - 100, 500) + 0.5) / count)
    field = [x - np.sum(weight / (x - y)) for x in middle]
    np.testing.assert_allclose(field, 0.0, atol=1e-10)
