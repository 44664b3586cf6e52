"""The proximal fixed point against one on the full matrix, at every scale, and how it is reached."""

import math
from itertools import pairwise

import pytest
import torch

from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.particles.proximal_fixed_point import GibbsKernel, proximal_step
from solvers.particles.proximal_recursion import ProximalRecursion

CPU = torch.device("cpu")


def solve(problem, seed=0, **settings):
    return ProximalRecursion(**settings).solve(problem, generator(seed), CPU)


def in_turn(function, items):
    return [function(item) for item in items]


def dense_step(before, after, log_density, log_gibbs, regularisation, stiffness):
    """Return log ρ⁺ by block iteration on the full matrix of exponents, until the error has shrunk by 10⁻²⁰."""
    exponents = -((before[:, None] - after) ** 2).sum(2) / (2 * regularisation)
    log_z = torch.zeros_like(log_density)
    for _ in range(5 + math.ceil(46 / math.log1p(stiffness))):
        log_y = log_density - torch.logsumexp(exponents + log_z, 1)
        transposed = torch.logsumexp(exponents + log_y[:, None], 0)
        log_z = (log_gibbs - transposed) / (1 + stiffness)
    return log_z + transposed


def cloud(dim, count=200, step_size=1e-3, scale=1.0):
    """Return particles before and after a step, with log ρ and log ξ at them."""
    source = generator(dim)
    before = scale * torch.randn(count, dim, generator=source, dtype=torch.float64)
    noise = torch.randn(count, dim, generator=source, dtype=torch.float64)
    after = (1 - step_size) * before + math.sqrt(2 * step_size) * noise
    return before, after, -0.5 * (before**2).sum(1), -((before / scale - 0.3) ** 2).sum(1) - 1


@pytest.mark.parametrize("dim", [1, 2, 6, 12, 32])
def test_a_step_is_the_dense_fixed_point(dim):
    problem = OrnsteinUhlenbeck(times=(0.001,)).build(dim, 0, generator())
    found = solve(problem, particles=200, tolerance=1e-11).estimates[0]
    source = generator()
    before = problem.flow.initial.sample(200, source)
    noise = torch.randn(before.shape, generator=source, dtype=torch.float64)
    after = before - 1e-3 * problem.flow.potential.gradient(before) + math.sqrt(2e-3) * noise
    assert torch.allclose(found.points, after, rtol=0, atol=1e-12)
    expected = dense_step(
        before, after, problem.flow.initial.log_prob(before), -problem.flow.potential.value(before) - 1, 0.05, 50.0
    )
    assert float((found.log_density - expected).abs().max()) < 1e-8


EXTREMES = {
    "all alike": {"dim": 2, "regularisation": 1e6, "stiffness": 1e3},
    "all apart": {"dim": 2, "regularisation": 1e-6, "stiffness": 10.0},
    "own partner far, others near": {"dim": 1, "regularisation": 1e-5, "stiffness": 5.0, "step_size": 0.1},
    "minute": {"dim": 3, "scale": 1e-6},
    "vast": {"dim": 3, "scale": 1e4},
    "density over e^3000": {"dim": 3, "steepness": 1e3},
}


@pytest.mark.parametrize("case", EXTREMES)
def test_no_scale_overflows(case):
    settings = {"regularisation": 0.05, "stiffness": 50.0, "steepness": 1.0, "step_size": 1e-3, "scale": 1.0}
    settings |= EXTREMES[case]
    before, after, log_density, log_gibbs = cloud(
        settings["dim"], step_size=settings["step_size"], scale=settings["scale"]
    )
    log_density, log_gibbs = settings["steepness"] * log_density, settings["steepness"] * log_gibbs
    stiffness = settings["stiffness"]
    kernel = GibbsKernel(before, after, settings["regularisation"])
    found = proximal_step(kernel, log_density, log_gibbs, stiffness, torch.zeros(200).double(), 1e-10, 300, in_turn)
    expected = dense_step(before, after, log_density, log_gibbs, settings["regularisation"], stiffness)
    # Rounding is relative to the exponents that a sum is made of.
    size = max(100.0, float(expected.abs().max()))
    assert float((found.log_density - expected).abs().max()) < 1e-11 * size


