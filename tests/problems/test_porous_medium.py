import math

import pytest
import torch

from false_alarms import sigmas
from problems.barenblatt import Barenblatt, ball
from problems.energies import PowerEntropy
from problems.porous_medium import PorousMedium
from problems.potentials import Flat, Linear, Quadratic
from problems.references.released_porous_medium import released_energy, released_law, released_mass
from seeding import generator
from solvers.estimates import Exact


def build(dim=3, seed=0, **settings):
    return PorousMedium(**settings).build(dim, seed, generator(seed))


def radius(law):
    return math.sqrt(float(law.shape[0, 0]))


@pytest.mark.parametrize(
    ("dim", "exponent", "time", "expected"),
    [
        (1, 2.0, 0.0, 0.2620741394),
        (1, 2.0, 0.001, 0.3),
        (1, 2.0, 0.005, 0.3979057208),
        (1, 2.0, 0.025, 0.6240251469),
        (1, 3.0, 0.0, 0.3140457149),
        (1, 3.0, 0.025, 0.6019720319),
        (3, 2.0, 0.0, 0.41245472),
        (6, 2.0, 0.0, 0.62985263),
    ],
)
def test_published_flows_spread_from_their_start(dim, exponent, time, expected):
    problem = build(dim, instance="fan2022", exponent=exponent)
    assert problem.flow.times == (0.001, 0.005, 0.025)
    assert isinstance(problem.flow.potential, Flat)
    assert radius(problem.truth(time)) == pytest.approx(expected, abs=5e-9 if dim > 1 else 5e-11)
    assert radius(problem.flow.initial) == pytest.approx(radius(problem.truth(0.0)), rel=1e-14)


def test_published_flows_have_mass_one_and_the_released_reference_another():
    """C = k R² and u = t^(-n b)(C - k|x|²/t^(2b))₊: the mass of the formula, by its radius at t₀."""
    for dim, chosen, mass, energy in ((3, 0.4, 0.858, 3.02), (6, 0.6, 0.678, 2.68)):
        rate = 1 / (dim + 2)
        slope = rate / 4
        constant = slope * chosen**2 * 1e-3 ** (-2 * rate)
        surface = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
        edge = math.sqrt(constant / slope)
        of_formula = surface * edge ** (dim + 2) * slope * (1 / dim - 1 / (dim + 2))
        assert released_mass(dim) == pytest.approx(of_formula, rel=1e-12)
        assert released_mass(dim) == pytest.approx(mass, abs=5e-4)
        assert released_energy(dim, 0.001) == pytest.approx(energy, abs=6e-3)
        problem = build(dim, instance="fan2022-released")
        assert radius(problem.flow.initial) == pytest.approx(chosen, rel=1e-14)
        assert problem.flow.energy.internal == PowerEntropy(2.0)
        # A mean of ρ^{m-1}/(m-1) over draws of the reference
        draws = released_law(dim, 0.001).sample(20_000, generator(1))
        density = released_mass(dim) * released_law(dim, 0.001).log_prob(draws).exp()
        error = sigmas(20) * float(density.std()) / math.sqrt(len(density))
        assert released_energy(dim, 0.001) == pytest.approx(float(density.mean()), abs=error)


@pytest.mark.parametrize("dim", [3, 6])
def test_the_released_reference_moves_as_a_density_of_its_mass(dim):
    """R^q = R₀^q + M^{m-1} κ q t: the unit-mass flow from there is ahead of it, or behind."""
    truth = build(dim, instance="fan2022-released").truth(0.025)
    mass, power = released_mass(dim), dim + 2
    of_reference, of_truth = radius(released_law(dim, 0.025)) ** power, radius(truth) ** power
    start = radius(build(dim, instance="fan2022-released").flow.initial) ** power
    assert (of_reference - start) / (of_truth - start) == pytest.approx(mass, rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"confinement": 0.8}, {"tilt": 0.5}, {"confinement": 0.8, "tilt": 0.5}])
@pytest.mark.parametrize(("dim", "exponent"), [(1, 2.0), (3, 3.0), (3, 0.8)])
def test_free_energy_is_that_of_draws(dim, exponent, settings):
    problem = build(dim, instance="random", exponent=exponent, attraction=0.3, coefficient=0.7, **settings)
    law = problem.truth(0.01)
    x, other = law.sample(50_000, generator(2)), law.sample(50_000, generator(3))
    energy = problem.flow.energy
    values = (
        energy.potential.value(x) + energy.internal.energy(law.log_prob(x)) + 0.5 * energy.interaction.value(x - other)
    )
    error = sigmas(20) * float(values.std()) / math.sqrt(len(values))
    assert problem.free_energy(0.01) == pytest.approx(float(values.mean()), abs=error)
    assert problem.free_energy(0.02) < problem.free_energy(0.01) < problem.free_energy(0.0)


def test_starts_by_radius_and_by_time_since_a_point_mass():
    for dim, exponent in ((1, 2.0), (5, 2.5), (2, 0.8)):
        common = {"instance": "ball", "exponent": exponent, "coefficient": 0.3}
        later = build(dim, start_time=0.004, **common).flow.initial
        before = build(dim, start_time=0.001, **common)
        assert radius(before.truth(0.003)) == pytest.approx(radius(later), rel=1e-12)
        assert radius(build(dim, radius=0.7, **common).flow.initial) == pytest.approx(0.7)
        assert radius(build(dim, **common).flow.initial) == pytest.approx(1.0)


