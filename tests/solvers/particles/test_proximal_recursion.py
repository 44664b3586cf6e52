"""Proximal recursion: the limit of many particles, conservation, published figures, and how it fails."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd
import pytest
import torch

from false_alarms import repetitions
from harness.measure.measure import Subject
from harness.measure.published import PublishedSymKL
from harness.report.published import FOLDER, counterpart
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.interactions import QuadraticInteraction
from problems.laws import Density, Empirical, Gaussian
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.estimates import ParticleDensity
from solvers.particles.proximal_recursion import ProximalRecursion
from solvers.solver import Diverged

CPU = torch.device("cpu")


def relaxing(rate=4.0, times=(0.2,)):
    """Return the flow from N(0, 1) in V = ½ rate x²."""
    family = OrnsteinUhlenbeck(instance="given", precision=((rate,),), centre=(0.0,), times=times)
    return family.build(1, 0, generator())


def solve(problem, seed=0, **settings):
    return ProximalRecursion(**settings).solve(problem, generator(seed), CPU)


def test_sum_of_the_density_is_conserved():
    problem = OrnsteinUhlenbeck(times=(0.001, 0.05)).build(2, 0, generator())
    totals = [float(each.log_density.logsumexp(0)) for each in solve(problem, particles=300).estimates]
    initial = problem.flow.initial.log_prob(problem.flow.initial.sample(300, generator())).logsumexp(0)
    assert totals == pytest.approx([float(initial)] * 2, abs=50 * 1e-5)


def test_lonely_particles_keep_their_density():
    problem = OrnsteinUhlenbeck(times=(0.02,)).build(64, 0, generator())
    solution = solve(problem, particles=80)
    started = problem.flow.initial.log_prob(problem.flow.initial.sample(80, generator()))
    assert solution.diagnostics["own_share"] == pytest.approx(1)
    assert torch.allclose(solution.estimates[0].log_density, started, rtol=0, atol=1e-3)


def precision_of_many(rate, time, step_size, regularisation):
    """Return the precision r of ρ_k = N(0, 1/r) for infinitely many particles in V = ½ rate x², β = 1, from N(0, 1).

    With z = exp(-ax²/2) and the law N(0, s) of the particles, Γ(zμ) has the precision p/(1 + εp), p = a + 1/s, and
    y = ρ/Γz and Γᵀy follow alike. The step's potential is taken at the new place, which differs by O(h).
    """
    stiffness = regularisation / step_size
    before, precision, scaling = 1.0, 1.0, 0.0
    for _ in range(round(time / step_size)):
        after = (1 - step_size * rate) ** 2 * before + 2 * step_size
        for _ in range(1000):
            rows = scaling + 1 / after
            columns = precision - rows / (1 + regularisation * rows) + 1 / before
            columns /= 1 + regularisation * columns
            scaling = (rate - columns) / (1 + stiffness)
        precision, before = scaling + columns, after
    return precision


def fitted_precision(estimate):
    """Return the precision of the parabola fitted to the log-density at the particles."""
    x = estimate.points[:, 0].numpy()
    return -2 * np.polyfit(x, estimate.log_density.numpy(), 2)[0]


@repetitions(32, 400)
def test_many_particles_approach_the_limit_at_the_root_of_their_number(repetitions):
    """Root mean square over runs; a quarter of the particles doubles it, within a factor of 1.45.

    Errors have a kurtosis of 4, and the logarithm of the ratio a deviation of 1.2 over the root of the number of runs:
    the short form has the same draws always, in the long one five deviations are a factor of 1.35.
    """
    problem = relaxing(times=(0.1,))
    limit, draws = precision_of_many(4.0, 0.1, 0.01, 0.05), fixed_generator if repetitions == 32 else generator

    def error(count):
        solver = ProximalRecursion(particles=count, step_size=0.01)
        runs = (solver.solve(problem, draws(seed), CPU) for seed in range(repetitions))
        found = [fitted_precision(each.estimates[0]) for each in runs]
        return math.sqrt(np.mean((np.array(found) - limit) ** 2))

    few, many = error(200), error(800)
    assert many < 0.1 * limit
    assert 2 / 1.45 < few / many < 2 * 1.45


def test_the_limit_approaches_the_exact_density_at_first_order():
    """With ε = h the error of the precision halves with h; with ε fixed it tends to a bias that halves with ε."""
    exact = 1 / float(relaxing().truth(0.2).covariance)
    errors = [exact - precision_of_many(4.0, 0.2, h, h) for h in (0.01, 0.005, 0.0025)]
    assert all(1.9 < coarse / fine < 2.1 for coarse, fine in pairwise(errors))
    biases = [exact - precision_of_many(4.0, 0.2, 1e-3, regularisation) for regularisation in (0.08, 0.04, 0.02)]
    assert all(1.6 < coarse / fine < 2.1 for coarse, fine in pairwise(biases))


@pytest.mark.parametrize(("dim", "factor"), [(2, 2.5), (6, 1.65)])
def test_published_figures_are_reproduced(dim, factor):
    """The median over three of the 15 published instances is the published one, but for ``factor``.

    Over 17 seeds it is .116 and 1.25, with deviations of 14 % and 10 %: five of these, and what three instances differ.
    """
    published = pd.read_csv(FOLDER / "ornstein_uhlenbeck.csv")
    other = counterpart("EM_ProxRec_400")
    assert other.solver == ProximalRecursion.name
    published = published[(published.method == "EM_ProxRec_400") & (published.dim == dim) & (published.t == 0.5)].iloc[
        0
    ]
    found = []
    for seed in range(3):
        problem = OrnsteinUhlenbeck(times=(0.5,)).build(dim, seed, generator())
        (estimate,) = solve(problem, seed, **other.settings).estimates
        found.append(PublishedSymKL()(Subject(estimate, problem.truth(0.5), problem), 0, generator()).value)
    assert 1 / factor < median(found) / published.symkl_median < factor


@pytest.mark.parametrize(
    ("family", "dim"), [(OrnsteinUhlenbeck, 12), (OrnsteinUhlenbeck, 32), (GaussianMixtureFlow, 12)]
)
def test_many_dimensions_end_finite(family, dim):
    problem = family(times=(0.03,)).build(dim, 0, generator())
    solution = solve(problem, particles=200)
    (estimate,) = solution.estimates
    assert isinstance(estimate, ParticleDensity)
    assert estimate.defect() is None
    assert solution.diagnostics["unconverged_steps"] == 0
    assert solution.diagnostics["largest_residual"] <= 1e-5
    assert solution.diagnostics["largest_contraction"] <= 1.05 * solution.diagnostics["contraction_bound"]
    assert len(solution.traces["residual"]) == len(solution.traces["iterations"]) == 30


def test_says_that_it_did_not_converge():
    diagnostics = solve(relaxing(times=(0.01,)), particles=50, max_sweeps=1).diagnostics
    assert diagnostics["unconverged_steps"] == 10
    assert diagnostics["largest_residual"] > 1e-5


def test_starts_from_the_scaling_of_the_step_before():
    sweeps = solve(relaxing(times=(0.1,)), particles=300, tolerance=1e-7).traces["iterations"]
    assert max(sweeps[1:]) < sweeps[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularisation": 0.0}, "regularisation must be a finite number > 0, got 0.0"),
        ({"regularisation": -1.0}, "regularisation must be a finite number > 0, got -1.0"),
        ({"tolerance": 0.0}, "tolerance must be a finite number > 0, got 0.0"),
        ({"max_sweeps": 0}, "max_sweeps must be a whole number >= 1, got 0"),
        ({"particles": 2.5}, "particles must be a whole number >= 1, got 2.5"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ProximalRecursion(**settings)


def test_needs_more_particles_than_dimensions():
    problem = OrnsteinUhlenbeck().build(6, 0, generator())
    with pytest.raises(ValueError, match="must be more than the dimensions, got 6 in dimension 6"):
        solve(problem, particles=6)


@dataclass(frozen=True, eq=False)
class Undefined(Potential):
    """A quadratic potential that is NaN right of ``wall`` in one dimension, or whose gradient alone is."""

    wall: float
    gradient_only: bool = False

    @property
    def dim(self):
        return 1

    def value(self, x):
        bad = (x[:, 0] > self.wall) & (not self.gradient_only)
        return torch.where(bad, torch.nan, 0.5 * x[:, 0] ** 2)

    def gradient(self, x):
        return torch.where(x > self.wall, torch.nan, x)


@pytest.mark.parametrize(("gradient_only", "what"), [(False, "the potential"), (True, "the position")])
def test_a_potential_that_is_not_a_number_ends_in_one_line(gradient_only, what):
    initial = Gaussian(torch.zeros(1).double(), torch.eye(1).double())
    flow = GradientFlow(initial, FreeEnergy(Undefined(1.0, gradient_only), Entropy()), (0.1,))
    with pytest.raises(Diverged, match=rf"{what} is not finite at \d+ of 50 particles in step 1 \(t = 0.001\)"):
        solve(Problem(flow, (), None), particles=50)


def test_divergence_names_the_step():
    problem = relaxing(1e6, times=(1.0,))
    with pytest.raises(Diverged, match=r"not finite at \d+ of 20 particles in step \d+"):
        solve(problem, particles=20, step_size=0.01)


@dataclass(frozen=True, eq=False)
class Point(Density):
    """All particles at the origin, with a density that says nothing."""

    dim: int = 2

    def sample(self, n, generator):
        return torch.zeros(n, self.dim, dtype=torch.float64)

    def log_prob(self, x):
        return torch.zeros(len(x), dtype=torch.float64)

    def moments(self):
        raise NotImplementedError


def test_particles_may_start_in_one_place():
    eye = torch.eye(2, dtype=torch.float64)
    energy = FreeEnergy(Quadratic(eye, torch.zeros(2, dtype=torch.float64)), Entropy())
    (estimate,) = solve(Problem(GradientFlow(Point(), energy, (0.05,)), (), None), particles=50).estimates
    assert estimate.defect() is None


def test_declines_what_it_cannot_start_from():
    problem = relaxing()
    draws = torch.zeros(5, 1, dtype=torch.float64)
    empirical = Empirical(draws, draws[0], torch.eye(1, dtype=torch.float64))
    flow = replace(problem.flow, initial=empirical)
    assert "must have a density" in ProximalRecursion().refusal(replace(problem, flow=flow))
    energy = replace(problem.flow.energy, interaction=QuadraticInteraction(1))
    assert "interaction" in ProximalRecursion().refusal(replace(problem, flow=replace(problem.flow, energy=energy)))
    assert ProximalRecursion().refusal(problem) is None
