import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from harness.measure import CATALOGUE
from problems.double_well import DoubleWell, DoubleWellPotential
from problems.potentials import Potential
from problems.references.grid_law import GridLaw, symmetric_divergence
from problems.references.marginals_1d import reference_marginal
from seeding import generator


def build(seed=0, **settings):
    return DoubleWell(**settings).build(1, seed, generator(seed))


def spectral_marginal(flow, time, lower=-3.0, upper=4.2, points=160):
    """Density at equidistant points by sinc collocation of ∂p = ∂(V' p) + β⁻¹ ∂²p, and the dense exponential."""
    x, width = np.linspace(lower, upper, points, retstep=True)
    offset = np.subtract.outer(np.arange(points), np.arange(points))
    sign, distance = (-1.0) ** offset, np.where(offset == 0, 1, offset) * width
    first = np.where(offset == 0, 0.0, sign / distance)
    second = np.where(offset == 0, -((math.pi / width) ** 2) / 3, -2 * sign / distance**2)
    at = torch.from_numpy(x)[:, None]
    slope = flow.potential.gradient(at)[:, 0].numpy()
    generator_matrix = first * slope + second / flow.inverse_temperature
    return at, width, expm(time * generator_matrix) @ flow.initial.log_prob(at).exp().numpy()


def test_derivatives_are_those_of_the_potential():
    potential = DoubleWellPotential(1.7, -0.4)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    torch.testing.assert_close(potential.gradient(x), Potential.gradient(potential, x))
    torch.testing.assert_close(potential.hessian(x), Potential.hessian(potential, x))
    assert potential.hessian(x).shape == (41, 1, 1)


@pytest.mark.parametrize("settings", [{}, {"height": 0.5, "tilt": -0.3, "inverse_temperature": 3.0}])
@pytest.mark.parametrize("time", [0.25, 4.0])
def test_truth_agrees_with_a_spectral_method(settings, time):
    problem = build(**settings)
    x, width, density = spectral_marginal(problem.flow, time)
    truth = problem.truth(time).log_prob(x)
    heavy = density > 1e-9
    ratio = np.log(density[heavy]) - truth.numpy()[heavy]
    assert width * (density[heavy] * ratio**2).sum() < 1e-13
    assert np.abs(density - truth.exp().numpy()).max() < 1e-7


def test_truth_is_a_grid_converged_to_its_tolerance():
    problem = build()
    for time in problem.flow.times:
        law = problem.truth(time)
        assert isinstance(law, GridLaw)
        finer = reference_marginal(problem.flow, time, tolerance=1e-12)
        assert finer.cells > law.cells
        assert symmetric_divergence(finer.coarsened(finer.cells // law.cells).masses, law.masses) < 1e-10
        assert float(law.masses.sum()) == pytest.approx(1, abs=1e-13)
        assert problem.truth(time) is law


def test_mass_crosses_the_barrier():
    problem = build()
    left = [float(law.masses[law.centres() < 0].sum()) for law in map(problem.truth, problem.flow.times)]
    assert left[0] < 0.15
    assert left == sorted(left)
    assert left[-1] > 0.4


def test_late_truth_is_stationary():
    problem = build(times=(400.0,))
    law = problem.truth(400.0)
    weights = (-problem.flow.inverse_temperature * problem.flow.potential.value(law.centres()[:, None])).softmax(0)
    # Points against cell means: apart by width² / 24 times the second derivative.
    assert symmetric_divergence(law.masses, weights) < 1e-10


def test_instances():
    named, other, again, third = build(), build(1), build(1), build(2)
    assert named.flow.potential == DoubleWellPotential(1.0, 0.25)
    assert float(named.flow.initial.mean) == 0.75
    assert other.flow.potential == again.flow.potential
    assert other.flow.initial.mean == again.flow.initial.mean
    assert len({problem.flow.potential.tilt for problem in (named, other, third)}) == 3
    assert abs(other.flow.potential.tilt - 0.25) < 0.5
    assert DoubleWell().dims() == (1,)
    assert set(named.measures) <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 0.0}, "height must be a finite number > 0, got 0.0"),
        ({"height": -1.0}, "height must be"),
        ({"tilt": math.nan}, "tilt must be a finite number, got nan"),
        ({"inverse_temperature": -2.0}, "inverse_temperature must be"),
        ({"initial_mean": math.inf}, "initial_mean must be a finite number, got inf"),
        ({"initial_std": 0.0}, "initial_std must be"),
        ({"times": (1.0, 0.5)}, "times must increase"),
        ({"times": ()}, "at least one time"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"double-well: .*{message}"):
        DoubleWell(**settings)


@pytest.mark.parametrize(("dim", "seed"), [(2, 0), (0, 0), (1, -1), (1, 0.5), (1, True)])
def test_bad_sizes_are_refused(dim, seed):
    with pytest.raises(ValueError, match="double-well: "):
        DoubleWell().build(dim, seed, generator())


def test_bad_potentials_are_refused():
    with pytest.raises(ValueError, match="height must be"):
        DoubleWellPotential(-1.0, 0.0)
    with pytest.raises(ValueError, match="tilt must be"):
        DoubleWellPotential(1.0, math.inf)
