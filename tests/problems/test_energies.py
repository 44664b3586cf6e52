"""Internal energies: closed forms against derivatives, duality, scaling, and where their flows exist."""

from __future__ import annotations

import math

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow, InternalEnergy, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian
from problems.potentials import Flat, Quadratic

LOG_DENSITIES = torch.linspace(-6, 4, 41, dtype=torch.float64)
ENERGIES: list[InternalEnergy] = [
    Entropy(),
    Entropy(0.3),
    PowerEntropy(2.0),
    PowerEntropy(3.5, 0.2),
    PowerEntropy(0.7),
    PowerEntropy(0.4, 2.0),
]


def total(energy, density):
    """U(ρ), written out anew."""
    if isinstance(energy, Entropy):
        return density * density.log() / energy.inverse_temperature
    return energy.coefficient * density**energy.exponent / (energy.exponent - 1)


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_closed_forms_are_those_of_the_function(energy):
    density = LOG_DENSITIES.exp().requires_grad_()
    (slope,) = torch.autograd.grad(total(energy, density).sum(), density)
    value, density = total(energy, density).detach(), density.detach()
    torch.testing.assert_close(energy.energy(LOG_DENSITIES), value / density)
    torch.testing.assert_close(energy.derivative(LOG_DENSITIES), slope)
    torch.testing.assert_close(energy.pressure(LOG_DENSITIES), slope - value / density, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_the_conjugate_at_the_derivative_is_the_pressure(energy):
    density = LOG_DENSITIES.exp()
    slope = energy.derivative(LOG_DENSITIES)
    torch.testing.assert_close(energy.conjugate(slope), energy.pressure(LOG_DENSITIES) * density)
    # Young's inequality at every other density, so that it is the supremum.
    others = slope[:, None] * density - total(energy, density)
    assert bool((others <= energy.conjugate(slope)[:, None] + 1e-9 * (1 + others.abs())).all())


def test_the_conjugate_where_no_density_has_the_slope():
    slopes = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    porous = PowerEntropy(2.0).conjugate(slopes)
    assert porous.tolist() == [0.0, 0.0, 1.0]  # ρ = h/2, U* = ρ²
    fast = PowerEntropy(0.5).conjugate(slopes)
    assert fast.tolist() == [0.5, math.inf, math.inf]  # ρ^(-½) = 2, U* = ρ^½


def test_no_density_has_no_energy_above_exponent_one():
    nothing = torch.tensor([-math.inf], dtype=torch.float64)
    assert PowerEntropy(2.0).energy(nothing).tolist() == [0.0]
    assert PowerEntropy(2.0).pressure(nothing).tolist() == [0.0]


@pytest.mark.parametrize("step", [1e-5, -1e-5])
def test_towards_exponent_one_it_becomes_the_entropy_but_for_a_constant(step):
    power, entropy = PowerEntropy(1 + step, 0.5), Entropy(2.0)
    torch.testing.assert_close(
        power.energy(LOG_DENSITIES) - 0.5 / step, entropy.energy(LOG_DENSITIES), atol=2e-4, rtol=0
    )
    torch.testing.assert_close(power.pressure(LOG_DENSITIES), entropy.pressure(LOG_DENSITIES), atol=1e-4, rtol=0)


@pytest.mark.parametrize("exponent", [0.7, 2.0, 3.0])
def test_a_dilated_law_has_its_energy_scaled(exponent):
    """ρ(x/λ)/λⁿ has λ^(-n(m-1)) times the energy per mass, and times the pressure."""
    energy, dim, factor = PowerEntropy(exponent, 1.7), 3, 1.9
    dilated, scale = LOG_DENSITIES - dim * math.log(factor), factor ** (-dim * (exponent - 1))
    torch.testing.assert_close(energy.energy(dilated), scale * energy.energy(LOG_DENSITIES))
    torch.testing.assert_close(energy.pressure(dilated), scale * energy.pressure(LOG_DENSITIES))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "exponent must be a finite number > 0, got 0"),
        ((-1.5,), "exponent must be a finite number > 0, got -1.5"),
        ((math.nan,), "exponent must be a finite number > 0, got nan"),
        (("2",), "exponent must be a finite number > 0, got '2'"),
        ((1.0, 0.5), r"exponent must not be 1, the limit there is Entropy\(2\)"),
        ((2.0, 0.0), "coefficient must be a finite number > 0, got 0"),
        ((2.0, math.inf), "coefficient must be a finite number > 0, got inf"),
    ],
)
def test_bad_power_entropies(arguments, message):
    with pytest.raises(ValueError, match=f"power entropy: {message}"):
        PowerEntropy(*arguments)


