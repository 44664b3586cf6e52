"""Flows that no setting was chosen by: a rare mode far off, and a stiff Gaussian flow whose matrices do not commute."""

from statistics import median

import pytest
import torch

from harness.conformance.motions import rotation
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.estimates import DensityEstimate
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.affine_step import entropic_affine_step
from solvers.icnn.candidates import searched
from solvers.icnn.examination import affine_map
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.icnn.step_objective import StepObjective
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.threads import workers

CPU = torch.device("cpu")
BOUNDARY = 4.6
"""Where both modes are as dense: one draw in a hundred of the initial law lies beyond."""


def rare_mode(times: tuple[float, ...], weight: float = 0.01) -> Problem:
    """A mode of the given weight eight deviations from the other, reached by the tail of N(0, 4)."""
    means = torch.tensor([[0.0], [8.0]], dtype=torch.float64)
    weights = torch.tensor([1 - weight, weight], dtype=torch.float64)
    law = GaussianMixture(weights, means, torch.ones(2, 1, 1, dtype=torch.float64))
    initial = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 4.0, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(MixturePotential(law, 1.0), Entropy(1.0)), times)
    return Problem(flow, (), None, "not needed")


def test_a_rare_mode_eight_deviations_away_is_found():
    """Missed, it costs a SymKL of .14 at this time, later .29; over five seeds it was .0061 at most.

    Of 173 other solves 2 found less than half of the mode: five of nine do so once in some 40 million times.
    """
    problem = rare_mode((1.0,))
    (exact,) = QuantileJKO(step_size=0.05, order=2, second_order="fitted").solve(problem, generator(), CPU).estimates
    solver = ICNNJKO(step_size=0.2, order=2, iterations=100, batch_size=256, width=16, pool_size=16_384)
    assert isinstance(exact, DensityEstimate)
    grid = torch.linspace(-15, 18, 4001, dtype=torch.float64)[:, None]
    width = float(grid[1] - grid[0])
    other, beyond = exact.log_prob(grid), grid[:, 0] > BOUNDARY
    true = float(other.exp()[beyond].sum()) * width
    masses, divergences = [], []
    for seed in range(1, 10):
        (fit,) = solver.solve(problem, generator(seed), CPU).estimates
        assert isinstance(fit, DensityEstimate)
        own = fit.log_prob(grid)
        masses.append(float(own.exp()[beyond].sum()) * width)
        divergences.append(float(((own.exp() - other.exp()) * (own - other)).sum()) * width)
    assert true == pytest.approx(0.0112, abs=2e-4)
    assert median(masses) == pytest.approx(true, rel=0.5)
    assert median(divergences) < 0.02


def test_candidates_that_gain_lie_where_the_mode_is_and_none_does_at_an_exact_step():
    problem = rare_mode((1.0,))
    x = 2 * torch.randn(8192, 1, dtype=torch.float64, generator=generator(2))
    identity, origin = torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    resting = torch.randn(8192, 1, dtype=torch.float64, generator=fixed_generator(2))
    with workers() as run:
        objective = StepObjective(problem.flow.potential, Entropy(1.0), 0.1, 1.0)
        step = entropic_affine_step(objective, x, run)
        found = searched(affine_map(step.matrix, step.shift), x, objective, 1.0, generator(3), run)
        gaining = found.gaining(0.0, 5.0)
        assert len(gaining) > 0
        place = -found.biases[gaining[0]] / found.forms[gaining[0], 0]
        # Over 200 other draws 4.2, with a deviation of 0.2.
        assert 2.7 < float(place) < 5.7
        # At rest no candidate gains. Over 1,400 other draws the most was 5.0 errors.
        normal = MixturePotential(GaussianMixture(torch.ones(1).double(), origin[None], identity[None]))
        still = StepObjective(normal, Entropy(1.0), 0.1, 1.0)
        at_rest = searched(affine_map(identity, origin), resting, still, 1.0, fixed_generator(4), run)
        assert len(at_rest.gaining(0.0, 6.0)) == 0


@pytest.mark.parametrize("order", [1, 2])
def test_a_stiff_flow_whose_matrices_do_not_commute_is_met_to_the_exact_scheme(order):
    """24 dimensions, condition 200, an initial covariance turned against A: affine steps, and no training."""
    dim = 24
    axes = [rotation(dim, generator(seed)) for seed in (5, 6)]
    rates, widths = (torch.logspace(0, power, dim, dtype=torch.float64) for power in (2.30103, 1.0))
    precision, covariance = ((turn * spectrum) @ turn.T for turn, spectrum in zip(axes, (rates, widths), strict=True))
    centre = torch.randn(dim, dtype=torch.float64, generator=generator(7))

    def rows(matrix: torch.Tensor) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(row) for row in (0.5 * (matrix + matrix.T)).tolist())

    problem = OrnsteinUhlenbeck(
        times=(0.15,),
        instance="given",
        precision=rows(precision),
        centre=tuple(centre.tolist()),
        initial_mean=(0.0,) * dim,
        initial_covariance=rows(covariance),
    ).build(dim, 0, generator())
    second = {} if order == 1 else {"second_order": "fitted"}
    (exact,) = GaussianJKO(order=order, **second).solve(problem, generator(), CPU).estimates
    answer = ICNNJKO(order=order, pool_size=8192).solve(problem, generator(1), CPU)
    assert set(answer.traces["iterations"]) == {0}
    (fit,) = answer.estimates
    x = exact.law.sample(500, generator(8))
    torch.testing.assert_close(fit.log_prob(x), exact.law.log_prob(x), rtol=0, atol=1e-3)
