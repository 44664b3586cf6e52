"""Fitted steps among Gaussians: the equation that they solve, order, damping, units and axes."""

from __future__ import annotations

import math

import pytest
import torch

from instances import ornstein_uhlenbeck
from problems.linear_algebra import symmetrised
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Quadratic
from seeding import fixed_generator, generator
from solvers.gaussian.exact_step import jko_moments
from solvers.gaussian.fitted_step import SCHEMES, averaged, gaussian_step, metric_map, sqrt_symkl, weight
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.solver import Diverged

CPU = torch.device("cpu")
FITTED = ("fitted", "fitted-energy")


def errors(problem, **settings):
    """Return SymKL to the truth at each time."""
    solution = GaussianJKO(**settings).solve(problem, generator(), CPU)
    return [
        sqrt_symkl(estimate.law.moments(), problem.truth(time).moments()) ** 2
        for time, estimate in zip(solution.times, solution.estimates, strict=True)
    ]


def stiff(times=(0.4,)):
    """A flow whose A, of eigenvalues 0.5, 2 and 12, does not commute with the initial covariance."""
    turn, _ = torch.linalg.qr(torch.tensor([[1.0, 0.4, 0.2], [0.3, 1.0, -0.6], [0.1, 0.5, 1.0]], dtype=torch.float64))
    precision = symmetrised(turn @ torch.diag(torch.tensor([0.5, 2.0, 12.0], dtype=torch.float64)) @ turn.T)
    family = OrnsteinUhlenbeck(
        instance="given",
        precision=tuple(map(tuple, precision.tolist())),
        centre=(0.5, -1.0, 2.0),
        initial_covariance=((1.0, 0.5, 0.0), (0.5, 2.0, 0.3), (0.0, 0.3, 0.5)),
        initial_mean=(1.0, 0.0, 0.0),
        times=times,
    )
    return family.build(3, 0, generator())


@pytest.mark.parametrize("scheme", ["midpoint", *FITTED])
def test_steps_are_of_order_two_where_nothing_commutes(scheme):
    problem = stiff()
    coarse, fine = (errors(problem, step_size=h, order=2, second_order=scheme)[0] for h in (0.02, 0.01))
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.4)


