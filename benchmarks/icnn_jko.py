"""Training steps of ICNN-JKO, the inverse of its maps and seeds in one batch, against straightforward versions.

The plain training iteration does what the published method does in its tenth JKO step: fresh particles are pushed
through the nine maps so far, the Hessian comes from one automatic differentiation a column, the log-determinant from
``slogdet``, and the derivatives from a second pass through all that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bounds import at_least
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.devices import to_device
from problems.flow import Entropy
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import Density
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from solvers.estimates import Estimate
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.icnn.descent import Schedule
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.icnn.parameter_gradients import Batch, gradients_at_once, gradients_on
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.training import Trainer
from solvers.icnn.units import FramedMap
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import Architecture, Weights, potential
from solvers.particles.particle_pool import spread_draws
from solvers.threads import workers

THREADS = 2
STEP_SIZE = 0.05
EARLIER_MAPS = 9
CPU = torch.device("cpu")


def flow(dim: int) -> Problem:
    """Return the first of the paper's Ornstein-Uhlenbeck instances in this dimension."""
    return OrnsteinUhlenbeck(instance="mokrov2021").build(dim, 0, stream("problem"))


def parameters_of(architecture: Architecture, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the parameters of one network at the identity, with hidden units that take part."""
    weights = architecture.identity(1.0, stream("network"))
    weights.output.fill_(0.1 / architecture.width)
    return torch.cat([part.flatten() for part in weights.parts()]).to(dtype)


def trainer(
    architecture: Architecture,
    problem: Problem,
    batch: int,
    networks: int,
    device: torch.device = CPU,
    recorded: bool = True,
) -> Callable[[int], object]:
    """Return a function that trains ``networks`` for a number of iterations, as the solver does."""
    objective = StepObjective(to_device(problem.flow.potential, device, torch.float32), Entropy(1.0), STEP_SIZE, 1.0)
    parameters = parameters_of(architecture).repeat(networks).to(device)
    drawn = [spread_draws(problem.flow.initial, 32_768, stream("pool", own)) for own in range(networks)]
    assert isinstance(problem.flow.initial, Density)
    found = [problem.flow.initial.score(pool) for pool in drawn]
    scores = [own.to(device, torch.float32) for own in found if own is not None]
    pools = [pool.to(device, torch.float32) for pool in drawn]
    generators = [stream("batches", own) for own in range(networks)]

    def iterate(iterations: int) -> None:
        with torch.no_grad(), workers() as run:
            schedule = Schedule(iterations, batch, 1e-4)
            training = Trainer(architecture, parameters, schedule, gradients_on(device, run), recorded, scored=True)
            going = range(networks)
            training.train(pools, lambda _: objective, generators, lambda _: torch.zeros(2), going, scores=scores)

    return iterate


def plain_trainer(architecture: Architecture, problem: Problem, batch: int) -> Callable[[int], object]:
    """Return a function that trains by automatic differentiation."""
    objective = to_device(problem.flow.potential, CPU, torch.float32)
    flat = parameters_of(architecture).requires_grad_()
    optimiser = torch.optim.Adam([flat], lr=1e-4)
    generator = stream("solver")
    earlier = [architecture.weights(parameters_of(architecture)) for _ in range(EARLIER_MAPS)]

    def mapped(weights: Weights, x: torch.Tensor, keep: bool) -> torch.Tensor:
        (slope,) = torch.autograd.grad(potential(weights, x[None]).sum(), x, create_graph=keep)
        return slope

    def iterate(iterations: int) -> None:
        for _ in range(iterations):
            x = torch.randn(batch, architecture.dim, generator=generator)
            for weights in earlier:
                x = mapped(weights, x.requires_grad_(), keep=False).detach()
            start = x.requires_grad_()
            end = mapped(architecture.weights(flat), start, keep=True)
            columns = [
                torch.autograd.grad(end[:, axis].sum(), start, create_graph=True)[0] for axis in range(architecture.dim)
            ]
            log_det = torch.linalg.slogdet(torch.stack(columns, dim=2)).logabsdet
            loss = ((end - start).square().sum(1) / (2 * STEP_SIZE) + objective.value(end) - log_det).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                architecture.weights(flat).project()

    return iterate


def speed_of_training(dim: int, width: int, batch: int, ours: int, plain: int, repeats: int) -> Seconds:
    """Return seconds of one iteration, from turns of ``ours`` and ``plain`` iterations."""
    architecture, problem = Architecture(dim, width, 2, 5), flow(dim)
    own, other = trainer(architecture, problem, batch, 1), plain_trainer(architecture, problem, batch)
    seconds = side_by_side(repeats, ours=lambda: own(ours), plain=lambda: other(plain))
    counts = {"ours": ours, "plain": plain}
    return {name: [each / counts[name] for each in own_seconds] for name, own_seconds in seconds.items()}


class TrainingRatios(Profiled):
    """One training iteration on two threads: width 64 with batches of 1024, and width 512 with batches of 512."""

    timeout = 600.0
    cases: ClassVar[Mapping[str, tuple[int, int, int]]] = {
        "2d": (2, 64, 1024),
        "12d": (12, 64, 1024),
        "32d": (32, 64, 1024),
        "12d wide": (12, 512, 512),
        "32d wide": (32, 512, 512),
    }
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"ours": 1, "plain": 1, "repeats": 1, "shrink": 8},
        "regular": {"ours": 40, "plain": 2, "repeats": 3, "shrink": 1},
        "large": {"ours": 200, "plain": 10, "repeats": 7, "shrink": 1},
    }

    def setup_cache(self) -> dict[str, Seconds]:
        fix_threads(THREADS)
        size = self.size
        return {
            name: speed_of_training(
                dim, width // size["shrink"], batch // size["shrink"], size["ours"], size["plain"], size["repeats"]
            )
            for name, (dim, width, batch) in self.cases.items()
        }

    setup_cache.timeout = 600.0

    @at_least(5)
    def track_training_in_2d(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["2d"], "plain", "ours")

    @at_least(15)
    def track_training_in_12d(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["12d"], "plain", "ours")

    @at_least(10)
    def track_training_in_32d(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["32d"], "plain", "ours")

    @at_least(10)
    def track_training_in_12d_at_width_512(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["12d wide"], "plain", "ours")

    @at_least(10)
    def track_training_in_32d_at_width_512(self, seconds: dict[str, Seconds]) -> float:
        return ratio(seconds["32d wide"], "plain", "ours")


for _name, _track in vars(TrainingRatios).items():
    if _name.startswith("track_"):
        _track.unit = "times the speed of automatic differentiation"


class TrainingRate(Profiled):
    """Floating-point operations of the training's matrix products a second, against large matrix products."""

    params: ClassVar[list[int]] = [2, 12, 32]
    param_names: ClassVar[list[str]] = ["dimension"]
    timeout = 300.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"iterations": 1, "matrix": 64, "repeats": 1},
        "regular": {"iterations": 40, "matrix": 2048, "repeats": 3},
        "large": {"iterations": 200, "matrix": 4096, "repeats": 7},
    }

    def track_share_of_matrix_product_rate(self, dim: int) -> float:
        fix_threads(THREADS)
        size, architecture, problem = self.size, Architecture(dim, 64, 2, 5), flow(dim)
        objective = StepObjective(to_device(problem.flow.potential, CPU, torch.float32), Entropy(1.0), STEP_SIZE, 1.0)
        points = torch.randn(1024, dim, generator=stream("points"))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            weights = architecture.weights(parameters_of(architecture))
            gradients_at_once(Batch(architecture, weights, points[None], [objective], [0]))
        own = trainer(architecture, problem, 1024, 1)
        matrix = torch.randn(size["matrix"], size["matrix"], generator=stream("matrix"))
        seconds = side_by_side(size["repeats"], ours=lambda: own(size["iterations"]), product=lambda: matrix @ matrix)
        work = size["iterations"] * counter.get_total_flops() / (2 * size["matrix"] ** 3)
        return work * ratio(seconds, "product", "ours")

    track_share_of_matrix_product_rate.unit = "of the rate of large matrix products"


