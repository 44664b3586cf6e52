"""MALA with a preconditioner: the law of its kernel, and what it learns in the warm-up and no longer."""

import itertools
import math

import pytest
import torch

from false_alarms import sigmas, student
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.samplers.mala import BLOCK_ELEMENTS, MALA, OPTIMAL_ACCEPTANCE, WINDOWS, Block, windows
from solvers.threads import block_size

CPU = torch.device("cpu")
FACTOR = torch.tensor([[1.3, 0.2], [-0.7, 0.5]], dtype=torch.float64)


def normal(dim):
    return Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))


def ill_conditioned(dim, condition=1e4):
    """N(1, C) with the eigenvalues of C from 1/√condition to √condition in random directions."""
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator(1), dtype=torch.float64))
    covariance = (basis * condition ** torch.linspace(-0.5, 0.5, dim, dtype=torch.float64)) @ basis.T
    return Gaussian(torch.ones(dim, dtype=torch.float64), 0.5 * (covariance + covariance.T))


def problem_of(law, beta=1.0):
    precision = law.covariance.inverse() / beta
    potential = Quadratic(0.5 * (precision + precision.T), law.mean)
    flow = GradientFlow(normal(len(law.mean)), FreeEnergy(potential, Entropy(beta)), (1.0,))
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


def run(problem, seed=0, **settings):
    return MALA(**settings).solve(problem, generator(seed), CPU)


def two_modes():
    means = torch.tensor([[-1.5, 0.0], [1.5, 1.0]], dtype=torch.float64)
    covariances = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, -0.4], [-0.4, 1.2]]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, covariances)


def block_at(points, beta=1.0, seed=7):
    block = Block(MixturePotential(two_modes(), beta), beta, points, generator(seed))
    block.factor = FACTOR
    return block


def test_probability_of_acceptance_is_the_ratio_of_densities():
    """min(1, π(y) q(y, x) / π(x) q(x, y)) with q(x, ·) = N(x - hΣ∇V(x), 2hΣ/β) written out."""
    beta, h = 1.7, 1.0
    potential = MixturePotential(two_modes(), beta)
    x = 2 * torch.randn(500, 2, generator=generator(6), dtype=torch.float64)
    block = block_at(x, beta)
    probability = block.step(torch.full((500,), h, dtype=torch.float64))
    preconditioner = FACTOR @ FACTOR.T
    noise = torch.empty(500, 2, dtype=torch.float64).normal_(generator=generator(7))
    y = x - h * potential.gradient(x) @ preconditioner + math.sqrt(2 * h / beta) * noise @ FACTOR.T

    def log_proposal(source, target):
        drift = source - h * potential.gradient(source) @ preconditioner
        return torch.distributions.MultivariateNormal(drift, 2 * h / beta * preconditioner).log_prob(target)

    log_ratio = beta * (potential.value(x) - potential.value(y)) + log_proposal(y, x) - log_proposal(x, y)
    torch.testing.assert_close(probability, log_ratio.exp().clamp(max=1), rtol=1e-9, atol=1e-12)
    assert 0.1 < float(probability.mean()) < 0.9
    moved = (block.points != x).any(1)
    torch.testing.assert_close(block.points[moved], y[moved])
    torch.testing.assert_close(block.gradients, potential.gradient(block.points))


def test_exact_law_is_left_as_it_is():
    """Exact draws keep all moments of order 1 and 2 over 10 large steps."""
    law = two_modes()
    block = block_at(law.sample(100_000, generator(2)))
    acceptance = block.advance(0.3, 10) / 1e6
    assert 0.3 < acceptance < 0.9
    mean, covariance = law.moments()
    centred = block.points - mean
    for i, j in ((0, 0), (0, 1), (1, 1)):
        products = centred[:, i] * centred[:, j]
        assert abs(float((products.mean() - covariance[i, j]) / products.std())) * math.sqrt(1e5) < sigmas(5)
    assert float((centred.mean(0) / centred.std(0)).abs().max()) * math.sqrt(1e5) < sigmas(5)


BUDGET = {"particles": 4000, "chains": 100, "warmup": 400, "thinning": 20}


