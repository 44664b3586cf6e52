"""Finite volumes against closed forms, and what is proved of them: positive, conservative, of falling energy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from balls import ball, radius_from_point
from problems.arrays import Reals
from problems.barenblatt import Barenblatt
from problems.double_well import DoubleWellPotential
from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.interactions import GaussianAttraction, LogarithmicInteraction, QuadraticInteraction
from problems.laws import Density, Gaussian, GaussianMixture
from problems.potentials import Flat, Quadratic
from problems.references.finite_volumes import FiniteVolumes, equal_cells
from problems.references.finite_volumes_box import initial_density
from problems.references.finite_volumes_marginals import coarsened, marginals
from problems.references.finite_volumes_steps import Stuck, Trace, march
from problems.references.grid_law import GridLaw
from problems.references.marginals_1d import reference_marginal
from seeding import numpy_generator


def barenblatt(exponent: float, time: float, size: int = 1) -> Barenblatt:
    """Return what a point becomes in the flow of Δρᵐ."""
    return ball(size, radius_from_point(size, exponent, time), exponent=exponent)


def normal(mean: float, variance: float, size: int = 1) -> Gaussian:
    return Gaussian(torch.full((size,), mean, dtype=torch.float64), variance * torch.eye(size, dtype=torch.float64))


def flat(internal: object, interaction: object = None, size: int = 1) -> FreeEnergy:
    return FreeEnergy(Flat(size), internal, interaction)  # type: ignore[arg-type]


def solved(
    energy: FreeEnergy, start: Density, time: float, reach: float, cells: int
) -> tuple[FiniteVolumes, Reals, Trace]:
    box = (-reach,) * start.dim, (reach,) * start.dim
    scheme, trace = FiniteVolumes(energy, *box, (cells,) * start.dim), Trace()
    (found,) = march(scheme, initial_density(start, *box, scheme.shape), (time,), trace)
    return scheme, found, trace


def distance(scheme: FiniteVolumes, density: Reals, truth: Density) -> float:
    exact = initial_density(truth, scheme.lower, scheme.upper, scheme.shape)
    return scheme.volume * float(np.abs(density - exact).sum())


@pytest.mark.parametrize(("exponent", "order"), [(2.0, 1.6), (3.0, 0.6)])
def test_order_of_convergence(exponent: float, order: float) -> None:
    errors = {}
    for cells in (50, 100, 200, 400):
        start, end = barenblatt(exponent, 0.002), barenblatt(exponent, 0.022)
        scheme, density, _ = solved(flat(PowerEntropy(exponent)), start, 0.02, 1.0, cells)
        errors[cells] = distance(scheme, density, end)
    # At each doubling; over all of them 2 for m = 2, 1.2 for m = 3, whose edge is the root of the distance.
    assert all(errors[cells] > 2**order * errors[2 * cells] for cells in (50, 100, 200))
    if exponent == 2:
        assert math.log(errors[50] / errors[400]) / math.log(8) > 1.8
        assert errors[50] < 9.5e-4
        assert errors[400] < 2.1e-5


def test_order_of_convergence_in_the_plane() -> None:
    start, end = barenblatt(2.0, 0.002, 2), barenblatt(2.0, 0.022, 2)
    errors = []
    for cells in (32, 64):
        scheme, density, _ = solved(flat(PowerEntropy(2.0), size=2), start, 0.02, 0.85, cells)
        errors.append(distance(scheme, density, end))
    assert errors[0] < 1.7e-3
    assert errors[0] > 2**1.7 * errors[1]


ENERGIES = {
    "porous": flat(PowerEntropy(2.0)),
    "fast": flat(PowerEntropy(0.6)),
    "heat": flat(Entropy(2.0)),
    "double well": FreeEnergy(DoubleWellPotential(1.0, 0.2), PowerEntropy(3.0, 0.1)),
    "log gas": flat(None, LogarithmicInteraction(1)),
    "gathering": flat(None, QuadraticInteraction(1)),
    "aggregation-diffusion": flat(PowerEntropy(3.0, 0.1), GaussianAttraction(1)),
    "porous in the plane": flat(PowerEntropy(2.0), size=2),
    "Keller-Segel": flat(Entropy(1.0), LogarithmicInteraction(2, repulsion=-0.5, attraction=0.0), size=2),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_positive_conservative_and_with_a_falling_energy(name: str) -> None:
    energy = ENERGIES[name]
    dim = energy.potential.dim
    shape = (80,) if dim == 1 else (24, 20)
    # Rough, with holes, and with cells beside each other that differ by orders of magnitude.
    random = numpy_generator(3).random(shape)
    density = np.where(random < 0.3, 0.0, np.exp(6 * random))
    scheme, trace = FiniteVolumes(energy, (-2.0,) * dim, (2.0,) * dim, shape), Trace()
    density /= density.sum() * scheme.volume
    seen: list[float] = []
    for found in march(scheme, density, (0.01, 0.3), trace, lambda _, each: seen.append(float(each.min()))):
        assert np.isfinite(found).all()
    assert min(seen) >= 0
    assert len(seen) == len(trace.times) > 5
    assert max(abs(mass - 1) for mass in trace.masses) < 1e-12
    scale = 1e-12 * (1 + max(map(abs, trace.energies)))
    assert max(np.diff(trace.energies)) <= scale
    assert trace.energies[0] - trace.energies[-1] > 1e-3


def test_rate_dissipates_at_least_what_is_proved() -> None:
    energy = flat(PowerEntropy(2.0), GaussianAttraction(2), size=2)
    scheme = FiniteVolumes(energy, (-1.0, -1.0), (1.0, 1.0), (16, 12))
    density = numpy_generator(1).random((16, 12))
    rate, step = scheme.rate(density), 1e-6
    ahead, behind = (scheme.state(density + sign * step * rate).energy for sign in (1, -1))
    slope, bound = scheme._parts(density)[0], 0.0
    for axis, width in enumerate(scheme.widths):
        velocity = -np.diff(slope, axis=axis) / width
        sides = np.stack(
            [density.take(range(density.shape[axis] - 1), axis), density.take(range(1, density.shape[axis]), axis)]
        )
        # Face values are at least nothing, and where the slopes are zero the densities beside.
        bound += float((velocity**2 * sides.max(0)).sum()) * scheme.volume
    fall = (ahead - behind) / (2 * step)
    assert -2 * bound <= fall < 0
    assert abs(float(rate.sum())) < 1e-12 * float(np.abs(rate).sum())


def test_heat_and_a_well_have_gaussian_laws() -> None:
    scheme, density, _ = solved(flat(Entropy(1.0)), normal(0.0, 0.25), 0.5, 7.0, 200)
    assert distance(scheme, density, normal(0.0, 1.25)) < 6e-4
    well = FreeEnergy(Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)), Entropy(1.0))
    decay = math.exp(-1.0)
    scheme, density, _ = solved(well, normal(1.0, 0.25), 1.0, 7.0, 200)
    assert distance(scheme, density, normal(decay, 0.25 * decay**2 + 1 - decay**2)) < 6e-4


def test_double_well_agrees_with_the_reference_of_the_fokker_planck_equation() -> None:
    flow = GradientFlow(normal(0.75, 0.25), FreeEnergy(DoubleWellPotential(1.0, 0.25), Entropy(2.0)), (1.0,))
    found = marginals(flow, ((-3.5,), (3.5,)), (160,))
    law = found.law(0)
    assert isinstance(law, GridLaw)
    truth = reference_marginal(flow, 1.0, tolerance=1e-6)
    edges = law.edges()
    error = float((law.masses - truth.cumulative(edges).diff()).abs().sum())
    assert error < 3e-3
    # What it declares is what it is off by.
    assert 0.5 * error < found.errors[0] < 2 * error


def test_log_gas_keeps_the_semicircle_and_comes_to_it() -> None:
    """R² = 2 + (R₀² - 2) e^{-2t}; from N(0, 1) the density at 0 is that of a free convolution (Biane 1997)."""
    gas = flat(None, LogarithmicInteraction(1))
    scheme, density, _ = solved(gas, ball(1, exponent=3.0), 1.0, 1.6, 160)
    assert distance(scheme, density, ball(1, math.sqrt(2 - math.exp(-2.0)), exponent=3.0)) < 0.012
    scheme, density, _ = solved(gas, normal(0.0, 1.0), 1.0, 5.0, 200)
    assert float(density[99:101].mean()) == pytest.approx(0.429843, abs=2e-4)
    variance = scheme.volume * float((density * scheme.centres()[:, 0].numpy() ** 2).sum())
    assert variance == pytest.approx(0.5 + 0.5 * math.exp(-2.0), abs=1e-3)


def test_quadratic_attraction_shrinks_a_law_about_its_mean() -> None:
    scheme, density, _ = solved(flat(None, QuadraticInteraction(1)), normal(0.5, 0.25), 0.5, 3.0, 240)
    assert distance(scheme, density, normal(0.5, 0.25 * math.exp(-1.0))) < 1e-3


def test_fast_diffusion_keeps_its_power_tails() -> None:
    # ρ = Z R⁻¹ (1 + x²/R²)^(-k), k = 1/(1 - m), R^q = q κ t, q = 1 + m, κ = 2m/(1 - m) Z^(m-1), as for m > 1.
    m = 0.6
    k, q = 1 / (1 - m), 1 + m
    peak = math.gamma(k) / (math.sqrt(math.pi) * math.gamma(k - 0.5))
    kappa = 2 * m / (1 - m) * peak ** (m - 1)
    scheme = FiniteVolumes(flat(PowerEntropy(m)), (-30.0,), (30.0,), (600,))
    x = scheme.centres()[:, 0].numpy()

    def density(time: float) -> Reals:
        radius = (q * kappa * time) ** (1 / q)
        found = peak / radius * (1 + (x / radius) ** 2) ** -k
        return np.asarray(found / (found.sum() * scheme.volume))

    (found,) = march(scheme, density(0.1), (0.1,), Trace())
    assert scheme.volume * float(np.abs(found - density(0.2)).sum()) < 4e-3


def test_two_bumps_that_merge_are_the_same_shifted_turned_and_on_finer_cells() -> None:
    """In the plane, two bumps along a diagonal, along the other, and moved; all by a reference of twice the cells."""
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    narrow = (0.02 * torch.eye(2, dtype=torch.float64)).repeat(2, 1, 1)

    def bumps(first: tuple[float, float], shift: float) -> GaussianMixture:
        mean = torch.tensor(first, dtype=torch.float64)
        return GaussianMixture(half, torch.stack([mean + shift, shift - mean]), narrow)

    found = []
    for first, shift, cells in (
        ((0.3, 0.3), 0.0, 48),
        ((-0.3, 0.3), 0.0, 48),
        ((0.3, 0.3), 0.5, 48),
        ((0.3, 0.3), 0.0, 96),
    ):
        box = (shift - 1.5,) * 2, (shift + 1.5,) * 2
        scheme = FiniteVolumes(flat(PowerEntropy(2.0), size=2), *box, (cells, cells))
        (density,) = march(scheme, initial_density(bumps(first, shift), *box, scheme.shape), (0.1,), Trace())
        found.append(density)
    np.testing.assert_allclose(found[1][::-1], found[0], atol=1e-10)
    np.testing.assert_allclose(found[2], found[0], atol=1e-9)
    np.testing.assert_allclose(found[0].T, found[0], atol=1e-10)
    area = (3 / 48) ** 2
    assert area * float(np.abs(coarsened(found[3], 2) - found[0]).sum()) < 6e-3
    assert found[0].max() > 0.2


def test_bad_input_is_named() -> None:
    steep = Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    broken = FreeEnergy(DoubleWellPotential(1e300, 0.0), Entropy(1.0))
    with pytest.raises(ValueError, match="potential is not finite at x"):
        FiniteVolumes(broken, (-1e60,), (1e60,), (16,))
    with pytest.raises(ValueError, match=r"16 cells of the box from \(-1\) to \(1\) catch mass 0.68"):
        initial_density(normal(0.0, 1.0), (-1.0,), (1.0,), (16,))
    scheme = FiniteVolumes(FreeEnergy(steep, Entropy(1.0)), (-1.0,), (1.0,), (16,))
    with pytest.raises(Stuck, match="not finite at t = 0"):
        list(march(scheme, np.full(16, np.nan), (1.0,), Trace()))


def test_cells_are_near_square_and_can_be_coarsened_twice() -> None:
    assert equal_cells(100, (0.0,), (1.0,)) == (100,)
    assert equal_cells(102, (0.0, 0.0), (2.0, 1.0)) == (104, 52)
    assert equal_cells(64, (0.0, 0.0), (1.0, 1e-3)) == (64, 8)
