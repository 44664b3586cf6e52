"""The form of an answer: what a solver gave back beside what is asked of it, before anything is measured.

Tensors of another shape would broadcast, or be cut to the shortest, and give figures that look right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from problems.laws import Density, Law
from problems.problem import Problem
from solvers.estimates import DensityEstimate, Estimate, Exact, ParticleDensity, Particles
from solvers.maps import PushedLaw, Pushforward
from solvers.solver import Diverged, Solution

FLOATS = (torch.float64, torch.float32)
OURS = ("solvers.", "problems.")
"""Where the classes live whose fields are all that there is to them."""
LOOKED_AT = 2
"""Draws by which the form of a density is looked at."""


def require_sound(solution: Solution, problem: Problem, solver: str) -> None:
    """Raise unless a solution of the ``solver`` can be measured as an answer to the ``problem``.

    Raises ``TypeError`` and ``ValueError``, in one line that says what was given and what is asked, for an answer of
    another form, and ``Diverged`` where one of its estimates is unusable.
    """
    flow = problem.flow
    if not isinstance(solution, Solution):
        raise TypeError(f"{solver} must answer with a Solution, got {described(solution)}")
    times, estimates = tuple(solution.times), tuple(solution.estimates)
    if times != tuple(flow.times):
        raise ValueError(f"{solver} must answer at the times {tuple(flow.times)} of the flow, got {times}")
    if len(estimates) != len(times):
        raise ValueError(f"{solver} must give an estimate for each of {len(times)} time(s), got {len(estimates)}")
    for t, estimate in zip(times, estimates, strict=True):
        require_form(estimate, flow.dim, f"{solver} at t = {t:g}")
        defect = estimate.defect()
        if defect is not None:
            raise Diverged(f"at t = {t:g}: {defect}")
    if not problem.stationary:
        fault = one_memory(times, estimates)
        if fault is not None:
            raise ValueError(f"{solver}: {fault}")


def one_memory(times: Sequence[float], estimates: Sequence[Estimate]) -> str | None:
    """Return in words which estimates of different times are the same numbers in memory, or ``None`` where none are.

    A method that moves its particles in place and answers with them answers with those of the last time at all times.
    One law, or estimate of a plug-in's own type, that is given more than once is meant so; stationary ones all are.
    """
    seen: dict[Hashable, tuple[float, Estimate]] = {}
    for t, estimate in zip(times, estimates, strict=True):
        own = held(estimate)
        before, first = seen.setdefault(own, (t, estimate))
        same_law = isinstance(estimate, Exact) and isinstance(first, Exact) and estimate.law is first.law
        meant = same_law or own == id(estimate)
        if before != t and not meant:
            return (
                f"the answers at t = {before:g} and t = {t:g} share their numbers in memory, so that both hold those "
                f"written last: answer with a copy at each time, such as Particles(x.clone())"
            )
    return None


def held(value: Any) -> Hashable:
    """Return what tells a value from another one: of tensors where they lie, not what is written there.

    Of particles these are points and weights, of what plug-ins define it is the object itself.
    """
    if isinstance(value, torch.Tensor):
        return value.data_ptr(), tuple(value.shape), value.stride()
    if isinstance(value, Particles):
        return held(value.points), held(value.log_weights)
    if isinstance(value, tuple | list):
        return tuple(map(held, value))
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(OURS):
        return type(value), *(held(getattr(value, each.name)) for each in dataclasses.fields(value))
    return value if isinstance(value, int | float | str | None) else id(value)


def require_form(estimate: Any, dim: int, where: str) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless ``estimate`` has the form of one in ``dim`` dimensions."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"{where}: the answer must be an Estimate (solvers/estimates.py), got {described(estimate)}")
    kind = type(estimate).__name__
    if isinstance(estimate, Particles):
        points = estimate.points
        require_tensor(points, f"{where}: the points of {kind}", ("n", dim))
        require_tensor(estimate.log_weights, f"{where}: the log-weights of {kind}", (len(points),), optional=True)
        require_tensor(estimate.groups, f"{where}: the groups of {kind}", (len(points),), optional=True, whole=True)
        if isinstance(estimate, ParticleDensity):
            require_tensor(estimate.log_density, f"{where}: the log-density of {kind}", (len(points),))
    elif estimate.dim != dim:
        raise ValueError(f"{where}: {kind} has dimension {estimate.dim}, the problem {dim}")
    elif (law := unknown_law(estimate)) is not None:
        kind, generator = type(law).__name__, torch.Generator().manual_seed(0)
        draws = law.sample(LOOKED_AT, generator)
        require_tensor(draws, f"{where}: {LOOKED_AT} draws of {kind}", (LOOKED_AT, dim))
        if isinstance(law, Density | DensityEstimate) and not isinstance(law, Pushforward):  # which would be inverted
            found = law.log_prob(draws.double())
            require_tensor(found, f"{where}: log_prob of {kind} at {LOOKED_AT} points", (LOOKED_AT,))


def unknown_law(estimate: Estimate) -> Law | Estimate | None:
    """Return the law whose draws and density a plug-in, or its maps, may have in another form; ``None``: no such."""
    law = estimate.law if isinstance(estimate, Exact) else estimate
    known = type(law).__module__.startswith(OURS)
    return None if known and not isinstance(law, Pushforward | PushedLaw) else law


def require_tensor(
    given: Any, what: str, shape: tuple[int | str, ...], *, optional: bool = False, whole: bool = False
) -> None:
    """Raise unless ``given`` is a tensor on the CPU of this shape, of floating numbers or of ``whole`` ones.

    A letter stands for any number but 0. Raises ``TypeError`` for another kind, ``ValueError`` for another shape.
    """
    if given is None and optional:
        return
    wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    asked = f"{what} must be a torch tensor of {'whole' if whole else 'float64'} numbers of shape {wanted}"
    if not isinstance(given, torch.Tensor):
        raise TypeError(f"{asked}, got {described(given)}")
    right = not given.dtype.is_floating_point and not given.dtype.is_complex if whole else given.dtype in FLOATS
    if not right:
        raise TypeError(f"{asked}, got {described(given)}")
    if given.device.type != "cpu" or given.requires_grad:
        wrong = "that carries gradients: detach it" if given.requires_grad else f"on {given.device}: move it to the CPU"
        raise ValueError(f"{asked}, got one {wrong}")
    fits = len(given.shape) == len(shape) and all(
        have > 0 if isinstance(want, str) else have == want for have, want in zip(given.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{asked}, got {described(given)}")


def described(value: Any) -> str:
    """Return what kind of value this is, with its numbers and its shape where it has some."""
    kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
    parts = [
        f"of {value.dtype}" if hasattr(value, "dtype") else "",
        f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else "",
    ]
    return " ".join([kind, *filter(None, parts)])
