"""The solver: a box of its own, an error that it declares, and one line where box or cells are too few."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from problems.aggregation_diffusion import AggregationDiffusion
from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Density, Gaussian
from problems.potentials import Flat, Quadratic
from problems.problem import Problem
from problems.uniform import Uniform
from seeding import generator
from solvers.estimates import GridDensity
from solvers.grids.finite_volume import FiniteVolume
from solvers.solver import Diverged, Solution

CPU = torch.device("cpu")


def normal(mean: list[float], variance: float) -> Gaussian:
    return Gaussian(torch.tensor(mean, dtype=torch.float64), variance * torch.eye(len(mean), dtype=torch.float64))


def problem(initial: Density, energy: FreeEnergy, *times: float) -> Problem:
    return Problem(GradientFlow(initial, energy, times), ("symkl",), None, "not asked for")


def solve(given: Problem, **settings: object) -> Solution:
    return FiniteVolume(**settings).solve(given, generator(), CPU)  # type: ignore[arg-type]


def l1(found: Density, truth: Density, draws: int = 20_000) -> float:
    """Return ∫|ρ - σ| by draws from half of each, with which it is a mean of numbers from 0 to 2."""
    x = torch.cat([found.sample(draws, generator(1)), truth.sample(draws, generator(2))])
    p, q = found.log_prob(x).exp(), truth.log_prob(x).exp()
    return float(((p - q).abs() / (0.5 * (p + q))).mean())


@pytest.mark.parametrize("dim", [1, 2])
def test_mckean_and_vlasov(dim: int) -> None:
    """With V = ½κ|x|² and W = ½λ|z|² the mean moves by κ, the variance by κ + λ."""
    kappa, attraction, beta, t = 0.5, 1.0, 2.0, 0.5
    well = Quadratic(kappa * torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64))
    energy = FreeEnergy(well, Entropy(beta), QuadraticInteraction(dim, attraction))
    start = normal([1.0, -0.5][:dim], 0.25)
    solution = solve(problem(start, energy, 0.1, t), cells=200 if dim == 1 else 64)
    rate = kappa + attraction
    variance = 0.25 * math.exp(-2 * rate * t) + (1 - math.exp(-2 * rate * t)) / (beta * rate)
    truth = normal((math.exp(-kappa * t) * start.mean).tolist(), variance)
    found = solution.estimates[-1].density
    assert isinstance(found, GridDensity) == (dim == 1)
    error, declared = l1(found, truth), float(solution.diagnostics["error_l1"])  # type: ignore[arg-type]
    assert 0.4 * declared < error < 2 * declared
    assert error < 4e-3
    assert float(solution.diagnostics["mass_defect"]) < 1e-12
    assert float(solution.diagnostics["observed_order"]) > (1.7 if dim == 1 else 1.2)
    # The energy of a Gaussian law in closed form: ½κ(|m|² + Ds) - (D/2β)(1 + log 2πs) + ½λDs.
    mean = float(truth.mean.square().sum())
    exact = 0.5 * kappa * (mean + dim * variance) + 0.5 * attraction * dim * variance
    exact -= dim / (2 * beta) * (1 + math.log(2 * math.pi * variance))
    assert abs(float(solution.diagnostics["free_energy"]) - exact) < 1e-3
    energies = solution.traces["free_energy"]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(energies))
    assert len(solution.traces["mass"]) == len(energies) == solution.diagnostics["steps"]


def test_box_grows_with_the_support() -> None:
    """A narrow start spreads to R = (3·3·t)^⅓ for m = 2 on the line: the box holds it, and little more."""
    energy = FreeEnergy(Flat(1), PowerEntropy(2.0))
    solution = solve(problem(Uniform(*torch.tensor([[1.0], [0.02]], dtype=torch.float64)), energy, 1.0), cells=120)
    radius = 9.0 ** (1 / 3)
    lower, upper = (float(solution.diagnostics[end]) for end in ("box_lower_0", "box_upper_0"))
    assert 1 - 1.4 * radius < lower < 1 - radius
    assert 1 + radius < upper < 1 + 1.4 * radius


def test_a_box_that_is_too_small_is_named() -> None:
    energy = FreeEnergy(Flat(1), PowerEntropy(2.0))
    start = Uniform(*torch.tensor([[0.0], [0.5]], dtype=torch.float64))
    with pytest.raises(Diverged, match=r"has come to the wall of the box at x\[0\] = -?1: the box must be larger"):
        solve(problem(start, energy, 1.0), cells=64, box=((-1.0, 1.0),))
    with pytest.raises(ValueError, match=r"catch mass 0\.5"):
        solve(problem(start, energy, 1.0), cells=64, box=((0.0, 4.0),))


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="limiter must be between 1 and 2, got 3"):
        FiniteVolume(limiter=3.0)
    with pytest.raises(ValueError, match="cells must be a whole number >= 16, got 8"):
        FiniteVolume(cells=8)
    with pytest.raises(ValueError, match="box must be one or two pairs"):
        FiniteVolume(box=((1.0, 0.0),))
    shown = problem(normal([0.0], 1.0), FreeEnergy(Flat(1), Entropy(1.0)), 1.0)
    assert FiniteVolume(box=((-1.0, 1.0),) * 2).refusal(shown) == "the box has 2 sides, the problem 1 dimension"


def test_merging_clusters_on_published_grids() -> None:
    """Energies of an independent code on 64² cells of [-4, 4]², and that of 128² at time 50 to a hundredth."""
    given = AggregationDiffusion(times=(10.0, 20.0, 30.0, 50.0)).build(2, 0, generator())
    assert given.truth is None
    solution = solve(given, cells=64, box=((-4.0, 4.0),))
    times, energies = solution.traces["time"], solution.traces["free_energy"]
    at = {t: energies[list(times).index(t)] for t in given.flow.times}
    assert at == pytest.approx({10.0: -0.012300, 20.0: -0.013597, 30.0: -0.015491, 50.0: -0.022170}, abs=2e-6)
    assert at[50.0] == pytest.approx(-0.022404, rel=0.011)
