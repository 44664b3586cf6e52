"""Small networks and problems, and runs of ICNN-JKO on them, that several tests take."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Potential
from problems.problem import Problem
from seeding import generator
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import Pushforward
from solvers.solver import Solution

CPU = torch.device("cpu")
SMALL = ICNNJKO(step_size=0.1, iterations=150, batch_size=256, width=16, rank=2, pool_size=4096)
QUICK = ICNNJKO(step_size=0.1, iterations=12, batch_size=300, width=8, rank=2, pool_size=700)


def solved(solver: ICNNJKO, problem: Problem, seed: int = 0) -> Solution:
    return solver.solve(problem, generator(seed), CPU)


def line(potential: Potential, mean: float, std: float, beta: float, times: tuple[float, ...]) -> Problem:
    """A flow on the line from N(mean, std²)."""
    initial = Gaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([[std**2]], dtype=torch.float64))
    return Problem(GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), times), (), None, "not needed")


def gaussian_divergence(fit: Pushforward, law: Gaussian) -> float:
    """SymKL of the answer and a Gaussian as the mean of 2ℓ tanh(ℓ/2) over draws from both."""
    x, log_fit = fit.sample_with_log_prob(2048, generator(100))
    own = log_fit - law.log_prob(x)
    y = law.sample(2048, generator(101))
    other = fit.log_prob(y) - law.log_prob(y)
    return 0.5 * sum(float((2 * ratio * torch.tanh(ratio / 2)).mean()) for ratio in (own, other))


def same(left: Solution, right: Solution) -> bool:
    draws = [[one.sample(50, generator(9)) for one in solution.estimates] for solution in (left, right)]
    return all(map(torch.equal, *draws)) and left.diagnostics == right.diagnostics


@dataclass(frozen=True)
class Faulty(Potential):
    """x²/2 with a gradient that a function spoils."""

    spoil: Callable[[torch.Tensor], torch.Tensor]

    @property
    def dim(self) -> int:
        return 1

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square().sum(1)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.spoil(x)
