"""Filtering, written once: follow the flow to the next observation, condition on it, go on.

    ρ(t_k⁻) = propagate ρ(t_{k-1}) from t_{k-1} to t_k,   p(y_k | y_1…y_{k-1}) = ∫ p(y_k | x) ρ(t_k⁻),
    ρ(t_k) = p(y_k | x) ρ(t_k⁻) / p(y_k | y_1…y_{k-1}).

A method that can carry an estimate along a flow is a filter: it brings a ``Propagation``, the loop and the estimate's
own ``condition`` do the rest (Särkkä & Solin, Applied Stochastic Differential Equations, 2019, chapter 10). Without
observations the loop is a plain solve.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import GradientFlow
from problems.observations import Observations, distinct_times, same_time
from problems.problem import Problem
from problems.references.exact_filter import ImpossibleObservation
from solvers.estimates import Estimate
from solvers.solver import Cost, Diverged, Solution, Solver

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class Propagation:
    """A propagation carries an estimate along one flow; it may keep what is made once (factors, random streams).

    What a filter implements: ``start`` and ``advance``, and optionally ``cost``, ``diagnostics`` and ``traces``. The
    estimates are the method's own: those that it starts from and returns, or what their ``condition`` made of them.
    """

    @abstractmethod
    def start(self) -> Estimate:
        """Return the estimate of the initial law."""

    @abstractmethod
    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        """Return the estimate at time ``stop`` of a flow that is at ``estimate`` at time ``start`` < ``stop``.

        Raises ``Diverged`` when the result would not be finite.
        """

    def cost(self) -> Cost:
        """Return the cost of everything so far."""
        return Cost()

    def diagnostics(self) -> Mapping[str, float | int | str]:
        """Return the method's own diagnostics by name, once all is done."""
        return {}

    def traces(self) -> Mapping[str, Sequence[float]]:
        """Return the series, by name, with one number for each step so far."""
        return {}


class Filter(Solver):
    """A filter is a solver that takes observations into account.

    A subclass implements ``propagation`` instead of ``solve``; all else is the contract of ``Solver``.
    """

    assimilates: ClassVar[bool] = True

    @abstractmethod
    def propagation(self, flow: GradientFlow, generator: torch.Generator, device: torch.device) -> Propagation:
        """Return the propagation of this method along ``flow``, from its initial law.

        All randomness is from ``generator``; work is done on ``device``.
        """

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the estimates of ``problem.flow`` at its times, each given the observations by then.

        All randomness comes from ``generator`` (on the CPU). Estimates come back on the CPU.

        Raises ``Diverged`` when the result would not be finite, or an observation leaves nothing of an estimate.
        """
        return assimilate(self.propagation(problem.flow, generator, device), problem, generator)


@dataclass(frozen=True)
class Stop:
    """A stop is a time at which observations, given by index, are taken in, and then an estimate may be asked for."""

    time: float
    observations: tuple[int, ...]
    asked: bool


def timeline(times: tuple[float, ...], observations: Observations | None) -> Iterator[Stop]:
    """Yield the stops on the way to the last of ``times``; later observations are of no use to any of them."""
    observed = () if observations is None else observations.times
    useful = [time for time in observed if time <= times[-1] or same_time(time, times[-1])]
    last = max((*times, *useful))
    for time in distinct_times((*times, *useful)):
        yield Stop(
            time,
            tuple(index for index, other in enumerate(observed) if same_time(other, time, last)),
            any(same_time(other, time, last) for other in times),
        )


def assimilate(propagation: Propagation, problem: Problem, generator: torch.Generator) -> Solution:
    """Return the estimates at the flow's times, each given the observations by then, that time's own included.

    Diagnostics: ``log_evidence`` of the observations by the last time, the numbers of ``observations`` taken in and of
    those ``missing``, and the ``smallest_effective_share``. ``assimilated`` has one number for each observation taken
    in: its ``observation_time``, ``log_evidence``, ``effective_share`` (see ``Conditioned``), for particles the
    ``effective_sample_size``, and mean, standard deviation and, on the line, quantiles of the predictive law and of the
    posterior. Traces are those of the propagation's steps.

    Raises ``Diverged`` for an observation that leaves nothing of the estimate, with its number and time.
    """
    observations, times = problem.observations, problem.flow.times
    estimate, now = propagation.start(), 0.0
    estimates: list[Estimate] = []
    assimilated: dict[str, list[float]] = {}
    taken, missing = 0, 0
    for stop in timeline(times, observations):
        if not same_time(stop.time, now, times[-1]):
            estimate, now = propagation.advance(estimate, now, stop.time), stop.time
        for index in stop.observations:
            assert observations is not None
            if observations.is_missing(index):
                missing += 1
                continue
            taken += 1
            record = summary(estimate, "predictive")
            try:
                estimate, log_evidence, share = estimate.condition(observations.likelihood(index), generator)
            except ImpossibleObservation as error:
                raise Diverged(f"observation {index + 1} (t = {stop.time:g}): {error}") from error
            defect = estimate.defect()
            if defect is not None:
                raise Diverged(f"observation {index + 1} (t = {stop.time:g}): {defect}")
            record |= {"observation_time": stop.time, "log_evidence": log_evidence, "effective_share": share}
            if estimate.effective_sample_size is not None:
                record["effective_sample_size"] = estimate.effective_sample_size
            for name, value in (record | summary(estimate, "posterior")).items():
                assimilated.setdefault(name, []).append(value)
        if stop.asked:
            estimates.append(estimate)
    diagnostics = dict(propagation.diagnostics())
    if observations is not None:
        diagnostics |= {
            "log_evidence": math.fsum(assimilated.get("log_evidence", ())),
            "observations": taken,
            "missing": missing,
            "smallest_effective_share": min(assimilated.get("effective_share", ()), default=1.0),
        }
    return Solution(times, tuple(estimates), propagation.cost(), diagnostics, propagation.traces(), assimilated)


def summary(estimate: Estimate, name: str) -> dict[str, float]:
    """Return mean, standard deviation and, in one dimension, quantiles of an estimate, by name."""
    mean, covariance = estimate.moments(fixed_stream())
    if estimate.dim > 1:
        found = {f"{name}_mean[{place}]": float(value) for place, value in enumerate(mean)}
        return found | {f"{name}_std[{place}]": math.sqrt(float(v)) for place, v in enumerate(covariance.diagonal())}
    found = {f"{name}_mean": float(mean), f"{name}_std": math.sqrt(float(covariance))}
    values = estimate.quantiles(LEVELS, fixed_stream())
    return found | {f"{name}_q{round(100 * level):02d}": value for level, value in zip(LEVELS, values, strict=True)}


def fixed_stream() -> torch.Generator:
    """Return a stream, always the same, for looking at an estimate: what comes after must not depend on who looked."""
    return torch.Generator().manual_seed(0)


def equal_steps(duration: float, step_size: float) -> tuple[int, float]:
    """Return the number and the size of equal steps of at most ``step_size`` that make up ``duration``.

    They are of ``step_size`` itself where the duration is a multiple of it, to rounding.
    """
    count = max(1, math.ceil(duration / step_size - 1e-9))
    multiple = abs(count * step_size - duration) <= 1e-9 * duration
    return count, step_size if multiple else duration / count
