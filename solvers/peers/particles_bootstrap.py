"""particles 0.4 (``SMC`` of ``Bootstrap``): the bootstrap filter, whose particles follow dX = -∇V(X) dt + √(2/β) dW.

Chopin, Papaspiliopoulos, An Introduction to Sequential Monte Carlo, Springer 2020.

Kept: ``SMC``'s loop, systematic resampling where the effective sample size is below half of the particles, weights and
evidence, arrays of float64. Changed, to solve the same equation: the transition from one observation to the next is
Euler-Maruyama in steps of ``step_size``, written as a user of the library would, with our gradient and, as all of the
library's, NumPy's global stream, which gets a seed from the generator passed in and is put back; times at which nothing
is observed are steps of a likelihood of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.problem import Problem
from problems.validation import require_counts, require_number, require_positive
from solvers.estimates import Estimate, Particles, importance
from solvers.filtering import equal_steps, summary, timeline
from solvers.peers import numpys_stream
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution, Solver, step_counts


@dataclass(frozen=True, kw_only=True)
class ParticlesBootstrap(Solver):
    """The bootstrap filter of particles, of so many ``particles`` by Euler-Maruyama steps of at most ``step_size``.

    They are resampled, before they move, when their effective sample size is below ``threshold`` times their number.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "particles-bootstrap"
    needs: ClassVar[Mapping[str, str]] = {"particles": "pip install --no-deps particles==0.4"}
    assimilates: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1,)
    particles: int = 10_000
    step_size: float = 1e-3
    threshold: float = 0.5

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles)
        require_positive(self.name, step_size=self.step_size)
        require_number(self.name, at_least=0, at_most=1, threshold=self.threshold)

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the weighted particles at each time, given the observations by then; all of it runs on the CPU.

        Raises ``Diverged`` when particles are not finite, or an observation leaves nothing of them.
        """
        stages, stops = Stages(), legs(problem)
        with stages.importing():
            import particles
            from particles.distributions import ProbDist
            from particles.state_space_models import Bootstrap, StateSpaceModel
        with stages.stage("compile"):
            resampled_once(particles)
        walk = Walk(problem.flow, self.step_size)
        initial = problem.flow.initial.sample(self.particles, generator).numpy()
        estimates: list[Estimate] = []
        assimilated: dict[str, list[float]] = {}

        class Moved(ProbDist):
            """The law of particles that follow the flow from ``points`` between two times."""

            dim = problem.flow.dim

            def __init__(self, points: Reals, start: float, stop: float) -> None:
                self.points, self.start, self.stop = points, start, stop

            def rvs(self, size: int | None = None) -> Reals:
                return walk(self.points, self.start, self.stop)

        class Observed(ProbDist):
            """The law of an observation of particles at ``points``."""

            def __init__(self, points: Reals) -> None:
                self.points = points

            def logpdf(self, likelihood: Callable[[torch.Tensor], torch.Tensor] | None) -> Reals:
                if likelihood is None:
                    return np.zeros(len(self.points))
                return likelihood(torch.from_numpy(self.points)).numpy()

        class Model(StateSpaceModel):
            """The hidden diffusion, seen at every stop."""

            def PX0(self) -> Any:
                return Moved(initial, 0.0, stops[0].time)

            def PX(self, t: int, xp: Reals) -> Any:
                return Moved(xp, stops[t - 1].time, stops[t].time)

            def PY(self, t: int, xp: Reals, x: Reals) -> Any:
                return Observed(x)

        with stages.stage("run"), numpys_stream.lent(generator):
            likelihoods = [stop.likelihood(problem) for stop in stops]
            run = particles.SMC(
                fk=Bootstrap(ssm=Model(), data=likelihoods), N=self.particles, ESSrmin=self.threshold, collect="off"
            )
            before = 0.0
            for stop, likelihood in zip(stops, likelihoods, strict=True):
                next(run)
                if not (math.isfinite(run.logLt) and np.isfinite(run.X).all()):
                    raise Diverged(f"the weights or the particles are not finite at t = {stop.time:g}")
                answer = Particles(torch.from_numpy(run.X), torch.from_numpy(run.wgts.lw))
                if likelihood is not None:
                    predicted = run.wgts.lw - likelihood(answer.points).numpy()
                    record = noted(stop.time, answer, torch.from_numpy(predicted), likelihood)
                    for name, value in (record | {"log_evidence": float(run.logLt - before)}).items():
                        assimilated.setdefault(name, []).append(value)
                before = run.logLt
                if stop.asked:
                    estimates.append(answer)
        diagnostics = stages.diagnostics()
        if problem.observations is not None:
            taken = assimilated.get("log_evidence", [])
            shares = assimilated.get("effective_share", ())
            diagnostics |= {
                "log_evidence": math.fsum(taken),
                "observations": len(taken),
                "smallest_effective_share": min(shares, default=1.0),
            }
        return Solution(
            problem.flow.times, tuple(estimates), stages.cost(walk.evaluations), diagnostics, {}, assimilated
        )


class Leg(NamedTuple):
    """The end of a leg, at a ``time``: an ``observation``, by number, or none, and whether the law is ``asked`` for."""

    time: float
    observation: int | None
    asked: bool

    def likelihood(self, problem: Problem) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Return the log-likelihood of the observation, of points (n, D), or ``None``."""
        if self.observation is None:
            return None
        assert problem.observations is not None
        return problem.observations.likelihood(self.observation)


def legs(problem: Problem) -> list[Leg]:
    """Return where the filter stops on its way: once for each observation in order, without those that are missing."""
    found = []
    for stop in timeline(problem.flow.times, problem.observations):
        seen: list[int | None] = []
        for number in stop.observations:
            assert problem.observations is not None
            if not problem.observations.is_missing(number):
                seen.append(number)
        if not seen and stop.asked:
            seen.append(None)
        found += [Leg(stop.time, number, stop.asked and place == len(seen) - 1) for place, number in enumerate(seen)]
    return found


class Walk:
    """A walk moves points (n, D) by Euler-Maruyama steps of at most ``step_size``, with noise of NumPy's stream."""

    def __init__(self, flow: GradientFlow, step_size: float) -> None:
        self.flow, self.step_size, self.evaluations = flow, step_size, 0

    def __call__(self, points: Reals, start: float, stop: float) -> Reals:
        """Return where the points have come to from one time to the next, (n, D)."""
        if stop <= start:
            return points
        count, h = equal_steps(stop - start, self.step_size)
        scale = math.sqrt(2 * h / self.flow.inverse_temperature)
        for _ in range(count):
            slope = self.flow.potential.gradient(torch.from_numpy(points)).numpy()
            points = points - h * slope + scale * np.random.standard_normal(points.shape)  # noqa: NPY002 - as in particles
        self.evaluations += count * len(points)
        return points


def noted(
    time: float, answer: Particles, predicted: torch.Tensor, likelihood: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, float]:
    """Return what a filter notes of an observation, by name, of the ``answer`` and its log-weights before, (n,)."""
    before = Particles(answer.points, predicted)
    _, _, share = importance(before.normalised_log_weights, likelihood(answer.points))
    return {
        "observation_time": time,
        "effective_share": share,
        "effective_sample_size": answer.effective_sample_size,
        **summary(before, "predictive"),
        **summary(answer, "posterior"),
    }


def resampled_once(particles: Any) -> None:
    """Have ``particles`` compile what it resamples by."""
    particles.resampling.inverse_cdf(np.array([0.25, 0.75]), np.array([0.5, 0.5]))