def test_plain_steps_are_those_of_the_closed_form():
    problem = ornstein_uhlenbeck(4)
    initial, potential = problem.flow.initial, problem.flow.potential
    ((mean, covariance),) = jko_moments(initial, potential, 0.7, 0.3, (1,))
    found = gaussian_step(initial.moments(), averaged(potential, 4), 0.7, 0.3, "jko")
    torch.testing.assert_close(found[0], mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_step_solves_its_equation(scheme):
    """(hΘ)⁻¹(y - x) = -A y + β⁻¹ Σ_y⁻¹ y for deviations, and T = x + Θ⁻¹(y - x)."""
    problem, h, beta = ornstein_uhlenbeck(3), 0.4, 0.7
    covariance, precision = problem.flow.initial.covariance, problem.flow.potential.precision
    identity = torch.eye(3, dtype=torch.float64)
    energy = precision + torch.linalg.inv(covariance) / beta
    share = {"jko": identity, "midpoint": 0.5 * identity, "fitted": weight(precision, h)}.get(scheme, weight(energy, h))
    middle, full = metric_map(covariance, precision, share, h, 1 / beta)
    spread = middle @ covariance @ middle.T
    velocity = torch.linalg.solve(spread, middle) / beta - precision @ middle
    torch.testing.assert_close(torch.linalg.solve(share, middle - identity) / h, velocity, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(identity + h * velocity, full, rtol=1e-9, atol=1e-9)


# Median and largest SymKL of the fifteen published instances at t = 0.5 (of five at D = 32)
TABLE = {
    (2, 0.05, "fitted"): (4.8e-8, 4.4e-7),
    (2, 0.25, "fitted"): (3.3e-5, 3.4e-4),
    (6, 0.05, "midpoint"): (1.1e-5, 7.3e-4),
    (6, 0.05, "fitted"): (5.2e-7, 1.5e-6),
    (12, 0.05, "fitted"): (9.3e-7, 1.7e-6),
    (12, 0.25, "fitted"): (1.6e-3, 3.2e-3),
    (12, 0.25, "midpoint"): (0.29, 5.5),
    (32, 0.25, "fitted"): (5.3e-3, 6.1e-3),
}


@pytest.mark.parametrize("case", TABLE)
def test_figures_of_the_published_instances(case):
    dim, h, scheme = case
    family = OrnsteinUhlenbeck(times=(0.5,))
    found = [
        errors(family.build(dim, seed, generator()), step_size=h, order=2, second_order=scheme)[0]
        for seed in range(5 if dim == 32 else 15)
    ]
    middle, largest = sorted(found)[len(found) // 2], max(found)
    assert (float(f"{middle:.2g}"), float(f"{largest:.2g}")) == TABLE[case]


@pytest.mark.parametrize("scheme", FITTED)
@pytest.mark.parametrize("product", [0.1, 3.0, 100.0, 1e4])
def test_stiff_modes_are_damped_by_maps_that_stay_monotone(scheme, product):
    """One step of h = 1 from laws up to a million times too wide or narrow, A with eigenvalues down to a millionth."""
    precision = product * torch.diag(torch.tensor([1.0, 0.03, 1e-6], dtype=torch.float64))
    potential = Quadratic(precision, torch.zeros(3, dtype=torch.float64))
    draws = torch.randn(3, 3, generator=generator(2), dtype=torch.float64)
    for width in (1e-3, 1.0, 1e3):
        covariance = symmetrised(width**2 * (draws @ draws.T + 0.1 * torch.eye(3, dtype=torch.float64)))
        covariance = covariance / product
        curvature = precision + (torch.linalg.inv(covariance) if scheme == "fitted-energy" else 0)
        _, full = metric_map(covariance, precision, weight(curvature, 1.0), 1.0, 1.0)
        assert float(torch.linalg.eigvalsh(full)[0]) > -1e-12
        start = (torch.ones(3, dtype=torch.float64), covariance)
        mean, after = gaussian_step(start, averaged(potential, 3), 1.0, 1.0, scheme)
        torch.testing.assert_close(mean, torch.exp(-precision.diagonal()), rtol=1e-6, atol=1e-10)
        assert bool((torch.linalg.eigvalsh(after) > 0).all())


@pytest.mark.parametrize("product", [2.0, 4.0, 30.0, 1e4])
def test_a_deviation_crosses_rest_by_an_eighth_at_most(product):
    potential = Quadratic(torch.tensor([[product]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    for width in (0.1, 0.5, 0.9, 1.1, 2.0, 10.0):
        start = (torch.zeros(1, dtype=torch.float64), torch.tensor([[width**2 / product]], dtype=torch.float64))
        _, after = gaussian_step(start, averaged(potential, 1), 1.0, 1.0, "fitted")
        left = (math.sqrt(float(after) * product) - 1) / (width - 1)
        assert -0.2 < left < max(0.3, 3 * math.exp(-product))
        _, folded = gaussian_step(start, averaged(potential, 1), 1.0, 1.0, "midpoint")
        if product > 100 and width > 3:
            assert math.sqrt(float(folded) * product) > 0.5 * width


@pytest.mark.parametrize("scheme", FITTED)
def test_moved_turned_and_in_other_units(scheme):
    """x → cQx + s with β → β/c²: the answer goes along. So it does where time is measured in other units."""
    problem = stiff(times=(0.4,))
    flow, unit = problem.flow, 1e-3
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator(5), dtype=torch.float64))
    shift = torch.tensor([300.0, -20.0, 5.0], dtype=torch.float64) * unit
    law, potential = flow.initial, flow.potential

    def carried(mean, covariance):
        return unit * turn @ mean + shift, symmetrised(unit**2 * turn @ covariance @ turn.T)

    other = Quadratic(symmetrised(turn @ potential.precision @ turn.T), unit * turn @ potential.centre + shift)
    start = carried(law.mean, law.covariance)
    here = gaussian_step(law.moments(), averaged(potential, 3), 1.0, 0.3, scheme)
    there = gaussian_step(start, averaged(other, 3), unit**-2, 0.3, scheme)
    assert sqrt_symkl(there, carried(*here)) < 1e-9
    slow = Quadratic(potential.precision / 60, potential.centre)
    later = gaussian_step(law.moments(), averaged(slow, 3), 60.0, 18.0, scheme)
    assert sqrt_symkl(later, here) < 1e-10


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-8])
def test_chosen_steps_keep_the_tolerance(tolerance):
    for dim in (2, 12):
        problem = OrnsteinUhlenbeck().build(dim, 0, generator())
        solver = GaussianJKO(step_size="auto", tolerance=tolerance)
        solution = solver.solve(problem, generator(), CPU)
        assert max(errors(problem, step_size="auto", tolerance=tolerance)) < tolerance
        assert sum(solution.traces["step_size"]) == pytest.approx(0.9, rel=1e-12)
        assert solver.order_in_time is None


def test_filters_of_order_two():
    """Against Kalman's, and one that keeps moments alone against itself in the finest of steps."""
    problem = LinearFiltering(observation_times=(0.3, 1.1)).build(1, 1, fixed_generator(1))
    evidence = [
        GaussianJKO(step_size=h, order=2, second_order="fitted").solve(problem, generator(), CPU).diagnostics
        for h in (0.1, 0.05)
    ]
    off = [each["log_evidence"] - problem.log_evidence(2.0) for each in evidence]
    assert off[0] / off[1] == pytest.approx(4, rel=0.15)
    curved = NonlinearFiltering(times=(0.9,)).build(1, 0, generator())

    def moments(**settings):
        return GaussianJKO(**settings).solve(curved, generator(), CPU).estimates[-1].law.moments()

    best = moments(step_size=0.0025, order=2, second_order="fitted")
    for scheme in FITTED:
        apart = [sqrt_symkl(moments(step_size=h, order=2, second_order=scheme), best) for h in (0.05, 0.025)]
        assert math.log2(apart[0] / apart[1]) == pytest.approx(2, abs=0.4)
    assert sqrt_symkl(moments(step_size="auto", tolerance=1e-6), best) < 1e-3


def test_the_distance_is_symkl():
    first, second = (ornstein_uhlenbeck(3, seed).flow.initial for seed in (0, 1))
    inverse = torch.linalg.inv(first.covariance), torch.linalg.inv(second.covariance)
    shift = first.mean - second.mean
    traces = torch.trace(inverse[0] @ second.covariance) + torch.trace(inverse[1] @ first.covariance)
    closed = 0.5 * traces - 3 + 0.5 * shift @ (inverse[0] + inverse[1]) @ shift
    assert sqrt_symkl(first.moments(), second.moments()) ** 2 == pytest.approx(float(closed), rel=1e-10)


def test_what_is_no_setting_and_what_has_no_step():
    for settings, message in (
        (
            {"second_order": "fited"},
            "second_order must be one of 'extrapolated', 'midpoint', 'fitted', 'fitted-energy'",
        ),
        ({"step_size": "often"}, "step_size must be a number > 0 or 'auto', got 'often'"),
        ({"step_size": "auto", "order": 2}, "order must be left at 1, got 2: step_size 'auto' chooses"),
        ({"step_size": "auto", "tolerance": 0.0}, "tolerance must be a finite number >= 1e-12"),
        ({"tolerance": 1e-3}, "tolerance must be left at 1e-06, got 0.001: it is that of step_size 'auto'"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianJKO(**settings)
    curvature = torch.tensor([[-1.0]], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)

    def hill(mean, covariance):
        return -mean, curvature

    with pytest.raises(Diverged, match="the step has no minimum"):
        gaussian_step(start, hill, 1.0, 3.0, "jko")
    _, covariance = gaussian_step(start, hill, 1.0, 3.0, "fitted")
    assert float(covariance) > 1
    GaussianJKO(step_size="auto").check_times((0.1, 0.37))
