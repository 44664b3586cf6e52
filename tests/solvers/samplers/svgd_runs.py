"""Small posteriors, and runs of SVGD on them, that several tests take."""

import math
from dataclasses import dataclass

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Potential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.samplers.svgd import SVGD

CPU = torch.device("cpu")
PRECISION = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
CENTRE = torch.tensor([1.0, -2.0], dtype=torch.float64)


def normals(n, dim, seed=0):
    return torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


def one_by_one(function, items):
    return [function(item) for item in items]


def stationary(potential, initial, inverse_temperature=1.0, times=(1.0,)):
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(inverse_temperature)), times)
    return Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)


def standard(dim, offset=0.0):
    eye = torch.eye(dim, dtype=torch.float64)
    return stationary(
        Quadratic(eye, torch.zeros(dim, dtype=torch.float64)), Gaussian(torch.full((dim,), offset).double(), eye)
    )


def correlated(inverse_temperature=1.0, times=(1.0,)):
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    return stationary(Quadratic(PRECISION, CENTRE), initial, inverse_temperature, times)


def run(problem, seed=0, **settings):
    return SVGD(**settings).solve(problem, generator(seed), CPU)


def final(problem, seed=0, **settings):
    return run(problem, seed, **settings).estimates[-1].points


@dataclass(frozen=True, eq=False)
class Undefined(Potential):
    """½‖x‖² whose gradient is ``value`` beyond a distance of 1.5."""

    wrong: float = math.nan

    @property
    def dim(self):
        return 2

    def value(self, x):
        return 0.5 * (x * x).sum(1)

    def gradient(self, x):
        return torch.where((x.norm(dim=1) > 1.5)[:, None], self.wrong, x)
