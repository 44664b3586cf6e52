"""The solve that ends a step: derivatives, optimality, and a step of two bumps that no affine map can take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from problems.barenblatt import ball
from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import Flat, Potential
from problems.problem import Problem
from seeding import generator
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.icnn.lagrangian_nodes import lagrangian_nodes
from solvers.icnn.output_objective import Nodes, OutputObjective
from solvers.icnn.output_solve import solve_outputs
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_derivatives import fold
from solvers.networks.convex_network import Architecture
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.threads import workers

CPU = torch.device("cpu")
SMALL = ICNNJKO(step_size=0.001, width=32, pool_size=1024, batch_size=256)


@dataclass(frozen=True)
class Quartic(Potential):
    """V = s|x|⁴/4, by value and gradient alone."""

    size: int
    strength: float = 1.0

    @property
    def dim(self) -> int:
        return self.size

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return 0.25 * self.strength * x.square().sum(1).square()

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.strength * x.square().sum(1, keepdim=True) * x


def bumps(distance: float, deviation: float) -> GaussianMixture:
    means = torch.tensor([[-distance], [distance]], dtype=torch.float64)
    covariance = torch.full((2, 1, 1), deviation**2, dtype=torch.float64)
    return GaussianMixture(torch.full((2,), 0.5, dtype=torch.float64), means, covariance)


def problem_of(law, energy, potential=None, times=(0.001,)) -> Problem:
    return Problem(GradientFlow(law, FreeEnergy(potential or Flat(law.dim), energy), times), (), None, "not needed")


def on_draws(dim: int, depth: int, run, theta: float = 1.0, fitted: bool = False) -> OutputObjective:
    """Return the objective of a step of 300 draws of N(0, I), for random hidden units."""
    rates = torch.linspace(-5, 20, dim, dtype=torch.float64)
    weight = FittedWeight.of(rates.diag() + 2, 0.1, torch.device("cpu")) if fitted else None
    architecture = Architecture(dim, 6, depth, 2)
    weights = architecture.identity(1.0, generator(3))
    x = torch.randn(300, dim, dtype=torch.float64, generator=generator(4))
    masses = torch.rand(300, dtype=torch.float64, generator=generator(5))
    log_density = -0.5 * x.square().sum(1) - dim / 2 * math.log(2 * math.pi)
    objective = StepObjective(Quartic(dim, -0.1), PowerEntropy(2.0, 3.0), 0.1, theta, None, weight)
    return OutputObjective(objective, Nodes(x, log_density, masses / masses.sum()), fold(weights), architecture, run)


def start_of(problem: OutputObjective) -> torch.Tensor:
    identity = torch.eye(problem.dim, dtype=torch.float64)
    return problem.flat(torch.full((6,), 0.05, dtype=torch.float64), identity, identity[0] * 0.1)


def test_gradient_and_curvature_are_those_of_the_value():
    for dim, depth, theta, fitted in ((1, 2, 1.0, 0), (2, 3, 1.0, 0), (2, 2, 0.5, 0), (3, 1, 1.0, 0), (2, 2, 1.0, 1)):
        with workers() as run:
            problem = on_draws(dim, depth, run, theta, bool(fitted))
            flat = replace(problem, objective=replace(problem.objective, potential=Flat(dim)))
            w = start_of(problem)
            gradient, _ = problem.derivatives(w)
            torch.testing.assert_close(problem.gradient(w)[0], gradient, rtol=1e-12, atol=1e-12)
            _, curvature = flat.derivatives(w)
            for place in range(len(w)):
                side = torch.zeros_like(w)
                side[place] = 1e-5
                slope = (problem.value(w + side) - problem.value(w - side)) / 2e-5
                torch.testing.assert_close(float(gradient[place]), slope, rtol=1e-6, atol=1e-6)
                change = (flat.derivatives(w + side)[0] - flat.derivatives(w - side)[0]) / 2e-5
                torch.testing.assert_close(curvature[place], change, rtol=1e-5, atol=1e-5)


def test_standard_errors_of_a_gradient_are_those_of_its_nodes():
    with workers() as run:
        problem = on_draws(2, 3, run)
        w, parts = start_of(problem), problem.nodes
        _, errors = problem.gradient(w)
        alone = []
        for node in range(300):
            single = Nodes(
                *(part[node : node + 1] for part in (parts.points, parts.log_density)), torch.ones(1).double()
            )
            alone.append(replace(problem, nodes=single).gradient(w)[0])
    each, masses = torch.stack(alone), parts.masses[:, None]
    mean = (masses * each).sum(0)
    spread = (masses * (each - mean).square()).sum(0).sqrt()
    torch.testing.assert_close(errors, spread / math.sqrt(300), rtol=1e-9, atol=1e-12)


def test_the_solve_ends_where_no_weight_gains():
    """The derivatives by Q and m vanish, by f_j > 0 as well, and by f_j = 0 they are not below 0."""
    for dim in (1, 2):
        with workers() as run:
            problem = on_draws(dim, 2, run)
            penalty = torch.full((6,), 1e-3, dtype=torch.float64)
            found = solve_outputs(problem, start_of(problem), penalty)
            gradient, _ = problem.gradient(found.w)
        outputs, slopes = found.w[:6], gradient[:6] + penalty
        assert found.gain > 0.01
        assert bool((outputs >= 0).all())
        assert float(slopes[outputs > 0].abs().sum()) < 1e-3
        assert float(slopes.min()) > -1e-4
        assert float(gradient[6:].norm()) < 1e-4


def test_masses_of_nodes_meet_moments_and_energies():
    disc = ball(torch.tensor([0.3, -0.2], dtype=torch.float64), 0.5, 2.0)
    for law, energy in ((bumps(0.5, 0.1), 5 / math.sqrt(math.pi) / 2), (disc, 2 / 3 * 2 / math.pi / 0.25)):
        found = lagrangian_nodes(law, generator(), paired=False)
        assert found is not None
        points, log_density, masses = found
        mean, covariance = law.moments()
        torch.testing.assert_close(masses @ points, mean, rtol=0, atol=1e-4)
        centred = points - mean
        torch.testing.assert_close((centred * masses[:, None]).T @ centred, covariance, rtol=0, atol=1e-4)
        assert abs(float(masses @ log_density.exp()) / energy - 1) < 1e-3


def test_a_step_of_two_bumps_is_the_exact_one():
    law = bumps(0.5, 0.1)
    problem = problem_of(law, PowerEntropy(2.0))
    answer = SMALL.solve(problem, generator(), CPU).estimates[0]
    (exact,) = QuantileJKO(step_size=0.001, nodes=1500).solve(problem, generator(), CPU).estimates
    x = torch.linspace(-0.75, 0.75, 301, dtype=torch.float64)[:, None]
    cumulative = torch.special.ndtr((x - law.means[:, 0]) / 0.1).mean(1)
    reached = torch.tensor(exact.quantiles(cumulative.tolist(), generator()), dtype=torch.float64)
    masses = law.log_prob(x).exp()
    error = float((masses * (answer.push(x)[:, 0] - reached).square()).sum().sqrt())
    moved = float((masses * (x[:, 0] - reached).square()).sum().sqrt())
    assert moved > 0
    assert error < 0.03 * moved


def test_nothing_is_gained_on_a_barenblatt_law():
    law = ball(torch.zeros(1, dtype=torch.float64), 0.3, 2.0)
    answer = SMALL.solve(problem_of(law, PowerEntropy(2.0), times=(0.002,)), generator(), CPU)
    assert answer.traces["solve_iterations"] == [0.0, 0.0]
    assert answer.traces["iterations"] == [0, 0]


def test_an_entropy_alone_is_solved_for_when_asked():
    law = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    problem = problem_of(law, Entropy(1.0), Quartic(1), times=(0.05,))
    solver = replace(SMALL, step_size=0.05, iterations=2)
    assert "solve_iterations" not in solver.solve(problem, generator(), CPU).traces
    answer = replace(solver, output_solve=True).solve(problem, generator(), CPU).estimates[0]
    (exact,) = QuantileJKO(step_size=0.05).solve(problem, generator(), CPU).estimates
    x = torch.linspace(-2, 2, 81, dtype=torch.float64)[:, None]
    levels = torch.special.ndtr(x[:, 0]).tolist()
    reached = torch.tensor(exact.quantiles(levels, generator()), dtype=torch.float64)
    assert float((answer.push(x)[:, 0] - reached).abs().max()) < 0.03 * float((x[:, 0] - reached).abs().max())
