import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from instances import ornstein_uhlenbeck
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Empirical, Gaussian, GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential, Potential, Quadratic
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.estimates import Particles
from solvers.particles.euler_maruyama import BLOCK_ELEMENTS, EulerMaruyama, GradientDrift, LinearDrift
from solvers.solver import Diverged

CPU = torch.device("cpu")


def eye(dim):
    return torch.eye(dim, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Disguised(Potential):
    """A quadratic potential that the solver cannot recognise."""

    quadratic: Quadratic

    @property
    def dim(self):
        return self.quadratic.dim

    def value(self, x):
        return self.quadratic.value(x)

    def gradient(self, x):
        return self.quadratic.gradient(x)


@dataclass(frozen=True, eq=False)
class DoubleWell(Potential):
    """V = (x² - 1)² in one dimension, with its gradient from automatic differentiation."""

    @property
    def dim(self):
        return 1

    def value(self, x):
        return ((x * x - 1) ** 2).sum(1)


def disguised(problem):
    energy = dataclasses.replace(problem.flow.energy, potential=Disguised(problem.flow.potential))
    return dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, energy=energy))


def flow_problem(potential, initial, times, inverse_temperature=1.0):
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(inverse_temperature)), times)
    return Problem(flow=flow, measures=(), truth=None, truth_missing="not needed")


def run(problem, seed=0, **settings):
    return EulerMaruyama(**settings).solve(problem, generator(seed), CPU)


def scheme_moments(problem, step_size, steps, order=1):
    """The scheme's own law in a quadratic potential: m ← b + F(m-b), Σ ← F Σ Fᵀ + 2h/β G Gᵀ.

    Of order 1 F = I - hA and G = I; of order 2, Heun's, F = I - hA + ½h²A² and G = I - ½hA.
    """
    potential, (mean, covariance) = problem.flow.potential, problem.flow.initial.moments()
    moved = step_size * potential.precision
    factor, shaken = eye(potential.dim) - moved, eye(potential.dim)
    if order == 2:
        factor, shaken = factor + moved @ moved / 2, shaken - moved / 2
    for _ in range(steps):
        mean = potential.centre + factor @ (mean - potential.centre)
        covariance = factor @ covariance @ factor.T
        covariance += 2 * step_size / problem.flow.inverse_temperature * shaken @ shaken.T
    return mean, covariance


