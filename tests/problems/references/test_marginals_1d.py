import math

import numpy as np
import pytest

from problems.flow import FreeEnergy, GradientFlow, PowerEntropy
from problems.laws import GaussianMixture
from problems.potentials import Flat, Quadratic
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import discretised
from problems.references.marginals_1d import effective_domain, reference_marginal
from tests.problems.references.flows import (
    Polynomial,
    exact_masses,
    flow,
    gaussian,
    on_grid,
    ornstein_uhlenbeck,
    tensor,
)


def test_domain_of_gaussians():
    # exp(-40) is where x² / 2 = 40
    lower, upper = effective_domain(ornstein_uhlenbeck(0.0, 1.0))
    assert (lower, upper) == pytest.approx((-math.sqrt(80), math.sqrt(80)), rel=2e-3)
    lower, upper = effective_domain(ornstein_uhlenbeck(30.0, 0.1))
    assert lower == pytest.approx(-math.sqrt(80), rel=1e-2)
    assert upper == pytest.approx(30 + 0.1 * math.sqrt(80), rel=1e-2)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_domain_scales(scale):
    lower, upper = effective_domain(flow(Quadratic(tensor(scale**-2)[None], tensor(0.0)), gaussian(0.0, scale)))
    assert (lower / scale, upper / scale) == pytest.approx((-math.sqrt(80), math.sqrt(80)), rel=2e-3)


def test_domain_finds_a_wide_well_around_a_narrow_start():
    lower, upper = effective_domain(flow(Quadratic(tensor(1.0)[None], tensor(5.0)), gaussian(0.0, 1e-3)))
    assert lower == pytest.approx(5 - math.sqrt(80), rel=1e-2)
    assert upper == pytest.approx(5 + math.sqrt(80), rel=1e-2)


def test_domain_holds_all_of_a_mixture():
    spread = GaussianMixture(tensor(0.5, 0.5), tensor(-50, 20)[:, None], tensor(0.01, 1.0)[:, None, None])
    lower, upper = effective_domain(flow(Quadratic(tensor(1.0)[None], tensor(0.0)), spread))
    assert -51.5 < lower < -50.5
    assert 28 < upper < 30


def test_domain_follows_mass_down_into_a_shallow_valley():
    # V' = x (x - 3) (x - 4): a global well at 0 (β V = 0), a hill at 3 (β V = 56), a valley at 4 (β V = 53):
    # the start on the hill is narrow, and what falls outwards settles in the valley, where exp(-βV) = 1e-23
    case = flow(Polynomial((0.0, 0.0, 6.0, -7 / 3, 0.25)), gaussian(3.0, 0.02), beta=5.0)
    lower, upper = effective_domain(case)
    assert lower < -0.9
    assert upper > 5.2
    operator, masses = on_grid(case, 2000)
    then = operator.propagate(masses, 2.0)
    assert then[operator.law(masses).centres().numpy() > 3].sum() > 0.2
    assert then[-1] < 1e-12


@pytest.mark.parametrize("coefficients", [(0.0,), (0.0, 1.0), (0.0, 0.0, -1.0), (0.0, 0.0, 0.0, 1.0)])
def test_potentials_that_do_not_confine_are_refused(coefficients):
    potential = Polynomial((*coefficients, 0.0))
    with pytest.raises(ValueError, match="does not confine"):
        effective_domain(flow(potential, gaussian(0.0, 1.0)))


def test_potentials_that_are_not_numbers_are_refused():
    nowhere = Polynomial((math.nan, 1.0))
    with pytest.raises(ValueError, match="the potential is NaN"):
        effective_domain(flow(nowhere, gaussian(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"not finite at x = -0\.75"):
        FokkerPlanck.discretise(flow(nowhere, gaussian(0.0, 1.0)), -1, 1, 4)


@pytest.mark.parametrize("time", [0.1, 1.0, 5.0])
def test_reference_marginal_is_far_inside_its_tolerance(time):
    case = ornstein_uhlenbeck(2.0, 0.5)
    law = reference_marginal(case, time)
    operator = FokkerPlanck.discretise(case, law.lower, law.upper, law.cells)
    exact = exact_masses(case, operator, time)
    assert np.abs(law.masses.numpy() - exact).sum() < 1e-8
    centres = law.centres().numpy()
    error = law.masses.numpy() - exact
    heavy = np.abs(centres - 2 * math.exp(-time)) < 6
    assert (error[heavy] ** 2 / exact[heavy]).sum() < 1e-14


def test_reference_marginal_says_when_it_does_not_converge():
    with pytest.raises(ArithmeticError, match="to 2048 cells, changed SymKL by"):
        reference_marginal(ornstein_uhlenbeck(4.0, 0.3, 20.0), 0.1, most_cells=2048)


@pytest.mark.parametrize(("deviation", "beta", "time"), [(0.5, 1.0, 1.0), (2.0, 0.1, 0.2), (0.1, 4.0, 0.01)])
def test_without_a_potential_there_is_room_to_spread(deviation, beta, time):
    case = flow(Flat(1), gaussian(3.0, deviation), beta, (time,))
    lower, upper = effective_domain(case)
    assert lower + upper == pytest.approx(6.0, abs=1e-6)
    spread = math.sqrt(deviation**2 + 2 * time / beta)
    assert upper - 3 > math.sqrt(80) * spread
    law = reference_marginal(case, time)
    expected = discretised(gaussian(3.0, spread), lower, upper, len(law.masses)).masses
    np.testing.assert_allclose(law.masses, expected, rtol=0, atol=1e-9)


def test_other_energies_have_no_such_marginals():
    energy = FreeEnergy(Quadratic(tensor(1.0)[None], tensor(0.0)), PowerEntropy(2.0))
    with pytest.raises(TypeError, match="only an Entropy has an inverse temperature"):
        reference_marginal(GradientFlow(gaussian(0.0, 1.0), energy, (1.0,)), 1.0)
