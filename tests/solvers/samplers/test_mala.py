import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from false_alarms import FALSE_ALARM, student
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Empirical, Gaussian, GaussianMixture
from problems.logistic_regression import LogisticRegression
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential, Potential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.samplers.mala import BLOCK_ELEMENTS, MALA, OPTIMAL_ACCEPTANCE, Block
from solvers.solver import Diverged
from solvers.threads import block_size

CPU = torch.device("cpu")
PRECISION = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
CENTRE = torch.tensor([1.0, -2.0], dtype=torch.float64)


def eye(dim):
    return torch.eye(dim, dtype=torch.float64)


def gaussian(dim=2, variance=1.0):
    return Gaussian(torch.zeros(dim, dtype=torch.float64), variance * eye(dim))


def stationary(potential, initial, inverse_temperature=1.0, times=(1.0,)):
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(inverse_temperature)), times)
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


def run(problem, seed=0, **settings):
    return MALA(**settings).solve(problem, generator(seed), CPU)


def by_chain(solution, chains):
    points = solution.estimates[-1].points
    return points.view(chains, -1, points.shape[1])


def z_scores(statistics, truth):
    """How far the mean over chains of ``statistics`` (chains, draws, k) is from ``truth`` (k,), in standard errors."""
    means = statistics.mean(1)
    return (means.mean(0) - truth) / (means.std(0) / math.sqrt(len(means)))


CHAINS = 250
FAR = student(CHAINS, 6)


