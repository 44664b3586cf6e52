"""Checks of user input: each failure is one line with what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar, Protocol

import torch

TIMES_APART = 1e-8
"""Relative distance of two times below which they are one with other rounding; steps reach times to a tenth of it."""


class Named(Protocol):
    """A dataclass of settings with the name that messages give it."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def require_positive(owner: str, **values: float) -> None:
    """Raise ``ValueError`` unless every named value is a finite number > 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not (math.isfinite(value) and value > 0):
            raise ValueError(f"{owner}: {name} must be a finite number > 0, got {value!r}")


def require_number(owner: str, at_least: float = -math.inf, at_most: float = math.inf, **values: float) -> None:
    """Raise ``ValueError`` unless every named value is a finite number in this range."""
    allowed = "a finite number"
    if math.isfinite(at_most):
        allowed = f"between {at_least:g} and {at_most:g}"
    elif math.isfinite(at_least):
        allowed = f"a finite number >= {at_least:g}"
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and at_least <= value <= at_most):
            raise ValueError(f"{owner}: {name} must be {allowed}, got {value!r}")


def require_counts(owner: str, at_least: int = 1, **values: int) -> None:
    """Raise ``ValueError`` unless every named value is a whole number ≥ ``at_least``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ValueError(f"{owner}: {name} must be a whole number >= {at_least}, got {value!r}")


def require_seed(owner: str, seed: int) -> None:
    """Raise ``ValueError`` unless ``seed``, the number of an instance, is a whole number ≥ 0."""
    require_counts(owner, at_least=0, seed=seed)


def require_default(settings: Named, names: Sequence[str], why: str) -> None:
    """Raise ``ValueError``, ending in ``why``, unless these fields of ``settings`` have their defaults."""
    for name in names:
        value, default = getattr(settings, name), type(settings).__dataclass_fields__[name].default
        if value != default:
            raise ValueError(f"{settings.name}: {name} must be left at {default!r}, got {value!r}: {why}")


def require_choice(owner: str, name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def require_times(owner: str, times: Sequence[float]) -> None:
    """Raise ``ValueError`` unless ``times`` is a non-empty increasing sequence of finite numbers > 0.

    Raises it for two that differ by rounding only, too, such as .3 and .1 + .2: no step would lie between them.
    """
    if isinstance(times, str) or not isinstance(times, Sequence):
        raise ValueError(f"{owner}: times must be a list of numbers, got {times!r}")
    if not times:
        raise ValueError(f"{owner}: times must hold at least one time")
    require_positive(owner, **{f"times[{index}]": time for index, time in enumerate(times)})
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError(f"{owner}: times must increase, got {tuple(times)!r}")
    for earlier, later in pairwise(times):
        if later - earlier <= TIMES_APART * later:
            raise ValueError(f"{owner}: times {earlier!r} and {later!r} are one, written differently: leave one out")


def require_finite(owner: str, **tensors: torch.Tensor) -> None:
    """Raise ``ValueError``, naming the first, unless all tensors (of any shape (...,)) are finite."""
    for name, tensor in tensors.items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ValueError(f"{owner}: {name} holds {bad} value(s) that are not finite")


def require_spd(owner: str, name: str, matrix: torch.Tensor) -> None:
    """Raise ``ValueError`` unless ``matrix`` (D, D) is finite, symmetric and positive definite.

    Entries may differ from their mirror images by 1e-10 of the largest.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ValueError(f"{owner}: {name} must be a square matrix, got shape {tuple(matrix.shape)}")
    require_finite(owner, **{name: matrix})
    asymmetry = float((matrix - matrix.T).abs().max())
    if asymmetry > 1e-10 * float(matrix.abs().max()):
        raise ValueError(f"{owner}: {name} must be symmetric, but differs from its transpose by {asymmetry:.3g}")
    smallest = float(torch.linalg.eigvalsh(matrix)[0])
    if smallest <= 0:
        raise ValueError(f"{owner}: {name} must be positive definite, but its smallest eigenvalue is {smallest:.6g}")
