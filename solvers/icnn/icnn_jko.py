"""JKO steps in maps that are gradients of input-convex neural networks.

The scheme ρ_{k+1} = argmin_ρ W₂²(ρ, ρ_k)/2h + ∫Vρ + β⁻¹∫ρ log ρ (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29,
1998) is solved for the optimal map T from ρ_k to ρ_{k+1}, a gradient of a convex function by Brenier's theorem:

    T = argmin_{T=∇ψ, ψ convex} E_{x~ρ_k} [ ‖T(x)-x‖²/2h + V(T(x)) - β⁻¹ log det ∇T(x) ],

with ψ an input-convex network trained on particles of ρ_k (Mokrov, Korotin, Li, Genevay, Solomon, Burnaev, NeurIPS
2021). ``order=2`` replaces the step by its implicit midpoint rule, see ``solvers.icnn.step_objective``. It is for steps
that are shorter than 2 over the largest curvature of V; longer ones overshoot: one map squeezes the law, the next
stretches it again, and networks learn that badly. What differs from the published method: derivatives in closed form, a
quadratic skip connection to the output, which makes affine maps exact and the identity the start of training, and a
pool of particles that every map is applied to once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from problems.devices import placed
from problems.flow import GradientFlow
from problems.laws import Density
from problems.potentials import FiniteSum, Potential
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.checkpoint import Checkpoint
from solvers.filtering import assimilate
from solvers.icnn.affine_start import best_affine
from solvers.icnn.descent import Schedule
from solvers.icnn.filter import NetworkSteps
from solvers.icnn.flow_state import TRACES, Course, Guess
from solvers.icnn.parameter_gradients import slopes_on
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.training import Trainer
from solvers.maps import Pushforward
from solvers.networks.convex_network import Architecture
from solvers.preconditioning.curvature_metric import METRICS, Metric, metric_of, unsupported_metric
from solvers.reproducibility import batches_are_alike, warn_of_batches
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts
from solvers.threads import Run, workers

DTYPES = {"float32": torch.float32, "float64": torch.float64}

IMPLICITNESS = {1: 1.0, 2: 0.5}
STARTS = ("previous", "affine")


@dataclass(frozen=True, kw_only=True)
class ICNNJKO(Solver):
    """JKO steps of ``step_size``, each a network trained for ``iterations`` on batches from a pool of particles.

    The networks have ``depth`` layers of ``width`` units with quadratic forms of ``rank``, which begin up to
    ``sharpness`` times as steep as the initial law is wide: for potentials that vary on much shorter scales. Every step
    starts from the
    map of the step before and follows Adam with a learning rate that falls from ``learning_rate`` along a cosine. With
    a ``tolerance`` above 0, a step whose objective falls by less over a tenth of its schedule skips to the last fifth.
    ``shrinkage`` times the sum of the output weights is added to the objective of a step: hidden units that it does not
    need go, instead of drifting from step to step to where no particle is and the map then bends.
    ``minibatch`` is the number of cases by which a potential that is a sum over cases is estimated in an iteration;
    ``None`` takes all of them. With ``start = "affine"``, a step starts from the best affine map instead, see
    ``solvers.icnn.affine_start``. ``metric = "hessian"`` is for stationary laws that are much wider in some directions
    than in others: the flow is then that in the coordinates of ``solvers.preconditioning.curvature_metric``, with times
    and ``step_size`` in units of its relaxation, and the units begin as steep as the stationary law is wide there.

    Diagnostics: ``fresh_gap``, the largest difference over the steps between what the objective gains on the pool and
    on particles that no training has seen, in standard errors of the difference; ``stationarity``, the largest
    residual h‖E[T̄]‖ or h‖sym E[T̄ (x-x̄)ᵀ + H̄]‖ over the steps, which are 0 in an exact step (lengths squared for the
    second; T̄ and H̄ as in ``solvers.icnn.step_objective``); and ``last_gain``, by how much at most the objective still
    fell over the last tenth of a step's training. Traces: these for every step, its ``iterations`` and its ``seconds``.

    On a GPU an iteration is recorded as a CUDA graph and replayed, see ``solvers.icnn.descent``; ``cuda_graph = False``
    is for potentials whose gradients cannot be, because they wait for the device. The law found is the same.

    With observations it is a filter, see ``solvers.icnn.filter``; steps are then of ``step_size`` at most, so that they
    reach every observation, and no checkpoint is kept.
    """

    name: ClassVar[str] = "icnn-jko"
    version: ClassVar[int] = 3
    resumes: ClassVar[bool] = True
    batches_seeds: ClassVar[bool] = True
    assimilates: ClassVar[bool] = True
    step_size: float = 0.05
    order: int = 1
    iterations: int = 500
    batch_size: int = 1024
    width: int = 64
    depth: int = 2
    rank: int = 5
    sharpness: float = 1.0
    learning_rate: float = 2e-2
    tolerance: float = 0.0
    shrinkage: float = 1e-3
    pool_size: int = 32_768
    minibatch: int | None = None
    start: str = "previous"
    metric: str = "identity"
    dtype: str = "float32"
    cuda_graph: bool = True

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size, learning_rate=self.learning_rate)
        if not 1 <= self.sharpness < math.inf:
            raise ValueError(f"{self.name}: sharpness must be a finite number >= 1, got {self.sharpness}")
        for name in ("tolerance", "shrinkage"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{self.name}: {name} must be a finite number >= 0, got {getattr(self, name)}")
        require_counts(
            self.name,
            iterations=self.iterations,
            batch_size=self.batch_size,
            width=self.width,
            depth=self.depth,
            rank=self.rank,
            pool_size=self.pool_size,
        )
        if self.minibatch is not None:
            require_counts(self.name, minibatch=self.minibatch)
        require_choice(self.name, "order", self.order, tuple(IMPLICITNESS))
        require_choice(self.name, "start", self.start, STARTS)
        require_choice(self.name, "metric", self.metric, METRICS)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))
        require_choice(self.name, "cuda_graph", self.cuda_graph, (False, True))
        if self.batch_size > self.pool_size:
            raise ValueError(
                f"{self.name}: batch_size must be at most pool_size {self.pool_size}, got {self.batch_size}"
            )

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if flow.energy.interaction is not None:
            return "the free energy must have no interaction term"
        if not isinstance(flow.initial, Density):
            return f"the initial law must have a density, which {type(flow.initial).__name__} has not"
        if self.batch_size <= flow.dim:
            return f"a batch of {self.batch_size} particles does not span dimension {flow.dim}"
        if self.minibatch is not None:
            if not isinstance(flow.potential, FiniteSum):
                return "minibatches need a potential that is a sum over cases"
            if self.minibatch > flow.potential.cases:
                return f"there are {flow.potential.cases} cases, fewer than a minibatch of {self.minibatch}"
        return unsupported_metric(self.metric, problem)

    def solve(
        self, problem: Problem, generator: torch.Generator, device: torch.device, checkpoint: Path | None = None
    ) -> Solution:
        if problem.observations is not None:
            with torch.no_grad(), workers() as run:
                return assimilate(self._filter(problem.flow, generator, device, run), problem, generator)
        (solution,) = self.solve_batch([problem], [generator], device, checkpoint)
        if isinstance(solution, Diverged):
            raise solution
        return solution

    def solve_batch(
        self,
        problems: Sequence[Problem],
        generators: Sequence[torch.Generator],
        device: torch.device,
        checkpoint: Path | None = None,
    ) -> list[Solution | Diverged]:
        """Follow several problems of one dimension and the same times at once, each with its own generator.

        Each solution is that of ``solve`` with the same generator, to the bit on the CPU, where they are solved one
        after the other, with a warning, if this process's products in a batch round otherwise than alone. A problem on
        which training fails gets its ``Diverged``, and the others don't notice. With a folder ``checkpoint``, what is
        needed to go on is kept there after every JKO step; a run that finds it goes on from there, to the same bits.
        """
        if any(problem.observations is not None for problem in problems):
            return [self._alone(*one, device, None) for one in zip(problems, generators, strict=True)]
        if len(problems) > 1 and device.type == "cpu" and not batches_are_alike():
            warn_of_batches(self.name)
            folders = [None if checkpoint is None else checkpoint / str(place) for place in range(len(problems))]
            return [
                self._alone(problem, generator, device, folder)
                for problem, generator, folder in zip(problems, generators, folders, strict=True)
            ]
        flows = [problem.flow for problem in problems]
        if len({(flow.dim, flow.times) for flow in flows}) != 1:
            raise ValueError(f"{self.name}: problems solved together must have the same dimension and times")
        architecture = Architecture(flows[0].dim, self.width, self.depth, self.rank)
        counts = step_counts(flows[0].times, self.step_size)
        kept = None
        if checkpoint is not None:
            identity = f"{self!r} in dimension {flows[0].dim} to {flows[0].times}, {len(flows)} at once"
            kept = Checkpoint(checkpoint, identity)
        with torch.no_grad(), workers() as run:
            starts, courses = [], []
            for flow, generator in zip(flows, generators, strict=True):
                courses.append(self._course(flow, generator, device))
                starts.append(self._start(architecture, flow, generator))
            parameters = torch.cat(starts).to(device, DTYPES[self.dtype])
            trainer = self._trainer(architecture, parameters, run)
            done, earlier = 0, 0.0
            found = None if kept is None else kept.load()
            if found is not None:
                snapshots, state = found
                done, earlier = len(snapshots), state["seconds"]
                parameters.copy_(snapshots[-1])
                for network, (course, own) in enumerate(zip(courses, state["courses"], strict=True)):
                    course.restore(own, [architecture.weights(snapshot).of(network) for snapshot in snapshots])
            seconds = earlier
            for step in range(done + 1, counts[-1] + 1):
                going = [course for course in courses if course.failure is None]
                if not going:
                    break
                started = time.perf_counter()
                try:
                    self._step(trainer, courses, run)
                except torch.OutOfMemoryError as error:
                    raise torch.OutOfMemoryError(f"{self._memory_advice(len(courses))} ({error})") from error
                took = time.perf_counter() - started
                seconds += took
                for course in going:
                    course.traces["seconds"].append(took / len(going))
                    if course.failure is not None:
                        place = f"step {step} of {counts[-1]} (t = {step * self.step_size:g})"
                        course.failure = f"{place}: {course.failure}"
                if kept is not None:
                    state = {"seconds": seconds, "courses": [course.state() for course in courses]}
                    kept.save(step, parameters.cpu(), state)
        return [self._solution(flow, course, counts, earlier) for flow, course in zip(flows, courses, strict=True)]

    def _alone(
        self, problem: Problem, generator: torch.Generator, device: torch.device, checkpoint: Path | None
    ) -> Solution | Diverged:
        try:
            return self.solve(problem, generator, device, checkpoint)
        except Diverged as error:
            return error

    def _filter(self, flow: GradientFlow, generator: torch.Generator, device: torch.device, run: Run) -> NetworkSteps:
        assert isinstance(flow.initial, Density)
        architecture = Architecture(flow.dim, self.width, self.depth, self.rank)
        course = self._course(flow, generator, device)
        parameters = self._start(architecture, flow, generator).to(device, DTYPES[self.dtype])
        trainer = self._trainer(architecture, parameters, run)

        def step(course: Course, step_size: float) -> None:
            stepped = replace(self, step_size=step_size)
            course.objective_of = stepped._objective_of(flow, course.metric)
            course.guess = stepped._guess_of(flow, course.metric)
            started = time.perf_counter()
            self._step(trainer, [course], run)
            course.traces["seconds"].append(time.perf_counter() - started)

        return NetworkSteps(flow.initial, self.step_size, course, step)

    def _start(self, architecture: Architecture, flow: GradientFlow, generator: torch.Generator) -> torch.Tensor:
        """Return the parameters (size,) of a network that starts as the identity.

        Its units suit the width of the initial law, or, in a metric, that of the stationary law, 1/√β.
        """
        variance = 1 / flow.inverse_temperature
        if self.metric == "identity":
            variance = float(flow.initial.moments()[1].diagonal().mean())
        identity = architecture.identity(math.sqrt(variance), generator, self.sharpness)
        return torch.cat([part.flatten() for part in identity.parts()])

    def _objective_of(self, flow: GradientFlow, metric: Metric) -> Callable[[Potential], StepObjective]:
        return lambda potential: StepObjective(
            metric.seen(potential), flow.inverse_temperature, self.step_size, IMPLICITNESS[self.order]
        )

    def _guess_of(self, flow: GradientFlow, metric: Metric) -> Guess | None:
        if self.start == "previous":
            return None
        potential, beta = metric.seen(flow.potential), flow.inverse_temperature
        return partial(best_affine, potential=potential, beta=beta, step_size=self.step_size)

    def _course(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Course:
        dtype, metric, failure = DTYPES[self.dtype], Metric(), None
        try:
            metric = metric_of(self.metric, flow)
        except Diverged as error:
            failure = str(error)
        potential = placed(flow.potential, device, dtype)
        objective_of = self._objective_of(flow, placed(metric, device, dtype))
        course = Course.begin(flow.initial, metric, potential, objective_of, generator, self.pool_size, self.minibatch)
        course.guess, course.failure = self._guess_of(flow, metric), failure
        course.to(device, dtype)
        return course

    def _trainer(self, architecture: Architecture, parameters: torch.Tensor, run: Run) -> Trainer:
        schedule = Schedule(self.iterations, self.batch_size, self.learning_rate, self.tolerance, self.shrinkage)
        return Trainer(architecture, parameters, schedule, slopes_on(parameters.device, run), self.cuda_graph)

    def _step(self, trainer: Trainer, courses: Sequence[Course], run: Run) -> None:
        """Train the networks of one step, all at once, and let those courses take it that have not failed."""
        weights = trainer.descent.weights
        for network, course in enumerate(courses):
            course.start(weights.of(network))
        going = [network for network, course in enumerate(courses) if course.failure is None]
        objectives = {network: courses[network].objectives() for network in going}
        trainings = trainer.train(
            [course.pool for course in courses],
            lambda network: next(objectives[network][1]),
            [course.generator for course in courses],
            lambda network: courses[network].value(weights.of(network), objectives[network][0], run),
            going,
        )
        for network in going:
            courses[network].take(weights.of(network), objectives[network][0], trainings[network], run)

    def _memory_advice(self, networks: int) -> str:
        settings = f"batch_size below {self.batch_size} or width below {self.width}"
        return settings if networks == 1 else f"{settings}, or fewer than {networks} seeds at once"

    def _solution(
        self, flow: GradientFlow, course: Course, counts: Sequence[int], earlier: float
    ) -> Solution | Diverged:
        if course.failure is not None:
            return Diverged(course.failure)
        assert isinstance(flow.initial, Density)
        return Solution(
            flow.times,
            tuple(Pushforward(flow.initial, tuple(course.maps[:steps])) for steps in counts),
            Cost(gradient_evaluations=course.evaluations, earlier_seconds=earlier),
            course.worst(),
            {name: course.traces[name] for name in TRACES},
        )