class SeedsRatio(Profiled):
    """Fifteen seeds trained in one batch and one after the other, on two threads."""

    timeout = 600.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"seeds": 2, "iterations": 1, "repeats": 1},
        "regular": {"seeds": 15, "iterations": 40, "repeats": 3},
        "large": {"seeds": 15, "iterations": 200, "repeats": 7},
    }

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        seeds, iterations = self.size["seeds"], self.size["iterations"]
        architecture, problem = Architecture(2, 64, 2, 5), flow(2)
        together, alone = (trainer(architecture, problem, 1024, count) for count in (seeds, 1))
        return side_by_side(
            self.size["repeats"],
            together=lambda: together(iterations),
            alone=lambda: [alone(iterations) for _ in range(seeds)],
        )

    setup_cache.timeout = 600.0

    @at_least(1.5)
    def track_throughput_of_seeds_together(self, seconds: Seconds) -> float:
        return ratio(seconds, "alone", "together")

    track_throughput_of_seeds_together.unit = "times that of seeds one at a time"


def plain_log_prob(law: Density, maps: tuple[FramedMap, ...], y: torch.Tensor) -> torch.Tensor:
    """Return the log-density at ``y`` (n, D) of a law pushed through the maps, by automatic differentiation.

    Each network is inverted by L-BFGS on the conjugate problem of all points at once, to residuals of 1e-6.
    """
    y, log_det = y.double(), y.new_zeros(len(y), dtype=torch.float64)
    for framed in reversed(maps):
        if not isinstance(framed.step, ConvexMap):
            y, own = framed.inverse(y)
            log_det += own
            continue
        weights, y = framed.step.weights, framed.frame.inside(y)
        x = y.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [x], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure(x: torch.Tensor = x, y: torch.Tensor = y, weights: Weights = weights) -> torch.Tensor:
            x.grad = None
            value = potential(weights, x[None]).sum() - (x * y).sum()
            value.backward()
            return value

        optimiser.step(closure)
        (mapped,) = torch.autograd.grad(potential(weights, x[None]).sum(), x, create_graph=True)
        columns = [torch.autograd.grad(mapped[:, axis].sum(), x, retain_graph=True)[0] for axis in range(x.shape[1])]
        log_det += torch.linalg.slogdet(torch.stack(columns, dim=2)).logabsdet
        y = framed.frame.outside(x.detach())
    return law.log_prob(y) - log_det


