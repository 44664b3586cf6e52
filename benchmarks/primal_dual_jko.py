"""Training iterations of primal-dual JKO, against a straightforward version with automatic differentiation.

The plain iteration does what the released runs of the method do: modules of linear layers, three updates of the dual
and one of the map by ``torch.optim.Adam``, all on one batch of draws of the law and one of the reference, the first
moved anew for each. Both train the same networks on the same objective. Neither pushes draws through the maps of
earlier steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch.nn.functional import softplus

from benchmarks.bounds import at_least
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.devices import to_device
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.particles.particle_pool import spread_draws
from solvers.primal_dual.references import reference_draws
from solvers.primal_dual.saddle_point import SaddlePoint, StepTerms
from solvers.primal_dual.settings import PrimalDualSettings
from solvers.primal_dual.training import by_turns, even_parts
from solvers.primal_dual.variational import VariationalEnergy
from solvers.threads import workers

THREADS = 2
STEP_SIZE = 0.05
INNER_UPDATES = 3
CPU = torch.device("cpu")


class Settings(PrimalDualSettings):
    """The sizes of the networks; nothing is solved."""

    name: ClassVar[str] = "primal-dual-jko"


def trainer(problem: Problem, width: int, batch: int) -> Callable[[int], object]:
    """Return a function that trains for a number of iterations, as the solver does."""
    dim, generator = problem.flow.dim, stream("solver")
    settings = Settings(
        width=width,
        dual_width=width,
        dual_activation="silu",
        batch_size=batch,
        dual_quadratic=False,
        reference="gaussian",
    )
    network, dual = settings.map_network(dim), settings.dual_network(dim)
    pool = spread_draws(problem.flow.initial, 32_768, generator).float()
    reference = reference_draws(dim, False, 32_768, generator).float()
    pools = [even_parts(each, batch, generator) for each in (pool, reference)]
    zero, identity = torch.zeros(dim), torch.eye(dim)
    terms = StepTerms(
        to_device(problem.flow.potential, CPU, torch.float32),
        None,
        VariationalEnergy.of(problem.flow.energy.internal, 0.0),
        STEP_SIZE,
        1.0,
        *(zero, identity, zero, identity, zero),
        None,
        False,
    )
    parameters = network.initial(generator).float(), dual.initial(generator).float()

    def iterate(iterations: int) -> None:
        with torch.no_grad(), workers() as run:
            saddle = SaddlePoint(network, dual, parameters, batch, run)
            own, others = (by_turns(each, generator) for each in pools)
            for _ in range(iterations):
                saddle.push(terms, next(own))
                for _ in range(INNER_UPDATES):
                    saddle.update_dual(terms, next(others), 1e-4)
                saddle.update_map(terms, 1e-4)

    return iterate


def perceptron(dim: int, width: int, values: int) -> torch.nn.Module:
    """Return a perceptron of two hidden layers."""
    return torch.nn.Sequential(
        torch.nn.Linear(dim, width),
        torch.nn.SiLU(),
        torch.nn.Linear(width, width),
        torch.nn.SiLU(),
        torch.nn.Linear(width, values),
    )


def plain_trainer(problem: Problem, width: int, batch: int) -> Callable[[int], object]:
    """Return a function that trains by automatic differentiation."""
    dim, generator = problem.flow.dim, stream("solver")
    residual, dual = perceptron(dim, width, dim), perceptron(dim, width, 1)
    optimisers = {net: torch.optim.Adam(net.parameters(), lr=1e-4) for net in (residual, dual)}
    potential = to_device(problem.flow.potential, CPU, torch.float32)

    def drawn() -> torch.Tensor:
        return torch.randn(batch, dim, generator=generator)

    def iterate(iterations: int) -> None:
        for _ in range(iterations):
            x, z = drawn(), drawn()
            for _ in range(INNER_UPDATES):
                with torch.no_grad():
                    moved = x + residual(x)
                ratio_there, ratio_reference = softplus(dual(moved)), softplus(dual(z))
                loss = ratio_reference.mean() - ratio_there.log().mean()
                optimisers[dual].zero_grad()
                loss.backward()
                optimisers[dual].step()
            moved = x + residual(x)
            log_h = softplus(dual(moved)).log()[:, 0] - 0.5 * moved.square().sum(1)
            loss = ((moved - x).square().sum(1) / (2 * STEP_SIZE) + potential.value(moved) + log_h).mean()
            optimisers[residual].zero_grad()
            loss.backward()
            optimisers[residual].step()

    return iterate


class PrimalDualTrainingRatios(Profiled):
    """One training iteration, three updates of the dual and one of the map, on two threads."""

    timeout = 600.0
    cases: ClassVar[Mapping[str, int]] = {"2d": 2, "32d": 32}
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"iterations": 1, "repeats": 1, "width": 8, "batch": 128},
        "regular": {"iterations": 30, "repeats": 5, "width": 64, "batch": 1024},
        "large": {"iterations": 100, "repeats": 9, "width": 64, "batch": 1024},
    }

    def setup_cache(self) -> dict[str, Seconds]:
        fix_threads(THREADS)
        size, found = self.size, {}
        for name, dim in self.cases.items():
            problem = OrnsteinUhlenbeck(instance="mokrov2021").build(dim, 0, stream("problem"))
            own = trainer(problem, size["width"], size["batch"])
            plain = plain_trainer(problem, size["width"], size["batch"])
            found[name] = side_by_side(
                size["repeats"],
                ours=lambda own=own: own(size["iterations"]),
                plain=lambda plain=plain: plain(size["iterations"]),
            )
        return found

    setup_cache.timeout = 600.0

    @at_least(1.5)
    def track_training_in_2d(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["2d"], "plain", "ours")

    @at_least(1.4)
    def track_training_in_32d(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["32d"], "plain", "ours")


for _name, _track in vars(PrimalDualTrainingRatios).items():
    if _name.startswith("track_"):
        _track.unit = "times the speed of automatic differentiation"
