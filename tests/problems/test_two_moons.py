"""Two moons: the constant by quadrature, the flow's own law, the free energy of the target, refused settings."""

import math

import pytest
import torch

from harness.measure.evidence import EvidenceGap
from harness.measure.free_energy import EnergyGap, FreeEnergyOfFit
from harness.measure.measure import Subject
from harness.measure.modes import ModeWeights
from problems.laws import Gaussian, GaussianMixture
from problems.two_moons import TwoMoons, centres
from seeding import generator
from solvers.estimates import Exact, Particles


def built(**settings):
    return TwoMoons(**settings).build(2, 0, generator())


@pytest.mark.parametrize("inverse_temperature", [1.0, 2.5])
def test_the_constant_by_the_trapezoidal_rule(inverse_temperature):
    problem = built(inverse_temperature=inverse_temperature)
    axis = torch.linspace(-6, 6, 801, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    total = float((-inverse_temperature * problem.flow.potential.value(x)).exp().sum()) * (12 / 800) ** 2
    assert math.log(total) == pytest.approx(problem.evidence.log_value, abs=1e-9)
    assert problem.evidence.log_value == pytest.approx(math.log(16 * 2 * math.pi * 0.3**2))


def test_the_gradient_is_that_of_the_value():
    potential = built(inverse_temperature=1.7).flow.potential
    x = torch.randn(50, 2, generator=generator(1), dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(potential.value(x).sum(), x)
    torch.testing.assert_close(slope, potential.gradient(x.detach()))


def test_two_moons_of_eight_about_the_origin():
    found = centres(1.5)
    assert found.shape == (16, 2)
    torch.testing.assert_close(found.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    upper, lower = found[:8] + 1.5 * torch.tensor([0.5, 0.25]), found[8:] - 1.5 * torch.tensor([0.5, 0.25])
    for moon, side in ((upper, 1), (lower, -1)):
        torch.testing.assert_close(moon.norm(dim=1), torch.full((8,), 1.5, dtype=torch.float64))
        assert bool((side * moon[:, 1] > -1e-12).all())


def test_measures_are_at_their_best_at_the_truth():
    problem = built()
    truth = problem.truth(3.0)
    assert isinstance(truth, GaussianMixture)
    exact = Subject(Exact(truth), truth, problem, 3.0)
    assert EvidenceGap()(exact, 500, generator(2)).value == pytest.approx(0.0, abs=1e-12)
    assert FreeEnergyOfFit()(exact, 500, generator(2)).value == pytest.approx(-problem.evidence.log_value, abs=1e-12)
    assert EnergyGap()(exact, 500, generator(2)).value == 0
    draws = Subject(Particles(truth.sample(20_000, generator(3))), truth, problem, 3.0)
    assert ModeWeights()(draws, 500, generator(4)).value < 0.02
    half = Subject(Exact(Gaussian(truth.moments()[0] + 1.0, truth.moments()[1])), truth, problem, 3.0)
    assert ModeWeights()(half, 5000, generator(4)).value > 0.1


def test_the_flow_has_all_but_arrived():
    law, target = built(truth="marginal").truth(3.0), built().truth(3.0)
    points, masses = law.quadrature()
    divergence = float((masses * (law.log_prob(points) - target.log_prob(points))).sum())
    assert 0 < divergence < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": 0.0}, "radius must be a finite number > 0, got 0.0"),
        ({"width": -1.0}, "width must be a finite number > 0, got -1.0"),
        ({"truth": "exact"}, "truth must be one of 'stationary', 'marginal'; got 'exact'"),
        ({"times": ()}, "times must hold at least one time"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match="two-moons") as refusal:
        TwoMoons(**settings)
    assert message in str(refusal.value)


def test_it_exists_in_the_plane_only():
    assert TwoMoons().dims() == (2,)
    with pytest.raises(ValueError, match="two-moons: exists in dimension 2 only, got 3"):
        TwoMoons().build(3, 0, generator())