@dataclass(frozen=True, eq=False)
class Tilted(Potential):
    """V = (x² - 1)² + x/2: two wells of unequal depth in one dimension, with derivatives in closed form."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return ((x * x - 1) ** 2 + 0.5 * x)[:, 0]

    def gradient(self, x):
        return 4 * x * (x * x - 1) + 0.5


GRID = np.linspace(-4, 4, 80_001)


def tilted_law(beta):
    """CDF of exp(-βV) on ``GRID``, from quadrature."""
    density = np.exp(-beta * ((GRID**2 - 1) ** 2 + 0.5 * GRID))
    cdf = scipy.integrate.cumulative_trapezoid(density, GRID, initial=0)
    return cdf / cdf[-1]


def tilted_draws(n, beta, seed):
    uniform = torch.rand(n, generator=generator(seed), dtype=torch.float64).numpy()
    return torch.from_numpy(np.interp(uniform, tilted_law(beta), GRID))[:, None]


def ks_p_value(points, beta):
    return scipy.stats.kstest(points.flatten().numpy(), lambda x: np.interp(x, GRID, tilted_law(beta))).pvalue


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_exact_law_is_left_as_it_is(beta):
    """40,000 exact draws keep their law over 10 large steps; without the rejections they do not."""
    points, h = tilted_draws(40_000, beta, seed=1), 0.06
    assert ks_p_value(points, beta) > FALSE_ALARM / 2
    block = Block(Tilted(), beta, points, generator(2))
    acceptance = block.advance(h, 10) / 400_000
    assert 0.3 < acceptance < 0.95
    assert not torch.equal(block.points, points)
    assert ks_p_value(block.points, beta) > FALSE_ALARM / 2
    unadjusted, noise = points, generator(3)
    for _ in range(10):
        step = torch.randn(points.shape, generator=noise, dtype=torch.float64)
        unadjusted = unadjusted - h * Tilted().gradient(unadjusted) + math.sqrt(2 * h / beta) * step
    assert ks_p_value(unadjusted, beta) < 1e-8


def test_detailed_balance():
    """(X, X') and (X', X) have one law for X exact: E f(X)g(X') = E g(X)f(X'), for three f, g at level 1e-4 each."""
    start = tilted_draws(400_000, 1.0, seed=4)
    block = Block(Tilted(), 1.0, start, generator(5))
    block.advance(0.12, 1)
    end = block.points
    functions = [(torch.sin, torch.exp), (torch.abs, torch.sign), (torch.tanh, lambda x: (x > 0.9).double())]
    for f, g in functions:
        difference = f(start) * g(end) - g(start) * f(end)
        z = float(difference.mean() / (difference.std() / math.sqrt(len(start))))
        assert abs(z) < scipy.stats.norm.isf(0.5e-4)


def test_probability_of_acceptance_is_the_ratio_of_densities():
    """min(1, π(y) q(y, x) / π(x) q(x, y)) with π and the density q of the proposal written out."""
    beta, h = 1.7, 0.2
    potential = MixturePotential(two_modes(), beta)
    x = 2 * torch.randn(500, 2, generator=generator(6), dtype=torch.float64)
    block = Block(potential, beta, x, generator(7))
    probability = block.step(torch.full((500,), h, dtype=torch.float64))
    noise = torch.empty(500, 2, dtype=torch.float64).normal_(generator=generator(7))
    y = x - h * potential.gradient(x) + math.sqrt(2 * h / beta) * noise

    def log_proposal(source, target):
        drift = source - h * potential.gradient(source)
        return torch.distributions.Normal(drift, math.sqrt(2 * h / beta)).log_prob(target).sum(1)

    log_ratio = beta * (potential.value(x) - potential.value(y)) + log_proposal(y, x) - log_proposal(x, y)
    torch.testing.assert_close(probability, log_ratio.exp().clamp(max=1), rtol=1e-9, atol=1e-12)
    moved = (block.points != x).any(1)
    assert torch.equal(block.points[moved], y[moved])
    torch.testing.assert_close(block.values, potential.value(block.points))
    torch.testing.assert_close(block.gradients, potential.gradient(block.points))


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_gaussian_moments(beta):
    """Mean and all second moments within their standard errors over independent chains."""
    solution = run(stationary(Quadratic(PRECISION, CENTRE), gaussian(2, 9.0), beta), particles=20_000, warmup=300)
    states = by_chain(solution, 250)
    centred = states - CENTRE
    products = torch.stack([centred[..., 0] ** 2, centred[..., 1] ** 2, centred[..., 0] * centred[..., 1]], dim=2)
    covariance = torch.linalg.inv(PRECISION) / beta
    assert float(z_scores(states, CENTRE).abs().max()) < FAR
    truth = torch.stack([covariance[0, 0], covariance[1, 1], covariance[0, 1]])
    assert float(z_scores(products, truth).abs().max()) < FAR
    # The test has power: an error of 5 % of a deviation would be seen.
    assert float((states.mean(1).std(0) / math.sqrt(250) / covariance.diagonal().sqrt()).max()) < 0.05 / FAR
    assert solution.diagnostics["rhat"] < 1.05
    assert 5000 < solution.diagnostics["ess"] <= 25_000


def two_modes():
    means = torch.tensor([[-1.5, 0.0], [1.5, 1.0]], dtype=torch.float64)
    covariances = torch.stack([eye(2), torch.linalg.inv(PRECISION)])
    return GaussianMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, covariances)


def test_mixture_moments_and_weights():
    """All chains start between the modes, and find mean, second moments and the weight of each."""
    law = two_modes()
    settings = {"particles": 20_000, "chains": 500, "warmup": 600, "thinning": 20}
    solution = run(stationary(MixturePotential(law), gaussian(2, 0.01)), **settings)
    states = by_chain(solution, 500)
    mean, covariance = law.moments()
    assert float(z_scores(states, mean).abs().max()) < FAR
    assert float(z_scores((states - mean) ** 2, covariance.diagonal()).abs().max()) < FAR
    exact = law.sample(400_000, generator(9))
    right = (states[..., :1] > 0).double()
    share = float((exact[:, 0] > 0).double().mean())
    error = math.hypot(float(right.mean(1).std() / math.sqrt(500)), math.sqrt(share * (1 - share) / len(exact)))
    assert abs(float(right.mean()) - share) < FAR * error
    assert error < 0.01


@pytest.mark.parametrize("dim", [1, 8, 64])
def test_acceptance_is_at_its_target(dim):
    solution = run(stationary(Quadratic(4 * eye(dim), gaussian(dim).mean), gaussian(dim)), particles=2000)
    assert solution.diagnostics["acceptance"] == pytest.approx(OPTIMAL_ACCEPTANCE, abs=0.02)


def test_step_scales_with_the_dimension():
    """h ~ D^{-1/3} (Roberts, Rosenthal 1998): from D = 16 to 256 it falls to 0.40 of its size."""
    settings = {"chains": 50, "particles": 200, "thinning": 1, "warmup": 400}
    steps = [
        run(stationary(Quadratic(eye(dim), gaussian(dim).mean), gaussian(dim)), **settings).diagnostics["step_size"]
        for dim in (16, 256)
    ]
    assert steps[1] / steps[0] == pytest.approx(16 ** (-1 / 3), rel=0.15)


def test_chains_that_start_where_the_potential_is_steep_come_down():
    """V grows like x⁴: at |x| = 50 the common step is never accepted, one of its own is."""
    solution = run(stationary(Tilted(), gaussian(1, 50.0**2)), particles=4000, warmup=1000, thinning=10)
    assert float(solution.estimates[-1].points.abs().max()) < 4
    assert solution.diagnostics["acceptance"] == pytest.approx(OPTIMAL_ACCEPTANCE, abs=0.02)


def test_chains_that_cannot_cross_are_told():
    """Modes 20 deviations apart: each chain stays in its own, R̂ says so, the effective size is that of the chains."""
    means = torch.tensor([[-10.0], [10.0]], dtype=torch.float64)
    law = GaussianMixture(torch.tensor([0.5, 0.5]).double(), means, torch.ones(2, 1, 1, dtype=torch.float64))
    solution = run(stationary(MixturePotential(law), gaussian(1, 100.0)), particles=5000, warmup=200)
    assert solution.diagnostics["rhat"] > 1.5
    assert solution.diagnostics["ess"] < 2 * 250


@dataclass(frozen=True, eq=False)
class HalfLine(Potential):
    """x²/2 for x > 0 and infinite elsewhere, where the gradient is NaN."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return torch.where(x > 0, 0.5 * x * x, math.inf)[:, 0]

    def gradient(self, x):
        return torch.where(x > 0, x, math.nan)


