"""The best affine map of a step where the potential is dear to ask for: the same map, asked for less often."""

import pytest
import torch

from problems.energies import Entropy
from problems.flow import FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import Potential
from seeding import generator
from solvers.icnn.affine_step import best_affine_step
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.units import ASKED, Frame, Units
from solvers.solver import Diverged
from solvers.threads import workers


class Ridge(Potential):
    """The potential -3|x|², in which steps longer than a sixth have no minimum."""

    @property
    def dim(self) -> int:
        return 2

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -3 * x.square().sum(1)


class DoubleWell(Potential):
    """The potential (x² - 1)² on the line, with a concave middle."""

    @property
    def dim(self) -> int:
        return 1

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return (x.square().sum(1) - 1).square()


def posterior(cases: int = 200, dim: int = 3) -> LogisticPosterior:
    draws = torch.randn(cases, dim, dtype=torch.float64, generator=generator(1))
    return LogisticPosterior(draws, prior_shape=1.0, prior_rate=0.01)


@pytest.mark.parametrize("implicitness", [1.0, 0.5])
def test_few_particles_first_lead_to_the_map_of_all_with_fewer_questions(implicitness):
    potential = posterior()
    x = torch.randn(16_384, potential.dim, dtype=torch.float64, generator=generator(2))
    objective = StepObjective(potential, Entropy(1.0), 0.02, implicitness)
    density = torch.zeros(len(x))
    with workers() as run:
        plain = best_affine_step(objective, x, density, run)
        sparing = best_affine_step(objective, x, density, run, dear=True)
    # What is left is within what half as many particles say otherwise, whose moments are those of all.
    assert float((sparing.matrix - plain.matrix).abs().max()) < 2e-3
    assert float((sparing.shift - plain.shift).abs().max()) < 2e-3
    assert sparing.evaluations < 0.5 * plain.evaluations


@pytest.mark.parametrize("beta", [1.0, 20.0])
def test_a_wide_law_does_not_fall_into_where_the_next_frozen_problem_has_no_minimum(beta):
    """The first frozen problem contracts it tenfold, to where a step as long has none; the step itself has one."""
    x = 3 * torch.randn(8192, 1, dtype=torch.float64, generator=generator(5))
    x -= x.mean()
    well, h = DoubleWell(), 2.0
    with workers() as run:
        step = best_affine_step(StepObjective(well, Entropy(beta), h, 1.0), x, torch.zeros(len(x)), run)
    y = x @ step.matrix + step.shift
    slope = (y - x) / h + well.gradient(y)
    assert float(slope.mean()) == pytest.approx(0, abs=1e-6)
    assert float((slope * x).mean()) == pytest.approx(1 / (beta * float(step.matrix)), rel=1e-6)


@pytest.mark.parametrize("dear", [False, True])
def test_a_step_that_few_particles_find_no_minimum_of_is_left_to_all_to_refuse(dear):
    x = torch.randn(4096, 2, dtype=torch.float64, generator=generator(3))
    objective = StepObjective(Ridge(), Entropy(1.0), 0.5, 1.0)
    with workers() as run, pytest.raises(Diverged, match="no minimum is found"):
        best_affine_step(objective, x, torch.zeros(len(x)), run, dear=dear)


def test_the_unit_of_energy_of_a_sum_over_cases_is_of_some_particles():
    potential = posterior()
    pool = torch.randn(4 * ASKED, potential.dim, dtype=torch.float64, generator=generator(4))
    law = Gaussian(torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64))
    flow = GradientFlow(law, FreeEnergy(potential, Entropy(1.0)), (1.0,))
    frame = Frame(torch.zeros(4, dtype=torch.float64), 1.0)
    density = torch.zeros(len(pool))
    some, same = (Units.of(flow, frame, potential, points, density) for points in (pool, pool[:ASKED]))
    assert some.energy == same.energy