def flow(dim, internal, interaction=None):
    eye = torch.eye(dim, dtype=torch.float64)
    return GradientFlow(Gaussian(eye[0], eye), FreeEnergy(Flat(dim), internal, interaction), (1.0,))


def test_where_a_power_entropy_has_a_flow_and_where_steps():
    for dim, exponent in ((1, 0.1), (2, 0.1), (3, 0.34), (6, 0.7)):
        flow(dim, PowerEntropy(exponent))
    for dim, exponent, bound in ((3, 0.3, "0.3333"), (3, 1 / 3, "0.3333"), (6, 0.6, "0.6667")):
        with pytest.raises(ValueError, match=f"flow: in dimension {dim} the exponent .* above 1 - 2/{dim} = {bound}"):
            flow(dim, PowerEntropy(exponent))
    assert "above 3/5" in PowerEntropy(0.6).without_step(3)
    assert PowerEntropy(0.61).without_step(3) is None
    for energy in (PowerEntropy(2.0), Entropy()):
        assert energy.without_flow(50) is None
        assert energy.without_step(50) is None


def test_only_an_entropy_has_a_temperature():
    assert flow(2, Entropy(0.25)).inverse_temperature == 0.25
    with pytest.raises(TypeError, match=r"only an Entropy .*, the internal energy is PowerEntropy\(exponent=2.0"):
        _ = flow(2, PowerEntropy(2.0)).inverse_temperature
    with pytest.raises(TypeError, match=r"only an Entropy .*, the internal energy is absent"):
        _ = flow(2, None).inverse_temperature


def test_parts_of_other_kinds_are_refused():
    well = Quadratic(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"potential must be a Potential, such as Flat\(dim\) for none, got None"):
        FreeEnergy(None, Entropy())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"internal must be an InternalEnergy or None, got 2\.0"):
        FreeEnergy(well, 2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="interaction must be an Interaction or None, got Quadratic"):
        FreeEnergy(well, Entropy(), well)  # type: ignore[arg-type]


class Slanted(QuadraticInteraction):
    """W(z) = ½|z|² + z₁/10."""

    def value(self, x):
        return super().value(x) + 0.1 * x[:, 0]


class Small(Slanted):
    """The same in a unit of energy that makes it small."""

    def value(self, x):
        return 1e-12 * super().value(x)


class Logarithmic(QuadraticInteraction):
    """W(z) = -log|z|."""

    singular = True

    def value(self, x):
        return -x.norm(dim=1).log()


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_interactions_are_checked_where_a_flow_is_made(dim):
    for sound in (QuadraticInteraction(dim), Logarithmic(dim)):
        assert flow(dim, None, sound).energy.interaction is sound
    for slanted in (Slanted(dim), Small(dim)):
        with pytest.raises(ValueError, match="flow: the interaction must be even, but W"):
            flow(dim, None, slanted)
    with pytest.raises(ValueError, match=f"initial law lives in dimension {dim}, the interaction in dimension 3"):
        flow(dim, Entropy(), QuadraticInteraction(3))


@pytest.mark.parametrize("function", [Flat(3), QuadraticInteraction(3, 0.7)], ids=repr)
def test_derivatives_are_those_of_the_value(function):
    x = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    slope = torch.func.jacrev(lambda x: function.value(x).sum())
    torch.testing.assert_close(function.gradient(x), slope(x))
    curvature = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(lambda row: function.value(row[None])[0])))(x)
    torch.testing.assert_close(function.hessian(x), curvature)
    assert function.dim == 3


@pytest.mark.parametrize("bad", [0, -1, 1.5, None])
def test_dimensions_are_whole_numbers(bad):
    for kind in (Flat, QuadraticInteraction):
        with pytest.raises(ValueError, match="size must be a whole number >= 1"):
            kind(bad)
    with pytest.raises(ValueError, match="quadratic interaction: strength must be"):
        QuadraticInteraction(2, 0.0)
