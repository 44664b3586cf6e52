import math

import numpy as np
import pytest
from scipy import linalg

from problems.references.birth_death import Elimination, resolvent
from problems.references.fokker_planck import FokkerPlanck, bernoulli
from problems.references.marginals_1d import effective_domain
from seeding import numpy_generator
from tests.problems.references.flows import (
    double_well,
    exact_masses,
    on_grid,
    ornstein_uhlenbeck,
)


def dense(operator):
    matrix = np.diag(-(operator.left + operator.right))
    return matrix + np.diag(operator.right[:-1], -1) + np.diag(operator.left[1:], 1)


def stationary(case, operator):
    cells = len(operator.left)
    centres = operator.law(np.full(cells, 1 / cells)).centres()
    weights = (-case.inverse_temperature * case.potential.value(centres[:, None])).softmax(0)
    return weights.numpy()


CASES = {
    "ou": ornstein_uhlenbeck(),
    "double well": double_well(),
    "far out": ornstein_uhlenbeck(8.0, 0.5),
    "cold": ornstein_uhlenbeck(4.0, 0.3, 20.0),
    "cold wells": double_well(beta=10.0),
}


def test_bernoulli_function():
    z = np.array([0.0, 1e-300, 1e-9, 1.0, -1.0, 40.0, -40.0, 800.0, -800.0, 1e5, -1e5])
    with np.errstate(all="raise", under="ignore"):
        found = bernoulli(z)
    expected = [1, 1, 1 - 5e-10, 1 / math.expm1(1), 1 / -math.expm1(-1), 40 / math.expm1(40), 40, 0, 800, 0, 1e5]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-300)
    rising = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(bernoulli(-rising), np.exp(rising) * bernoulli(rising), rtol=1e-13)


@pytest.mark.parametrize("cells", [3, 4, 101, 2000])
def test_generator_conserves_and_keeps_the_stationary_law(cells):
    operator, masses = on_grid(CASES["double well"], cells)
    rate = (operator.left + operator.right).max()
    assert abs(operator.apply(masses).sum()) <= 1e-16 * rate
    assert np.abs(operator.apply(stationary(CASES["double well"], operator))).max() <= 1e-15 * rate
    np.testing.assert_allclose(operator.apply(masses), dense(operator) @ masses, atol=1e-15 * rate)
    assert (operator.left >= 0).all()
    assert (operator.right >= 0).all()


