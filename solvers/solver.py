"""The contract of a solver: a frozen dataclass of all its hyper-parameters that turns a problem into a solution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from problems.flow import Entropy, InternalEnergy
from problems.laws import Density
from problems.problem import Problem
from problems.unavailable import Unavailable as Unavailable
from solvers.estimates import Estimate


class Diverged(ArithmeticError):
    """The method produced values that are not finite, or left its domain; the message says where."""


@dataclass(frozen=True)
class Cost:
    """What a solution cost: seconds of set-up (grids, factorisations), evaluations of ∇V (one per point).

    ``earlier_seconds`` are those of a run that was cut off and that this one went on from; the harness adds them.
    """

    setup_seconds: float = 0.0
    gradient_evaluations: int = 0
    earlier_seconds: float = 0.0


@dataclass(frozen=True)
class Solution:
    """Estimates at the flow's times, one each, with their cost and what the method has to say about itself.

    ``diagnostics`` holds plain numbers and strings (residuals, effective sample sizes, error estimates). ``traces``
    holds series with one finite number for each step of the method, in order (``seconds``, ``iterations``,
    ``residual``); ``assimilated`` those with one for each observation that a filter took in, its ``observation_time``
    among them (see ``solvers.filtering.assimilate``).
    """

    times: tuple[float, ...]
    estimates: tuple[Estimate, ...]
    cost: Cost = Cost()
    diagnostics: Mapping[str, float | int | str] = field(default_factory=dict)
    traces: Mapping[str, Sequence[float]] = field(default_factory=dict)
    assimilated: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Solver(ABC):
    """A method. Fields are its hyper-parameters; nothing else may change its results.

    Subclasses set ``name`` and raise ``version`` whenever the same settings come to give other numbers. Invalid
    settings raise ``ValueError`` when the dataclass is made.

    A method is asked to solve what it declares that it solves, and nothing else: by default the Fokker-Planck equation
    ∂ρ = ∇·(ρ∇V) + β⁻¹Δρ from any law in any dimension, without observations. ``unsupported`` is for what hangs on its
    settings.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy,)
    """What the internal energy may be; ``None``: absent."""
    interacts: ClassVar[bool] = False
    """Whether the free energy may have an interaction."""
    stationary_only: ClassVar[bool] = False
    """Whether the method finds stationary laws only, since it does not follow a flow in time."""
    assimilates: ClassVar[bool] = False
    """Whether the method takes observations into account, where a problem has them."""
    needs_density: ClassVar[bool] = False
    """Whether the initial law must have a density."""
    most_dimensions: ClassVar[int | None] = None
    """The most dimensions that the method solves in, or ``None`` where there is no such limit."""
    orders: ClassVar[tuple[int, ...]] = ()
    """Orders of the error in the step size: one, or those that settings choose among; none without time steps."""
    resumes: ClassVar[bool] = False
    """Whether ``solve`` and ``solve_batch`` take a folder ``checkpoint``, from which a run that was killed goes on."""
    batches_seeds: ClassVar[bool] = False
    """Whether ``solve_batch(problems, generators, device)`` solves instances of one size together, each as alone."""

    @property
    def sample_size(self) -> int | None:
        """Number of particles that the answer consists of, or ``None`` for an answer with a density."""
        return None

    @property
    def order_in_time(self) -> int | None:
        """Order of the error in the step size with these settings, or ``None`` where there is no such error.

        By default it is the one that the method has, or its setting ``order`` where it has several.
        """
        if len(self.orders) > 1:
            return int(getattr(self, "order"))  # noqa: B009 - a setting of some subclasses
        return self.orders[0] if self.orders else None

    def check_times(self, times: Sequence[float]) -> None:  # noqa: B027 - most methods accept any times
        """Raise ``ValueError`` when the settings cannot reach these observation times."""

    def unsupported(self, problem: Problem) -> str | None:
        """Return why, with these settings, a problem that fits the declarations is not solved; ``None`` when it is."""
        return None

    def refusal(self, problem: Problem) -> str | None:
        """Return in one line why this method is not run on the problem, by what it declares or by ``unsupported``."""
        flow = problem.flow
        if problem.observations is not None and not self.assimilates:
            return f"{self.name} is no filter: it would ignore the observations"
        if self.stationary_only and not problem.stationary:
            return f"stationary problems only: {self.name} does not follow the flow in time"
        if not solves_energy(self.internal_energies, flow.energy.internal):
            allowed = " or ".join("absent" if each is None else each.__name__ for each in self.internal_energies)
            given = "absent" if flow.energy.internal is None else type(flow.energy.internal).__name__
            return f"the internal energy must be {allowed}, not {given}"
        if flow.energy.interaction is not None and not self.interacts:
            return "the free energy must have no interaction term"
        if self.most_dimensions is not None and flow.dim > self.most_dimensions:
            few = "one-dimensional" if self.most_dimensions == 1 else f"at most {self.most_dimensions}-dimensional"
            return f"{few} problems only, this one has dimension {flow.dim}"
        if self.needs_density and not isinstance(flow.initial, Density):
            return f"the initial law must have a density, which {type(flow.initial).__name__} has not"
        return self.unsupported(problem)

    @abstractmethod
    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Follow ``problem.flow`` to its times.

        All randomness comes from ``generator`` (on the CPU). Estimates come back on the CPU.

        Raises ``Diverged`` when the result would not be finite.
        """


def solves_energy(declared: Sequence[type[InternalEnergy] | None], internal: InternalEnergy | None) -> bool:
    """Return whether an internal energy is among the ``declared`` ones; of a subclass it is."""
    return any(internal is None if kind is None else isinstance(internal, kind) for kind in declared)


def step_counts(times: Sequence[float], step_size: float) -> tuple[int, ...]:
    """Return how many steps of ``step_size`` reach each time, as integers, so that no step is lost to rounding.

    Raises ``ValueError`` for a step larger than a time or one that a time is not a multiple of (to 1e-9 relative).
    """
    if step_size > times[-1]:
        raise ValueError(f"step_size {step_size:g} is larger than the horizon {times[-1]:g}")
    counts = tuple(round(time / step_size) for time in times)
    for time, count in zip(times, counts, strict=True):
        if count < 1 or abs(count * step_size - time) > 1e-9 * time:
            raise ValueError(f"time {time:g} is not a multiple of step_size {step_size:g}")
    return counts