@pytest.mark.parametrize("dim", [2, 32])
def test_float32_sweeps_leave_no_trace(dim, monkeypatch):
    before, after, log_density, log_gibbs = cloud(dim)
    start = torch.zeros_like(log_density)

    def step():
        return proximal_step(GibbsKernel(before, after, 0.05), log_density, log_gibbs, 50.0, start, 1e-9, 300, in_turn)

    mixed = step()
    monkeypatch.setattr("solvers.particles.proximal_fixed_point.COARSE_RESIDUAL", math.inf)
    pure = step()
    assert float((mixed.log_scaling - pure.log_scaling).abs().max()) > 0
    assert float((mixed.log_density - pure.log_density).abs().max()) < 2e-9


def test_tiles_do_not_matter(monkeypatch):
    before, after, log_density, log_gibbs = cloud(3, 700)
    start = torch.zeros_like(log_density)

    def step():
        kernel = GibbsKernel(before, after, 0.05)
        return proximal_step(kernel, log_density, log_gibbs, 50.0, start, 1e-11, 300, in_turn).log_density

    whole = step()
    monkeypatch.setattr("solvers.particles.proximal_fixed_point.TILE_BYTES", 8 * 700 * 3)
    assert float((step() - whole).abs().max()) < 1e-12


@pytest.mark.parametrize("stiffness", [0.5, 5.0, 50.0])
def test_sweeps_contract(stiffness, monkeypatch):
    monkeypatch.setattr("solvers.particles.proximal_fixed_point.COARSE_RESIDUAL", math.inf)
    before, after, log_density, log_gibbs = cloud(2)
    kernel = GibbsKernel(before, after, 0.05)
    start = torch.zeros_like(log_density)
    residuals = [
        proximal_step(kernel, log_density, log_gibbs, stiffness, start, 1e-300, sweeps, in_turn).convergence.residual
        for sweeps in range(1, 6)
    ]
    assert all(later <= earlier / (1 + stiffness) + 1e-13 for earlier, later in pairwise(residuals))


@pytest.mark.parametrize("stiffness", [1.0, 50.0])
def test_sweeps_end_at_rounding(stiffness):
    """No more are made than the contraction takes to get there, and some to see it, in float32 and in float64."""
    before, after, log_density, log_gibbs = cloud(2)
    start = torch.zeros_like(log_density)
    found = proximal_step(
        GibbsKernel(before, after, 0.05), log_density, log_gibbs, stiffness, start, 1e-300, 300, in_turn
    )
    assert found.convergence.sweeps <= math.log(1e17) / math.log1p(stiffness) + 10
    assert found.convergence.residual < 1e-12


def test_residual_bounds_the_error():
    before, after, log_density, log_gibbs = cloud(2)
    expected = dense_step(before, after, log_density, log_gibbs, 0.05, 5.0)
    for sweeps in range(1, 8):
        start = torch.zeros_like(log_density)
        found = proximal_step(
            GibbsKernel(before, after, 0.05), log_density, log_gibbs, 5.0, start, 1e-300, sweeps, in_turn
        )
        error = float((found.log_density - expected).abs().max())
        assert error <= found.convergence.residual * (1 + 1 / 5.0) + 1e-12


def test_a_factor_stays_a_factor():
    before, after, log_density, log_gibbs = cloud(2)
    start = torch.zeros_like(log_density)
    steps = [
        proximal_step(
            GibbsKernel(before, after, 0.05), log_density + shift, log_gibbs, 50.0, start, 1e-11, 300, in_turn
        )
        for shift in (0.0, 900.0)
    ]
    assert torch.allclose(steps[1].log_density - 900, steps[0].log_density, rtol=0, atol=1e-9)