def test_random_instances():
    problem = build(4, 1, instance="random", radius=2.0, confinement=3.0, tilt=0.5)
    law, potential = problem.flow.initial, problem.flow.potential
    assert isinstance(law, Barenblatt)
    assert isinstance(potential, Quadratic)
    assert float(torch.linalg.det(law.shape)) == pytest.approx(2.0**8)
    semi_axes = torch.linalg.eigvalsh(law.shape).sqrt()
    assert float(semi_axes[-1]) == pytest.approx(2.0 * math.sqrt(2))
    assert float(torch.linalg.det(potential.precision)) == pytest.approx(3.0**4)
    commutator = law.shape @ potential.precision - potential.precision @ law.shape
    assert float(commutator.norm()) > 0.05 * float(law.shape.norm() * potential.precision.norm())
    gradient = potential.gradient(torch.zeros(1, 4, dtype=torch.float64))
    assert float(gradient.norm()) == pytest.approx(0.5)
    other = build(4, 2, instance="random", radius=2.0)
    assert not torch.equal(other.flow.initial.shape, law.shape)
    assert isinstance(build(4, 1, instance="random", tilt=0.5).flow.potential, Linear)


def test_measures_that_make_sense():
    assert "symkl" not in build(3).measures
    fast = build(3, instance="ball", exponent=0.8)
    assert "symkl" in fast.measures
    assert "bures-w2" in fast.measures
    heavy = build(3, instance="ball", exponent=0.5)
    assert not {"bures-w2", "sliced-w2"} & set(heavy.measures)
    assert heavy.free_energy is None
    assert fast.free_energy is not None
    assert bool(torch.isinf(heavy.truth(0.1).moments()[1].diagonal()).all())
    assert Exact(heavy.truth(0.1)).defect() is None
    assert set(heavy.measures) | set(fast.measures) | set(build(3).measures) == set(PorousMedium.measures)


def test_dimensions_that_exist():
    assert PorousMedium().dims() == (1, 3, 6)
    assert PorousMedium(exponent=0.5).dims() == (1, 3)
    assert PorousMedium(instance="fan2022-released").dims() == (3, 6)
    assert PorousMedium(instance="ball").dims() is None
    assert PorousMedium(instance="random", exponent=0.5).dims() == (1, 2, 3)
    assert PorousMedium(instance="random", exponent=0.6).dims() == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance": "fan"}, "instance must be one of 'fan2022', 'fan2022-released', 'ball', 'random'; got 'fan'"),
        ({"exponent": 0.0}, "exponent must be a finite number > 0, got 0.0"),
        ({"exponent": -1.0}, "exponent must be a finite number > 0, got -1.0"),
        ({"exponent": 1.0}, "exponent must not be 1: mckean-vlasov and ornstein-uhlenbeck diffuse so"),
        ({"coefficient": 0.0}, "coefficient must be a finite number > 0"),
        ({"instance": "ball", "radius": 0.0}, "radius must be a finite number > 0, got 0.0"),
        ({"instance": "ball", "radius": -1.0}, "radius must be a finite number > 0, got -1.0"),
        ({"instance": "ball", "start_time": 0.0}, "start_time must be a finite number > 0"),
        ({"instance": "ball", "radius": 1.0, "start_time": 1.0}, "give radius or start_time, not both"),
        ({"instance": "ball", "confinement": -1.0}, "confinement must be a finite number >= 0, got -1.0"),
        ({"instance": "ball", "attraction": math.inf}, "attraction must be a finite number >= 0, got inf"),
        ({"instance": "ball", "tilt": math.nan}, "tilt must be a finite number, got nan"),
        ({"confinement": 1.0}, "confinement must be left at 0.0, got 1.0: instance='fan2022' does not use it"),
        ({"radius": 1.0}, "radius must be left at None, got 1.0"),
        ({"instance": "fan2022-released", "exponent": 3.0}, "exponent must be left at 2.0"),
        ({"times": ()}, "at least one time"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        PorousMedium(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "dim", "seed", "message"),
    [
        ({}, 2, 0, "instance='fan2022' exists in dimensions 1, 3, 6, got 2"),
        ({"instance": "fan2022-released"}, 1, 0, "released reference exists in dimensions 3, 6, got 1"),
        ({"instance": "ball", "exponent": 0.5}, 4, 0, r"porous-medium: in dimension 4 .* above 1 - 2/4 = 0\.5"),
        (
            {"instance": "ball", "exponent": 0.5, "attraction": 1.0},
            3,
            0,
            "attraction needs a second moment: .* above 3/5",
        ),
        ({"instance": "ball"}, 0, 0, "dim must be a whole number >= 1"),
        ({"instance": "ball"}, 2, -1, "seed must be a whole number >= 0"),
    ],
)
def test_bad_sizes_and_seeds(settings, dim, seed, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(dim, seed, **settings)
    assert "\n" not in str(caught.value)


def test_a_released_reference_of_another_dimension():
    with pytest.raises(ValueError, match="dimensions 3, 6, got 2"):
        released_law(2, 0.1)


def test_the_flow_of_a_ball_is_the_one_that_is_built():
    problem = build(2, instance="ball", radius=0.5)
    assert torch.equal(problem.flow.initial.shape, ball(torch.zeros(2, dtype=torch.float64), 0.5, 2.0).shape)
    assert problem.truth(0.1) is problem.truth(0.1)


def test_a_tilted_well_is_zero_at_its_minimum():
    """½λ|x|² + τ x₁ + τ²/2λ, so that energies in a ball's well are not those of the sum without its constant."""
    potential = build(2, instance="ball", confinement=0.5, tilt=-2.0).flow.potential
    x = torch.tensor([[4.0, 0.0], [0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    assert potential.value(x) == pytest.approx(0.25 * x.square().sum(1) - 2 * x[:, 0] + 4)