class InversionRatio(Profiled):
    """Log-densities at 8192 points through ten maps to a mixture of Gaussians in six dimensions, on two threads."""

    timeout = 900.0
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"points": 64, "iterations": 5, "repeats": 1},
        "regular": {"points": 8192, "iterations": 200, "repeats": 2},
        "large": {"points": 8192, "iterations": 500, "repeats": 7},
    }

    def setup_cache(self) -> Seconds:
        fix_threads(THREADS)
        problem = GaussianMixtureFlow(instance="random", times=(0.5,)).build(6, 0, stream("problem"))
        solver = ICNNJKO(iterations=self.size["iterations"], batch_size=256, pool_size=8192)
        (fit,) = solver.solve(problem, stream("solver"), CPU).estimates
        assert problem.truth is not None
        points = problem.truth(0.5).sample(self.size["points"], stream("points"))
        return side_by_side(
            self.size["repeats"],
            ours=lambda: fit.log_prob(points),
            plain=lambda: plain_log_prob(fit.base, fit.maps, points),
        )

    setup_cache.timeout = 900.0

    @at_least(10)
    def track_inversion(self, seconds: Seconds) -> float:
        return ratio(seconds, "plain", "ours")

    track_inversion.unit = "times the speed of L-BFGS with automatic differentiation"


def symkl(estimate: Estimate, law: Density, draws: int) -> float:
    """Return SymKL of an answer and a law, from draws of both."""
    fit = estimate.density
    assert fit is not None
    x, y = fit.sample(draws, stream("draws")), law.sample(draws, stream("truth"))
    ratio = torch.cat([fit.log_prob(x) - law.log_prob(x), fit.log_prob(y) - law.log_prob(y)])
    return float((2 * ratio * torch.tanh(0.5 * ratio)).mean())


class TimeToFloor(Profiled):
    """Seconds of a solve, on one thread, whose SymKL is at most 1.05 of what its time step leaves.

    Of the published Ornstein-Uhlenbeck flow in twelve dimensions that is the exact scheme's, of a mixture in the plane
    the least of all trainings here, each twice as long as the one before. ``inf`` where none gets there.
    """

    timeout = 900.0
    unit = "s"
    within: ClassVar[float] = 1.05
    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"dim": 2, "times": (0.1,), "iterations": (5, 10), "settings": {"width": 8}, "draws": 200},
        "regular": {"dim": 12, "times": (0.4,), "iterations": (50, 100, 200, 400), "settings": {}, "draws": 8192},
        "large": {"dim": 12, "times": (0.4,), "iterations": (50, 100, 200, 400, 800), "settings": {}, "draws": 32_768},
    }

    def track_flow_in_12d(self) -> float:
        fix_threads(1)
        problem = flow(self.size["dim"])
        assert problem.truth is not None
        law, own = problem.truth(problem.flow.times[0]), GaussianJKO().solve(problem, stream("solver"), CPU)
        started = time.perf_counter()
        answer = ICNNJKO().solve(problem, stream("solver"), CPU)
        seconds = time.perf_counter() - started
        floor, found = (symkl(each.estimates[0], law, self.size["draws"]) for each in (own, answer))
        return seconds if found <= self.within * floor else math.inf

    def track_mixture_in_the_plane(self) -> float:
        fix_threads(1)
        size = self.size
        problem = GaussianMixtureFlow(instance="mokrov2021", times=size["times"], truth="marginal").build(
            2, 0, stream("problem")
        )
        assert problem.truth is not None
        law = problem.truth(size["times"][0])
        found = []
        for iterations in size["iterations"]:
            solver = ICNNJKO(step_size=0.1, iterations=iterations, sharpness=8.0, **size["settings"])
            started = time.perf_counter()
            (fit,) = solver.solve(problem, stream("solver"), CPU).estimates
            found.append((time.perf_counter() - started, symkl(fit, law, size["draws"])))
        floor = min(reached for _, reached in found)
        return next(seconds for seconds, reached in found if reached <= self.within * floor)