@pytest.mark.parametrize("time", [1e-7, 1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("cells", [3, 48])
@pytest.mark.parametrize("name", CASES)
def test_propagator_is_the_matrix_exponential(name, cells, time):
    operator = FokkerPlanck.discretise(CASES[name], *effective_domain(CASES[name]), cells)
    masses = np.linspace(1, 2, cells) / (1.5 * cells)
    expected = linalg.expm(time * dense(operator)) @ masses
    assert np.abs(operator.propagate(masses, time) - expected).sum() < 1e-11


def test_propagator_is_the_spectral_sum():
    operator, masses = on_grid(CASES["ou"], 600)
    balance = np.sqrt(stationary(CASES["ou"], operator))
    values, vectors = linalg.eigh_tridiagonal(
        -(operator.left + operator.right), np.sqrt(operator.right[:-1] * operator.left[1:])
    )
    for time in (0.01, 0.5, 10.0):
        expected = balance * (vectors @ (np.exp(time * values) * (vectors.T @ (masses / balance))))
        # Rounding of the eigenvalues is relative to the largest.
        assert np.abs(operator.propagate(masses, time) - expected).sum() < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_propagators_compose(name):
    operator, masses = on_grid(CASES[name], 1000)
    for time in (1e-6, 0.05, 0.5, 3.0):
        parts = masses
        for _ in range(7):
            parts = operator.propagate(parts, time / 7)
        assert np.abs(operator.propagate(masses, time) - parts).sum() < 1e-12


@pytest.mark.parametrize("cells", [200, 2001, 16_384])
@pytest.mark.parametrize("name", CASES)
def test_mass_is_conserved_and_positive_to_rounding(name, cells):
    operator, masses = on_grid(CASES[name], cells)
    for time in (1e-8, 1e-2, 0.9) if cells == 16_384 else (1e-8, 1e-4, 1e-2, 0.9, 5.0, 1e4):
        masses_then = operator.propagate(masses, time)
        assert abs(math.fsum(masses_then) - 1) < 1e-13
        assert masses_then.min() > -1e-14


@pytest.mark.parametrize("cells", [200, 2001, 16_384])
@pytest.mark.parametrize("name", ["ou", "double well", "cold wells"])
def test_stationary_law_stays_to_relative_rounding(name, cells):
    # time times the largest rate reaches 1e12
    operator, _ = on_grid(CASES[name], cells)
    masses = stationary(CASES[name], operator)
    for time in (1e-6, 1e-2, 1.0, 1e5):
        np.testing.assert_allclose(operator.propagate(masses, time), masses, rtol=1e-12, atol=1e-100)


def test_any_start_ends_in_the_stationary_law():
    operator, masses = on_grid(CASES["double well"], 2000)
    limit = stationary(CASES["double well"], operator)
    assert np.abs(operator.propagate(masses, 1e3) - limit).sum() < 1e-13


@pytest.mark.parametrize("cells", [3, 501, 2048])
@pytest.mark.parametrize("name", CASES)
def test_what_a_propagator_keeps_changes_no_bit(name, cells):
    """Times that return, alternate, or push out others; "cold" and "far out" take rational steps on the way."""
    operator = FokkerPlanck.discretise(CASES[name], *effective_domain(CASES[name]), cells)
    masses = np.linspace(1, 2, cells) / (1.5 * cells)
    kept, anew = operator.propagator(), masses
    for time in (0.5, 0.5, 0.1, 0.1 + 2e-17, 0.5, 3.0, 0.1, 0.5, 0.0003, 0.5):
        masses, anew = kept(masses, time), operator.propagate(anew, time)
        assert masses.tobytes() == anew.tobytes()


@pytest.mark.parametrize("cells", [1, 2, 3, 64, 101])
def test_an_elimination_serves_any_source(cells):
    draws = numpy_generator(3)
    left, right = draws.exponential(size=(2, 1, cells))
    left[0, 0], right[0, -1] = 0, 0
    loss = np.array([[1.0 + 2j], [0.3 - 1j], [4.0 + 0j]])
    matrix = np.diag(-(left + right)[0]) + np.diag(right[0, :-1], -1) + np.diag(left[0, 1:], 1)
    eliminated = Elimination(loss, left, right)
    for source in (*draws.normal(size=(3, 1, cells)), draws.normal(size=(3, cells))):
        found = eliminated(source).copy()
        assert found.tobytes() == resolvent(loss, left, right, source).tobytes()
        for z, x, b in zip(loss[:, 0], found, np.broadcast_to(source, found.shape), strict=True):
            np.testing.assert_allclose((z * np.eye(cells) - matrix) @ x, b, atol=1e-12)


def test_hopeless_masses_are_reported():
    operator, masses = on_grid(CASES["ou"], 50)
    with np.errstate(invalid="ignore"), pytest.raises(ArithmeticError, match="steps to time 1 shrink"):
        operator.propagate(np.full_like(masses, np.nan), 1.0)


def test_stepper_is_of_order_two_and_agrees_with_the_exponential():
    operator, masses = on_grid(CASES["ou"], 500)
    expected = operator.propagate(masses, 2.0)
    errors = []
    for steps in (20, 40, 80, 160):
        step, found = operator.stepper(2.0 / steps), masses
        for _ in range(steps):
            found = step(found)
        errors.append(np.abs(found - expected).sum())
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([2, 2, 2], abs=0.1)
    assert errors[-1] < 1e-5


@pytest.mark.parametrize(("name", "step_size"), [("ou", 1e-3), ("double well", 0.01), ("cold wells", 0.05)])
def test_steps_conserve_mass_keep_it_positive_and_keep_the_stationary_law(name, step_size):
    operator, masses = on_grid(CASES[name], 1000)
    limit = stationary(CASES[name], operator)
    step, still = operator.stepper(step_size), limit
    for _ in range(2000):
        masses, still = step(masses), step(still)
        assert masses.min() > -3e-16
    assert abs(math.fsum(masses) - 1) < 1e-13
    np.testing.assert_allclose(still, limit, rtol=1e-12, atol=1e-100)


def test_steps_are_l_stable():
    operator, masses = on_grid(CASES["ou"], 500)
    step = operator.stepper(1e5)
    assert np.abs(step(step(masses)) - stationary(CASES["ou"], operator)).sum() < 1e-8


def test_grid_converges_to_the_exact_marginal_with_order_two():
    errors = []
    for cells in (125, 250, 500, 1000):
        operator, masses = on_grid(CASES["ou"], cells)
        errors.append(np.abs(operator.propagate(masses, 0.7) - exact_masses(CASES["ou"], operator, 0.7)).sum())
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([2, 2, 2], abs=0.1)
