"""ICNN-JKO on flows without a law of rest: in a linear potential exact, and one that leaves every box is said to."""

from dataclasses import dataclass

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Potential
from problems.problem import Problem
from seeding import generator
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import Pushforward
from solvers.solver import Diverged

CPU = torch.device("cpu")
SMALL = {"iterations": 20, "batch_size": 64, "width": 8, "pool_size": 2048}


class Slope(Potential):
    """3x - y: what drifts in it spreads without end."""

    @property
    def dim(self) -> int:
        return 2

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * x[:, 0] - x[:, 1]

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([3.0, -1.0]).to(x).expand_as(x)


@dataclass(frozen=True, eq=False)
class Hill(Potential):
    """-|x|⁴/4, down which every point reaches infinity in a finite time."""

    @property
    def dim(self) -> int:
        return 2

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -0.25 * x.square().sum(1).square()

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return -x * x.square().sum(1, keepdim=True)


def flow_in(potential: Potential, covariance: torch.Tensor, time: float) -> Problem:
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), covariance)
    return Problem(GradientFlow(initial, FreeEnergy(potential, Entropy(1.0)), (time,)), (), None, "not needed")


@pytest.mark.parametrize(
    ("settings", "error"), [({"order": 1}, 0.06), ({"order": 2}, 4e-3), ({"step_size": "auto"}, 4e-3)]
)
def test_in_a_linear_potential_laws_drift_and_spread(settings, error):
    """The mean is exact, and a variance s grows by 2h but for h²/s in a step of order 1, in a fitted one but for h³."""
    solver = ICNNJKO(**{"step_size": 0.1, **SMALL, **settings})
    answer = solver.solve(flow_in(Slope(), torch.eye(2, dtype=torch.float64), 1.0), generator(), CPU)
    assert set(answer.traces["iterations"]) == {0}
    (fit,) = answer.estimates
    assert isinstance(fit, Pushforward)
    ends = fit.push(torch.cat([torch.zeros(1, 2), torch.eye(2)]).double())
    torch.testing.assert_close(ends[0], torch.tensor([-3.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-5)
    matrix = ends[1:] - ends[0]
    torch.testing.assert_close(matrix @ matrix.T, 3 * torch.eye(2, dtype=torch.float64), rtol=0, atol=error)


@pytest.mark.parametrize("order", [1, 2])
def test_a_flow_that_leaves_every_box_is_said_with_its_step(order):
    problem = flow_in(Hill(), torch.eye(2, dtype=torch.float64), 1.0)
    reason = r"step 1 of 10 \(t = 0.1\): the step has no minimum, the objective falls as far as the law is spread"
    with pytest.raises(Diverged, match=reason):
        ICNNJKO(step_size=0.1, order=order, **SMALL).solve(problem, generator(), CPU)


def test_a_flow_that_leaves_every_box_has_no_step_that_is_short_enough():
    """Chosen steps come nearer and nearer to when the law leaves, and end there."""
    with pytest.raises(Diverged, match=r"no step from t = 0\.0\d+ is within the tolerance"):
        ICNNJKO(step_size="auto", **SMALL).solve(
            flow_in(Hill(), torch.eye(2, dtype=torch.float64), 1.0), generator(), CPU
        )


@pytest.mark.parametrize("settings", [{"order": 1}, {"order": 2}])
def test_a_cloud_without_volume_is_refused_by_every_step(settings):
    problem = flow_in(Slope(), torch.diag(torch.tensor([1.0, 1e-30], dtype=torch.float64)), 0.1)
    with pytest.raises(Diverged, match=r"step 1 of 1 .* the covariance of the particles has no full rank"):
        ICNNJKO(step_size=0.1, **SMALL, **settings).solve(problem, generator(), CPU)