def moment_tests(points, mean, covariance):
    """P-values of the draws' mean and covariance: n|m|² ~ χ²_D and n|S-I|²/2 ~ χ²_{D(D+1)/2} of whitened draws."""
    n, dim = points.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance.numpy()), (points - mean).numpy().T)
    deviation = white @ white.T / n - np.eye(dim)
    return (
        scipy.stats.chi2.sf(n * (white.mean(1) ** 2).sum(), dim),
        scipy.stats.chi2.sf(n * (deviation**2).sum() / 2, dim * (dim + 1) // 2),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", ["linear", "general"])
def test_particles_follow_the_schemes_own_moments(path, dtype):
    """Both paths, at a step so large that the exact marginals are told apart; level 1e-5 for each of 16 tests.

    On one instance, where χ² of the mean is expected at 400 and that of the covariance above 530.
    """
    family = OrnsteinUhlenbeck(instance="random", inverse_temperature=0.7, times=(0.4, 0.8))
    problem = family.build(3, 0, fixed_generator(0))
    solved = problem if path == "linear" else disguised(problem)
    solution = run(solved, seed=1, particles=100_000, step_size=0.1, dtype=dtype)
    for time, steps, estimate in zip(solution.times, (4, 8), solution.estimates, strict=True):
        assert isinstance(estimate, Particles)
        assert estimate.points.dtype == torch.float64
        assert estimate.points.shape == (100_000, 3)
        assert estimate.log_weights is None
        mean_p, covariance_p = moment_tests(estimate.points, *scheme_moments(problem, 0.1, steps))
        assert min(mean_p, covariance_p) > 1e-5
        exact_mean_p, exact_covariance_p = moment_tests(estimate.points, *problem.truth(time).moments())
        assert max(exact_mean_p, exact_covariance_p) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", ["linear", "general"])
def test_steps_of_order_two_have_heuns_moments(path, dtype):
    """Level 1e-6 for each of 16 tests; Euler-Maruyama's moments are told from these beyond 1e-12."""
    family = OrnsteinUhlenbeck(instance="random", inverse_temperature=0.7, times=(0.4, 0.8))
    problem = family.build(3, 0, fixed_generator(0))
    solved = problem if path == "linear" else disguised(problem)
    solution = run(solved, seed=1, particles=100_000, step_size=0.1, order=2, dtype=dtype)
    assert solution.cost.gradient_evaluations == 2 * 8 * 100_000
    for steps, estimate in zip((4, 8), solution.estimates, strict=True):
        assert min(moment_tests(estimate.points, *scheme_moments(problem, 0.1, steps, order=2))) > 1e-6
        assert max(moment_tests(estimate.points, *scheme_moments(problem, 0.1, steps))) < 1e-12


def test_particles_are_gaussian_in_every_direction():
    problem = ornstein_uhlenbeck(3, times=(0.5,))
    [estimate] = run(problem, seed=2, particles=50_000, step_size=0.05).estimates
    mean, covariance = scheme_moments(problem, 0.05, 10)
    direction = torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64)
    projected = (estimate.points - mean) @ direction / (direction @ covariance @ direction).sqrt()
    assert scipy.stats.kstest(projected.numpy(), "norm").pvalue > 1e-5


@pytest.mark.parametrize("order", [1, 2])
def test_weak_order(order):
    """The scheme's moments, which the particles have, approach the exact ones like h, or h²."""
    problem = ornstein_uhlenbeck(4, times=(0.8,))
    exact_mean, exact_covariance = problem.truth(0.8).moments()
    mean_errors, covariance_errors = [], []
    for steps in (80, 160, 320):
        mean, covariance = scheme_moments(problem, 0.8 / steps, steps, order)
        mean_errors.append(float((mean - exact_mean).norm()))
        covariance_errors.append(float((covariance - exact_covariance).norm()))
    for measured in (mean_errors, covariance_errors):
        for error, finer in pairwise(measured):
            assert math.log2(error / finer) == pytest.approx(order, abs=0.05)


def test_order_two_without_noise_is_heuns_method_for_the_gradient_flow():
    """x' = -4x(x² - 1) from 0.1 and 2: u = 1/x² - 1 decays like e^{-8t}; errors fall like h²."""
    starts = torch.tensor([[0.1], [2.0]], dtype=torch.float64)
    law = Empirical(starts, starts.mean(0), starts.T.cov().reshape(1, 1))
    problem = Problem(GradientFlow(law, FreeEnergy(DoubleWell(), None), (0.5,)), (), None)
    exact = (1 + (starts**-2 - 1) * math.exp(-4.0)) ** -0.5
    errors = []
    for h in (0.005, 0.0025):
        [estimate] = run(problem, particles=2, step_size=h, order=2, dtype="float64").estimates
        errors.append(float((estimate.points.sort(0).values - exact.sort(0).values).abs().max()))
    assert errors[1] < 1e-4
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_general_path_takes_the_same_steps_in_one_dimension():
    """In one dimension both paths lay out their noise alike, so they differ by rounding only."""
    problem = ornstein_uhlenbeck(1, times=(0.5,))
    settings = {"particles": 70_001, "step_size": 0.01, "dtype": "float64"}
    [linear], [general] = run(problem, **settings).estimates, run(disguised(problem), **settings).estimates
    torch.testing.assert_close(linear.points, general.points, rtol=1e-12, atol=1e-12)


def follow_both(problem, step_size, steps, dtype):
    """Paths from the same float32 noise: through ``LinearDrift`` in ``dtype``, and ``GradientDrift`` in float64."""
    potential = problem.flow.potential
    linear = LinearDrift(potential, step_size, CPU, dtype)
    general = GradientDrift(Disguised(potential), step_size, CPU, torch.float64)
    points = problem.flow.initial.sample(2000, generator())
    state, reference = linear.enter(points), general.enter(points)
    stream, scale = generator(1), math.sqrt(2 * step_size / problem.flow.inverse_temperature)
    for _ in range(steps):
        noise = torch.empty(state.shape, dtype=torch.float32).normal_(0, scale, generator=stream)
        increment, other = noise.to(dtype), noise.T.double()
        linear.add_to(increment, state)
        state += increment
        general.add_to(other, reference)
        reference += other
    return linear.leave(state), general.leave(reference)


def test_both_paths_are_the_same_scheme():
    problem = ornstein_uhlenbeck(5)
    torch.testing.assert_close(*follow_both(problem, 0.01, 100, torch.float64), rtol=1e-12, atol=1e-12)


def test_rounding_in_float32_is_far_below_the_time_step_error():
    """Rounding moves particles by less than 1e-5, at random, and the moments by a thousandth of their error in h."""
    problem = OrnsteinUhlenbeck().build(12, 0, generator())
    single, double = follow_both(problem, 1e-3, 500, torch.float32)
    assert float((single - double).abs().max()) < 1e-5
    mean, covariance = scheme_moments(problem, 1e-3, 500)
    exact_mean, exact_covariance = problem.truth(0.5).moments()
    single_covariance, double_covariance = single.T.cov(), double.T.cov()
    assert float((single.mean(0) - double.mean(0)).norm()) < 1e-3 * float((mean - exact_mean).norm())
    assert float((single_covariance - double_covariance).norm()) < 1e-3 * float((covariance - exact_covariance).norm())


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("path", ["linear", "general"])
def test_results_do_not_depend_on_the_number_of_threads(path, order, on_threads):
    problem = ornstein_uhlenbeck(12, times=(0.05, 0.1))
    problem = problem if path == "linear" else disguised(problem)
    settings = {"particles": 3 * BLOCK_ELEMENTS // 12 + 5, "step_size": 0.01, "order": order}
    first, *others = on_threads(lambda: run(problem, **settings).estimates)
    for other in others:
        assert all(torch.equal(a.points, b.points) for a, b in zip(first, other, strict=True))


def test_the_callers_thread_count_survives_divergence():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(Diverged):
            run(stiff_problem(), particles=10, step_size=0.1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_seeds_decide_and_global_random_state_is_left_alone():
    problem = ornstein_uhlenbeck(2)
    torch_state = torch.random.get_rng_state()
    first, same, other = (run(problem, seed, particles=500, step_size=0.1).estimates[-1].points for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def test_blocks_have_noise_of_their_own():
    """From one point all particles end at different places, uncorrelated between the first blocks (five σ)."""
    potential = Quadratic(eye(1), torch.zeros(1, dtype=torch.float64))
    initial = Gaussian(torch.zeros(1, dtype=torch.float64), 1e-12 * eye(1))
    problem = flow_problem(potential, initial, (0.1,))
    [estimate] = run(problem, particles=2 * BLOCK_ELEMENTS, step_size=0.1).estimates
    first, second = estimate.points[:BLOCK_ELEMENTS, 0], estimate.points[BLOCK_ELEMENTS:, 0]
    correlation = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
    assert abs(correlation) < 5 / math.sqrt(BLOCK_ELEMENTS)


@pytest.mark.parametrize("particles", [1, 15, 40_000])
def test_any_number_of_particles_comes_back(particles):
    solution = run(ornstein_uhlenbeck(2), particles=particles, step_size=0.1)
    assert all(estimate.points.shape == (particles, 2) for estimate in solution.estimates)
    assert EulerMaruyama(particles=particles).sample_size == particles
    assert solution.cost.gradient_evaluations == 9 * particles


def test_mixture_initial_law():
    problem = ornstein_uhlenbeck(2, times=(0.5,), initial_components=3)
    [estimate] = run(problem, particles=100_000, step_size=5e-3).estimates
    mean, covariance = problem.truth(0.5).moments()
    # the time-step bias is below 1 %, the Monte-Carlo error below 0.5 % of a standard deviation
    spread = covariance.diagonal().max()
    torch.testing.assert_close(estimate.points.mean(0), mean, rtol=0, atol=0.02 * float(spread.sqrt()))
    torch.testing.assert_close(estimate.points.T.cov(), covariance, rtol=0, atol=0.04 * float(spread))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mixture_stays_at_its_own_gibbs_law(dtype):
    """Level 1e-6 for each component's share of the nearest points and for the moments within it."""
    means = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    law = GaussianMixture(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), means, eye(2).expand(3, 2, 2) / 2.0)
    problem = flow_problem(MixturePotential(law, 2.0), law, (1.0,), inverse_temperature=2.0)
    particles = 20_000
    [estimate] = run(problem, particles=particles, step_size=5e-3, dtype=dtype).estimates
    nearest = torch.cdist(estimate.points, means).argmin(1)
    shares = torch.bincount(nearest, minlength=3).double() / particles
    sigma = (law.weights * (1 - law.weights) / particles).sqrt()
    assert bool(((shares - law.weights).abs() < 5 * sigma).all())
    for k in range(3):
        assert min(moment_tests(estimate.points[nearest == k], means[k], law.covariances[k])) > 1e-6


def test_double_well_reaches_its_gibbs_law():
    """E x² and the Kolmogorov distance at t = 6 (many relaxation times of a well), within five standard errors."""
    problem = flow_problem(DoubleWell(), Gaussian(torch.zeros(1, dtype=torch.float64), eye(1)), (6.0,))
    particles = 10_000
    [estimate] = run(problem, particles=particles, step_size=5e-3).estimates
    x = np.linspace(-4, 4, 8001)
    density = np.exp(-((x**2 - 1) ** 2))
    distribution = np.cumsum(density) / density.sum()
    # |F_n - F| exceeds 2.6/√n with probability 3e-6; the time step's own bias is 0.003
    test = scipy.stats.kstest(estimate.points[:, 0].numpy(), lambda at: np.interp(at, x, distribution))
    assert test.statistic < 2.6 / math.sqrt(particles) + 0.003
    fourth = (density * x**4).sum() / density.sum()
    second = (density * x**2).sum() / density.sum()
    tolerance = 5 * math.sqrt((fourth - second**2) / particles) + 0.005
    assert float((estimate.points**2).mean()) == pytest.approx(second, abs=tolerance)


def stiff_problem():
    family = OrnsteinUhlenbeck(instance="given", precision=((1e3, 0.0), (0.0, 1.0)), centre=(0.0, 0.0), times=(40.0,))
    return family.build(2, 0, generator())


def test_a_step_beyond_stability_is_divergence():
    with pytest.raises(Diverged, match=r"not finite by step 100 \(t = 10\); a step_size below 0.1 may help"):
        run(stiff_problem(), particles=100, step_size=0.1)
    run(stiff_problem(), particles=100, step_size=1e-3)


def test_a_superlinear_drift_diverges_by_name():
    problem = flow_problem(DoubleWell(), Gaussian(torch.zeros(1, dtype=torch.float64), 25 * eye(1)), (2.0,))
    with pytest.raises(Diverged, match="not finite by step 20 "):
        run(problem, particles=100, step_size=0.1)


def test_divergence_between_checks_is_seen_at_the_observation():
    problem = flow_problem(DoubleWell(), Gaussian(torch.zeros(1, dtype=torch.float64), 25 * eye(1)), (1.5, 30.0))
    with pytest.raises(Diverged, match=r"step 15 \(t = 1.5\)"):
        run(problem, particles=100, step_size=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_the_hessian_as_metric_all_directions_relax_alike(dtype):
    """Widths from 1 to 1000, after 40 steps: in y = Q^{½} x the scheme's own law is m (1-h)^k, isotropic noise."""
    precision = torch.tensor([[1.0, 0.3e-3], [0.3e-3, 1e-6]], dtype=torch.float64)
    centre = torch.tensor([2.0, -500.0], dtype=torch.float64)
    initial = Gaussian(torch.tensor([5.0, 900.0], dtype=torch.float64), torch.diag(torch.tensor([4.0, 1e4]).double()))
    problem = dataclasses.replace(
        flow_problem(Quadratic(precision, centre), initial, (4.0,), inverse_temperature=0.7), stationary=True
    )
    [estimate] = run(problem, seed=5, particles=100_000, step_size=0.1, preconditioner="hessian", dtype=dtype).estimates
    mean, covariance = initial.moments()
    mean = centre + 0.9**40 * (mean - centre)
    covariance = 0.81**40 * covariance + (1 - 0.81**40) / (1 - 0.1 / 2) / 0.7 * torch.linalg.inv(precision)
    assert min(moment_tests(estimate.points, mean, covariance)) > 1e-5


def test_the_metric_is_for_stationary_laws_with_a_hessian():
    problem = ornstein_uhlenbeck(2)
    solver = EulerMaruyama(preconditioner="hessian")
    assert "stationary problems only" in solver.unsupported(problem)
    stationary = dataclasses.replace(problem, stationary=True)
    assert solver.unsupported(stationary) is None


def test_the_metric_is_for_a_potential_and_an_entropy_alone():
    problem = dataclasses.replace(ornstein_uhlenbeck(2), stationary=True)
    for change in ({"interaction": QuadraticInteraction(2)}, {"internal": None}):
        energy = dataclasses.replace(problem.flow.energy, **change)
        changed = dataclasses.replace(problem, flow=dataclasses.replace(problem.flow, energy=energy))
        assert EulerMaruyama().refusal(changed) is None
        refusal = EulerMaruyama(preconditioner="hessian").refusal(changed)
        assert refusal == "preconditioner 'hessian' is for flows of a potential and an entropy alone"


def test_without_entropy_particles_slide_down_the_potential():
    potential = Quadratic(2 * eye(1), torch.ones(1, dtype=torch.float64))
    flow = GradientFlow(Gaussian(torch.zeros(1, dtype=torch.float64), eye(1)), FreeEnergy(potential, None), (0.2,))
    [estimate] = run(Problem(flow, (), None), particles=100, step_size=0.1, dtype="float64").estimates
    start = flow.initial.sample(100, generator(0))
    torch.testing.assert_close(estimate.points, 1 + 0.8**2 * (start - 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"particles": 0}, "particles must be a whole number >= 1, got 0"),
        ({"particles": 10.0}, "particles must be a whole number >= 1, got 10.0"),
        ({"step_size": 0.0}, "step_size must be a finite number > 0, got 0.0"),
        ({"step_size": math.nan}, "step_size must be"),
        ({"preconditioner": "dense"}, "preconditioner must be one of 'identity', 'hessian'; got 'dense'"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64'; got 'float16'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        EulerMaruyama(**settings)


def test_times_off_the_steps_are_refused():
    EulerMaruyama(step_size=1e-3).check_times((0.5, 0.9))
    with pytest.raises(ValueError, match="larger than the horizon"):
        EulerMaruyama(step_size=1.0).check_times((0.5, 0.9))
    with pytest.raises(ValueError, match="not a multiple"):
        EulerMaruyama(step_size=0.35).check_times((0.5, 0.9))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("path", ["linear", "general"])
def test_on_a_gpu_the_scheme_is_the_same(path):
    family = OrnsteinUhlenbeck(instance="random", inverse_temperature=0.7, times=(0.4, 0.8))
    problem = family.build(3, 0, fixed_generator(0))
    solved = problem if path == "linear" else disguised(problem)
    solution = EulerMaruyama(particles=100_000, step_size=0.1).solve(solved, generator(1), torch.device("cuda"))
    for steps, estimate in zip((4, 8), solution.estimates, strict=True):
        assert estimate.points.device == CPU
        assert estimate.points.dtype == torch.float64
        assert min(moment_tests(estimate.points, *scheme_moments(problem, 0.1, steps))) > 1e-5
