from dataclasses import replace

import numpy as np
import pytest
import torch

from seeding import generator
from solvers.dual.basis import Polynomials
from solvers.dual.objective import DualObjective, Line, Stopping, continued_exp
from solvers.threads import workers


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def objective_of(run, regularisation, n=3000, penalty=0.05):
    x, y = normals(n, 2, seed=1), normals(n, 2, seed=2)
    basis = Polynomials(torch.zeros(2).double(), torch.eye(2).double(), "hermite", 3)
    weights = normals(n, seed=3).exp()
    return DualObjective(
        of_g=[basis(x[:1000]), basis(x[1000:])],
        of_h=[basis(y[:1000]), basis(y[1000:])],
        log_weight=-0.3 * (x * x).sum(1) + 0.2 * normals(n, seed=4),
        mass=weights / weights.mean(),
        cost=(x - y).square().sum(1),
        rate=1.7,
        penalty=penalty,
        regularisation=regularisation,
        run=run,
    )


@pytest.mark.parametrize("regularisation", ["quadratic", "entropic"])
def test_value_is_the_formula_and_gradient_its_finite_difference(regularisation):
    with workers() as run:
        objective = objective_of(run, regularisation, penalty=0.5)
        at = 0.1 * normals(20, seed=5).numpy()
        at[0] += 1  # the constant: hundreds of constraints are violated
        value, gradient = objective(objective.values(at))

        of_g, of_h = (
            torch.cat([part.values() for part in each], 1).numpy() for each in (objective.of_g, objective.of_h)
        )
        g, h = at[:10] @ of_g, at[10:] @ of_h
        excess = g + h - objective.cost.numpy()
        penalty = {
            "quadratic": np.maximum(excess, 0) ** 2 / (2 * 0.5),
            "entropic": 0.5 * np.exp(excess / 0.5),
        }[regularisation]
        terms = np.exp(objective.log_weight.numpy() - 1.7 * g) / 1.7 - objective.mass.numpy() * h + penalty
        assert excess.max() / 0.5 < objective.ceiling
        assert value == pytest.approx(terms.mean(), rel=1e-12)
        assert (excess > 0).sum() > 100

        def value_at(coefficients):
            return objective(objective.values(coefficients))[0]

        for direction in normals(8, 20, seed=6).numpy():
            step = 2e-5 * direction  # the second derivative of the quadratic penalty jumps
            near, far = (value_at(at + k * step) - value_at(at - k * step) for k in (1, 2))
            assert gradient @ direction == pytest.approx((8 * near - far) / 24e-5, rel=1e-6)


def test_gradient_does_not_miss_rows_that_are_left_out():
    with workers() as run:
        objective = objective_of(run, "quadratic")
        # Nearly all rows are idle: no mass, no constraint, f = exp(-80) or so.
        mass = torch.zeros(3000).double()
        mass[::500] = 500.0
        objective = replace(objective, mass=mass, log_weight=objective.log_weight - 80 + 80 * (mass > 0))
        at = np.zeros(20)
        at[[0, 10]] = -0.1, 0.1
        at_x, at_y = (torch.cat([block.values() for block in each], 1) for each in (objective.of_g, objective.of_h))
        f = (objective.log_weight - 1.7 * torch.from_numpy(at[:10]) @ at_x).exp()
        expected = torch.cat([at_x @ -f, at_y @ -mass]) / 3000
        assert (f < 1e-16).sum() > 2000
        np.testing.assert_allclose(objective(objective.values(at))[1], expected.numpy(), rtol=1e-12, atol=1e-14)


def test_a_line_computes_values_once_for_each_direction():
    matrix, calls = normals(50, 6).numpy(), []

    def values(point):
        calls.append(point)
        return torch.from_numpy(matrix @ point)

    line = Line(values)
    point, directions = 3 * normals(6, seed=1).numpy(), normals(5, 6, seed=2).numpy()
    line(point)
    for direction in directions:
        for place in (1e-3, 5e-3, 3e-2, 2e-2):
            trial = point + place * direction
            np.testing.assert_allclose(line(trial).numpy(), matrix @ trial, rtol=0, atol=1e-12)
        point = trial
    assert 6 <= len(calls) <= 10 < 20
    before = len(calls)
    far = point + 1e9 * directions[0]
    np.testing.assert_allclose(line(far).numpy(), matrix @ far, rtol=1e-12)
    assert len(calls) == before + 1
    np.testing.assert_allclose(line(far + 1.0).numpy(), matrix @ (far + 1.0), rtol=1e-12)


def test_exponential_is_continued_smoothly():
    x = torch.tensor([-800.0, -1.0, 49.999999, 50.000001, 1e8], dtype=torch.float64)
    value, slope = continued_exp(x, 50.0)
    assert bool(torch.isfinite(value).all() and torch.isfinite(slope).all())
    torch.testing.assert_close(value[1:4], x[1:4].exp(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope[1:4], x[1:4].exp(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("regularisation", ["quadratic", "entropic"])
def test_mass_is_conserved_at_the_minimum(regularisation):
    with workers() as run:
        objective = objective_of(run, regularisation)
        optimum = objective.minimise(objective.start(objective.balanced), Stopping(1e-6, 2000, least_fall=0.0))
    assert optimum.stopped == ""
    assert float(optimum.weights.mean()) == pytest.approx(1, abs=2e-6)
    assert float(optimum.weights.max()) < 3000
