"""The contract of a solver: a frozen dataclass of all its hyper-parameters that turns a problem into a solution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch

from problems.flow import Entropy, InternalEnergy
from problems.laws import Density
from problems.problem import Problem
from problems.unavailable import Unavailable as Unavailable
from solvers.estimates import Estimate
from solvers.limits import Limit

STEP_ROUNDING = 1e-9
"""Relative error to which a number of steps must reach a time."""


class Diverged(ArithmeticError):
    """The error of a method that produced values that are not finite, or left its domain; the message says where."""


@dataclass(frozen=True)
class Cost:
    """A cost counts what a solution took.

    ``setup_seconds`` are those of grids and factorisations, ``gradient_evaluations`` those of ∇V, one for each point,
    ``earlier_seconds`` those of a run that was cut off and that this one went on from. The harness measures the time
    of ``solve`` itself and adds the earlier seconds.
    """

    setup_seconds: float = 0.0
    gradient_evaluations: int = 0
    earlier_seconds: float = 0.0


@dataclass(frozen=True)
class Solution:
    """A solution holds one estimate for each of the flow's times, its cost, and what the method says about itself.

    ``times`` are those of the flow, increasing; ``estimates`` are as many (``solvers/estimates.py``), on the CPU.

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
    """A solver turns a problem into a solution. This docstring is the whole contract of one.

    **What you write.** A subclass that is a dataclass with ``frozen=True, kw_only=True``. Its fields are all of its
    hyper-parameters, each with a default; nothing else may change its results, so a solver keeps no state between
    calls. It has

    - ``name``, the name on the command line and in suites (required);
    - ``solve(problem, generator, device)``, which returns a ``Solution`` (required);
    - ``__post_init__``, which raises ``ValueError`` for settings out of range (``problems/validation.py`` has the
      checks, one line each).

    **What solve may rely on.** ``problem.flow`` (``problems/flow.py``) has

    - ``initial``, a law with ``sample(n, generator)`` of shape (n, D), float64, and, if it is a ``Density``,
      ``log_prob(x)`` of shape (n,);
    - ``potential``, with ``value(x)`` of shape (n,), ``gradient(x)`` (n, D) and ``hessian(x)`` (n, D, D) at points
      ``x`` (n, D), in the dtype and on the device of its tensors (``problems.devices.to_device`` moves them);
    - ``energy``, with the internal energy and the interaction; of an ``Entropy`` also ``inverse_temperature`` β;
    - ``dim`` D, ``times``, increasing and positive, and the last of them, ``horizon``.

    Nobody stops a solver from reading ``problem.truth``; only the oracle should.

    **What solve must keep.** All randomness comes from ``generator``, a stream on the CPU; global seeds are neither
    read nor set, and the same settings, problem and generator give the same bits whatever the number of threads
    (``solvers/threads.py`` helps). Points and log-densities come back as float64 on the CPU. Each time's lie in memory
    of their own: a method that moves its points in place answers with copies. ``Diverged`` says where a method broke
    down; any other exception is a fault, and becomes a row with its traceback.

    **What you declare**, as class variables: what the method solves. It is asked to solve nothing else; by default
    that is the Fokker-Planck equation ∂ρ = ∇·(ρ∇V) + β⁻¹Δρ from any law in any dimension, without observations. What
    it declines becomes a row ``skipped`` with the reason (``refusal``), and ``wgfbench list`` prints the declarations.

    =====================  ============  ==================================================================
    declaration            default       meaning
    =====================  ============  ==================================================================
    ``version``            1             raise it when the same settings come to give other numbers: cells
                                         that are stored are then run again
    ``internal_energies``  (Entropy,)    classes of internal energies; ``None`` among them: it may be absent
    ``interacts``          False         the free energy may have an interaction
    ``stationary_only``    False         finds the stationary law only; gives it at every time
    ``assimilates``        False         takes observations into account; ``solvers.filtering.Filter`` sets it
    ``needs_density``      False         the initial law must have a density
    ``most_dimensions``    None          most dimensions it solves in; ``None``: any
    ``orders``             ()            orders of the error in the step size: one, or those that a setting
                                         ``order`` chooses among; none without time steps, and where a
                                         ``step_size`` is no flow time, as a sampler's
    ``needs``              {}            modules of other packages that it imports when it solves, each with the
                                         command that installs it; without one of them it is "unavailable"
    ``resumes``            False         takes a folder ``checkpoint``, see below
    ``batches_seeds``      False         has ``solve_batch``
    ``limits``             {}            limits (``solvers.limits.Limit``) by diagnostic, beyond which tables
                                         mark the figures of an answer as unfinished
    =====================  ============  ==================================================================

    **What is optional**, as methods:

    - ``sample_size``: the number of particles that the answer consists of; by default ``None``, an answer with a
      density or of ``Nodes``. The harness sets the same number of exact draws beside it.
    - ``order_in_time``: the order with these settings; by default read off ``orders``.
    - ``not_alike()``: a flow that is moved by 10,000 widths, turned, or in other units of length or time gets the same
      answer, moved likewise; where with these settings it does not, a reason under "shift", "turn", "small units",
      "large units" or "time". ``wgfbench check`` tries the others.
    - ``check_times(times)``: raises ``ValueError`` where the settings cannot reach the times, such as a ``step_size``
      that they are no multiples of (``step_counts``); by default accepts any.
    - ``unsupported(problem)``: why a problem that fits the declarations is not solved with these settings, in one
      line; by default ``None``, which is: it is.
    - ``solve_batch(problems, generators, device)``: several instances at once; with ``batches_seeds``.

    With ``resumes``, ``solve`` (and ``solve_batch``) take a further argument ``checkpoint``, a folder or ``None``,
    keep in it what they need to go on (``solvers/checkpoint.py``), and go on from what they find there, to the same
    bits; its loss costs time only.

    A method that takes observations in derives from ``solvers.filtering.Filter``, which has ``solve`` and asks for
    ``propagation`` instead.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy,)
    interacts: ClassVar[bool] = False
    stationary_only: ClassVar[bool] = False
    assimilates: ClassVar[bool] = False
    needs_density: ClassVar[bool] = False
    most_dimensions: ClassVar[int | None] = None
    orders: ClassVar[tuple[int, ...]] = ()
    needs: ClassVar[Mapping[str, str]] = {}
    resumes: ClassVar[bool] = False
    batches_seeds: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, Limit]] = {}

    @property
    def sample_size(self) -> int | None:
        """The number of particles that the answer consists of, or ``None`` for an answer with a density."""
        return None

    @property
    def order_in_time(self) -> int | None:
        """The order of the error in the step size with these settings, or ``None`` where there is no such error.

        By default it is the one that the method has, or its setting ``order`` where it has several.
        """
        if len(self.orders) > 1:
            return int(getattr(self, "order"))  # noqa: B009 - a setting of some subclasses
        return self.orders[0] if self.orders else None

    def check_times(self, times: Sequence[float]) -> None:  # noqa: B027 - most methods accept any times
        """Check that the settings can reach ``times``.

        Raises ``ValueError`` when they cannot.
        """

    def not_alike(self) -> Mapping[str, str]:
        """Return what motions of a flow, by their names, these settings do not answer alike, and why."""
        return {}

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
        """Return the estimates of ``problem.flow`` at its times, worked out on ``device``.

        All randomness comes from ``generator`` (on the CPU). Estimates come back on the CPU. The problem is one that
        ``refusal`` has nothing against.

        Raises ``Diverged`` when the result would not be finite.
        """

    def solve_batch(
        self, problems: Sequence[Problem], generators: Sequence[torch.Generator], device: torch.device
    ) -> Sequence[Solution | Diverged]:
        """Return, for problems of one dimension and the same times, what ``solve`` gives for each with its generator.

        The bits on the CPU are those that each has alone. A problem on which the method breaks down gets the
        ``Diverged`` that ``solve`` would raise, and the others don't notice. Called only with ``batches_seeds``.

        Raises ``NotImplementedError`` where the method does not bring it, which is the default.
        """
        raise NotImplementedError(f"{self.name} solves one instance at a time: it has no solve_batch")


def solves_energy(declared: Sequence[type[InternalEnergy] | None], internal: InternalEnergy | None) -> bool:
    """Return whether ``internal`` is an instance of one of the ``declared`` classes, or absent where they allow it."""
    return any(internal is None if kind is None else isinstance(internal, kind) for kind in declared)


def step_counts(times: Sequence[float], step_size: float) -> tuple[int, ...]:
    """Return how many steps of ``step_size`` reach each time, as integers, so that no step is lost to rounding.

    Raises ``ValueError`` for a step larger than a time, one that a time is not a multiple of (to 1e-9 relative), and
    two times that the same step reaches.
    """
    if step_size > times[-1] * (1 + STEP_ROUNDING):
        raise ValueError(f"step_size {in_full(step_size)} is larger than the horizon {in_full(times[-1])}")
    counts = tuple(round(time / step_size) for time in times)
    for time, count in zip(times, counts, strict=True):
        if count < 1 or abs(count * step_size - time) > STEP_ROUNDING * time:
            raise ValueError(f"time {in_full(time)} is not a multiple of step_size {in_full(step_size)}")
    for place, (earlier, later) in enumerate(pairwise(counts)):
        if later <= earlier:
            raise ValueError(
                f"times {times[place]!r} and {times[place + 1]!r} are one for step_size {in_full(step_size)}"
            )
    return counts


def in_full(value: float) -> str:
    """Return a number by all of its digits, and where these are of single precision, what it was."""
    single = np.float32(value)
    if float(single) == value != float(str(single)):
        return f"{float(value)!r} (which is {single:g} in float32)"
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