@dataclass(frozen=True, eq=False)
class Positive(Gaussian):
    """Draws of |N(0, C)|."""

    def sample(self, n, generator):
        return super().sample(n, generator).abs()


def test_places_without_mass_are_never_entered():
    start = gaussian(1)
    problem = stationary(HalfLine(), Positive(start.mean, start.covariance))
    states = by_chain(run(problem, particles=10_000, warmup=300), 250)
    assert float(states.min()) > 0
    assert float(z_scores(states, math.sqrt(2 / math.pi)).abs()) < FAR
    assert float(z_scores(states**2, 1.0).abs()) < FAR


def test_answer_is_chain_by_chain_at_every_time():
    problem = stationary(Quadratic(PRECISION, CENTRE), gaussian(), times=(0.5, 2.0))
    settings = {"chains": 4, "warmup": 20, "thinning": 1}
    short, long = run(problem, particles=16, **settings), run(problem, particles=40, **settings)
    assert long.times == (0.5, 2.0)
    assert torch.equal(long.estimates[0].points, long.estimates[1].points)
    assert torch.equal(by_chain(short, 4), by_chain(long, 4)[:, :4])
    assert long.cost.gradient_evaluations == 4 * (1 + 20 + 10)


def test_results_do_not_depend_on_the_number_of_threads(on_threads):
    chains = BLOCK_ELEMENTS // 2 + 3
    problem = stationary(MixturePotential(two_modes()), gaussian(2, 4.0))
    first, *others = on_threads(lambda: run(problem, chains=chains, particles=4 * chains, warmup=20, thinning=2))
    assert all(torch.equal(first.estimates[-1].points, other.estimates[-1].points) for other in others)
    assert all(first.diagnostics == other.diagnostics for other in others)


def test_blocks_have_noise_of_their_own():
    """Chains that all start at one point part, those at the same place in different blocks too."""
    chains = BLOCK_ELEMENTS // 2 * 2
    law = Empirical(torch.ones(1, 2, dtype=torch.float64), torch.ones(2), torch.zeros(2, 2))
    settings = {"chains": chains, "particles": 4 * chains, "warmup": 20, "thinning": 1}
    assert block_size(chains, 2, BLOCK_ELEMENTS, torch.device("cpu")) == chains // 2
    last = by_chain(run(stationary(Quadratic(PRECISION, CENTRE), law), **settings), chains)[:, -1]
    assert len(last.unique(dim=0)) == chains


@dataclass(frozen=True, eq=False)
class Undefined(Potential):
    """½‖x‖², but NaN beyond ``radius``, in the value or in the gradient."""

    radius: float
    where: str

    @property
    def dim(self):
        return 2

    def value(self, x):
        value = 0.5 * (x * x).sum(1)
        return value.masked_fill((x.norm(dim=1) > self.radius) & (self.where == "value"), math.nan)

    def gradient(self, x):
        return x.masked_fill(((x.norm(dim=1) > self.radius) & (self.where == "gradient"))[:, None], math.nan)


@pytest.mark.parametrize("where", ["value", "gradient"])
def test_potential_that_is_undefined_in_places(where):
    problem = stationary(Undefined(1.5, where), gaussian())
    with pytest.raises(Diverged, match=r"V or ∇V is not finite at \d+ of 250 draws of the initial law"):
        run(problem)
    problem = stationary(Undefined(3.0, where), gaussian(2, 0.01))
    with pytest.raises(Diverged, match=r"V or ∇V is NaN, or V is -inf, at \d+ of 250 proposals in step \d+"):
        run(problem)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"particles": 0}, "particles must be a whole number >= 1, got 0"),
        ({"chains": 3}, "chains must be a whole number >= 4, got 3"),
        ({"warmup": 19}, "warmup must be a whole number >= 20, got 19"),
        ({"thinning": 0}, "thinning must be a whole number >= 1, got 0"),
        ({"particles": 1001}, "particles must be a multiple of chains, at least 4 of each; got 1001 particles of 250"),
        ({"particles": 750}, "particles must be a multiple of chains, at least 4 of each; got 750 particles of 250"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ValueError, match=f"mala: {said}"):
        MALA(**settings)


def test_problems_that_it_does_not_apply_to():
    assert "stationary problems only" in MALA().refusal(OrnsteinUhlenbeck().build(2, 0, generator()))
    assert MALA().unsupported(LogisticRegression().build(31, 0, generator())) is None