@pytest.mark.parametrize("beta", [1.0, 25.0])
def test_moments_of_an_ill_conditioned_gaussian(beta):
    """Means and variances along its axes within their standard errors over chains.

    The variances are 1e-2 to 1e2. What the identity makes of the same budget is far from them, and R̂ says so.
    """
    law = ill_conditioned(10)
    axes = torch.linalg.eigh(law.covariance)

    def z_scores(solution):
        along = (solution.estimates[-1].points - law.mean) @ axes.eigenvectors / axes.eigenvalues.sqrt()
        means = along.view(100, 40, 10).mean(1)
        squares = (along**2).view(100, 40, 10).mean(1) - 1
        return torch.stack([each.mean(0) / (each.std(0) / math.sqrt(100)) for each in (means, squares)])

    dense = run(problem_of(law, beta), preconditioner="dense", **BUDGET)
    assert float(z_scores(dense).abs().max()) < student(100, 20)
    assert dense.diagnostics["acceptance"] == pytest.approx(OPTIMAL_ACCEPTANCE, abs=0.02)
    assert dense.diagnostics["rhat"] < 1.02
    assert dense.diagnostics["ess"] > 2000
    identity = run(problem_of(law, beta), **BUDGET)
    assert float(z_scores(identity).abs().max()) > 20
    assert identity.diagnostics["rhat"] > 1.5


def test_metric_is_the_inverse_of_the_curvature(monkeypatch):
    """The step then is that of a standard normal law, and what is left of a condition of 1e4 is less than 1.1."""
    law, factors = ill_conditioned(10), []
    advance = Block.advance
    monkeypatch.setattr(Block, "advance", lambda block, *step: factors.append(block.factor) or advance(block, *step))
    dense = run(problem_of(law), preconditioner="dense", **BUDGET)
    rates = torch.linalg.eigvalsh(factors[-1].T @ law.covariance.inverse() @ factors[-1])
    assert float(rates[-1] / rates[0]) < 1.1
    spherical = run(problem_of(normal(10)), **BUDGET)
    assert dense.diagnostics["step_size"] == pytest.approx(spherical.diagnostics["step_size"], rel=0.1)


def test_four_chains_learn_it_in_more_dimensions_than_they_are():
    solution = run(
        problem_of(ill_conditioned(20)), preconditioner="dense", chains=4, particles=2000, warmup=4000, thinning=20
    )
    assert solution.diagnostics["acceptance"] == pytest.approx(OPTIMAL_ACCEPTANCE, abs=0.05)
    assert solution.diagnostics["rhat"] < 1.05


def test_nothing_is_adapted_after_the_warm_up(monkeypatch):
    """Every sampling step has the preconditioner and the size of the first, and they differ from those before."""
    seen = []
    advance = Block.advance

    def watched(block, step_size, count):
        seen.append((block.steps, step_size, block.factor.clone()))
        return advance(block, step_size, count)

    monkeypatch.setattr(Block, "advance", watched)
    solution = run(
        problem_of(ill_conditioned(3)), preconditioner="dense", chains=20, particles=200, warmup=200, thinning=5
    )
    sampling = [(size, factor) for steps, size, factor in seen if steps >= 200]
    assert len(sampling) == 10
    assert all(size == solution.diagnostics["step_size"] for size, _ in sampling)
    assert all(torch.equal(factor, sampling[0][1]) for _, factor in sampling)
    before = [size for steps, size, _ in seen if steps < 200]
    assert len(set(before)) > 1
    assert solution.cost.gradient_evaluations == 20 * (1 + 200 + 50)


def test_results_do_not_depend_on_the_number_of_threads(on_threads):
    chains = BLOCK_ELEMENTS // 64 + 2
    settings = {"chains": chains, "particles": 4 * chains, "warmup": 200, "thinning": 1, "preconditioner": "dense"}
    assert block_size(chains, 64, BLOCK_ELEMENTS, torch.device("cpu")) < chains
    problem = problem_of(ill_conditioned(64))
    first, *others = on_threads(lambda: run(problem, **settings))
    assert all(torch.equal(first.estimates[-1].points, other.estimates[-1].points) for other in others)
    assert all(first.diagnostics == other.diagnostics for other in others)


@pytest.mark.parametrize("steps", [100, 101, 250, 1000])
def test_windows_double_and_fill_the_steps(steps):
    lengths = windows(steps)
    assert len(lengths) == WINDOWS
    assert sum(lengths) == steps
    assert lengths[0] >= 3
    assert all(abs(later - 2 * earlier) <= 2 for earlier, later in itertools.pairwise(lengths))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preconditioner": "diagonal"}, "preconditioner must be one of 'identity', 'dense'; got 'diagonal'"),
        ({"preconditioner": None}, "preconditioner must be one of 'identity', 'dense'; got None"),
        (
            {"preconditioner": "dense", "warmup": 199},
            "warmup must be at least 200 steps for a dense preconditioner, got 199",
        ),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ValueError, match=f"mala: {said}"):
        MALA(**settings)
