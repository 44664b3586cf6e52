"""Fitted steps of Barenblatt laws: a radius against its ordinary differential equation, and Gaussian steps."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from instances import ornstein_uhlenbeck
from problems.barenblatt import Barenblatt
from problems.energies import PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.potentials import Quadratic
from problems.references.elliptical_energy import elliptical_energy
from solvers.barenblatt.exact_step import ExactSteps
from solvers.gaussian.fitted_step import averaged, gaussian_step


def radius_errors(dim, rate):
    """Relative errors of the radius at t = 0.4 from 2, for h = .1, .05 and .025, in V = ½ rate |x|², m = 2."""
    eye, zeros = torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    law = Barenblatt(zeros + 1, 4 * eye, 2.0)
    energy = elliptical_energy(
        GradientFlow(law, FreeEnergy(Quadratic(rate * eye, zeros), PowerEntropy(2.0, 1.0)), (0.4,))
    )

    def speed(t, r):
        return math.exp(energy.log_spreading(2 * dim * math.log(r[0]))) / r - rate * r

    exact = solve_ivp(speed, (0, 0.4), [2.0], rtol=1e-10, atol=1e-12).y[0, -1]
    found = []
    for h in (0.1, 0.05, 0.025):
        after = law
        for _ in range(round(0.4 / h)):
            after = ExactSteps(energy, h, 2, fitted=True)(after)
        torch.testing.assert_close(after.mean, math.exp(-0.4 * rate) * law.mean, rtol=1e-12, atol=1e-14)
        found.append(abs(math.sqrt(float(after.shape[0, 0])) / exact - 1))
    return found


@pytest.mark.parametrize(("dim", "figures"), [(1, (1.8e-3, 4.6e-4, 1.1e-4)), (3, (4.0e-3, 9.7e-4, 2.4e-4))])
def test_radii_of_the_porous_medium(dim, figures):
    assert tuple(float(f"{error:.2g}") for error in radius_errors(dim, 2.0)) == figures


def test_stiff_radii_stay_near_rest():
    assert float(f"{radius_errors(3, 20.0)[0]:.2g}") == 1.4e-2


def test_gaussian_steps_are_those_of_gaussian_jko():
    flow = ornstein_uhlenbeck(3).flow
    after = ExactSteps(elliptical_energy(flow), 0.3, 2, fitted=True)(flow.initial)
    mean, covariance = gaussian_step(flow.initial.moments(), averaged(flow.potential, 3), 0.7, 0.3, "fitted")
    torch.testing.assert_close(after.mean, mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after.covariance, covariance, rtol=1e-9, atol=1e-9)
