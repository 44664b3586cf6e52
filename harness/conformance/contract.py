"""Verdicts of checks, the checks that every component has to pass, and the global state that none may touch."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

from harness.catalogue import Kind, all_settings, make

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of one check: ``detail`` says what was seen where it passed, and what is wrong where it did not."""

    check: str
    passed: bool
    detail: str


class Violation(Exception):
    """A component breaks its contract; the message says how."""


def require(holds: bool, message: str) -> None:
    """Raise ``Violation`` with the message unless the condition holds."""
    if not holds:
        raise Violation(message)


def verdict(name: str, check: Callable[[C], str], subject: C) -> Verdict:
    """Return the verdict of one check; whatever the component raises in it counts against the component."""
    try:
        return Verdict(name, True, check(subject))
    except Violation as violation:
        return Verdict(name, False, str(violation))
    except Exception as error:
        return Verdict(name, False, f"raised {type(error).__name__}: {error}")


def check_definition(component: type[Any], kind: Kind, base: type[Any]) -> str:
    """Check that a component is a frozen dataclass of its base with a name, a version, and documentation."""
    require(isinstance(component, type) and issubclass(component, base), f"not a subclass of {base.__name__}")
    parameters = vars(component).get("__dataclass_params__")
    require(parameters is not None, "the class itself must be decorated with @dataclass(frozen=True, kw_only=True)")
    require(parameters.frozen, "the dataclass must be frozen")
    name = getattr(component, "name", None)
    require(isinstance(name, str) and name.strip() != "", f"name must be a non-empty string, got {name!r}")
    version = component.version
    require(type(version) is int and version >= 1, f"version must be a whole number >= 1, got {version!r}")
    # Without one of its own, a dataclass gets its signature as documentation.
    own = component.__doc__ or ""
    require(own.strip() != "" and not own.startswith(f"{component.__name__}("), "the class has no docstring")
    module = sys.modules[component.__module__].__doc__ or ""
    require(module.strip() != "", f"the module {component.__module__} has no docstring")
    return f"{kind} {name!r}, version {version}"


def check_round_trip(component: type[Any], kind: Kind) -> str:
    """Check that the default settings are valid and survive the way through a suite: JSON and back."""
    default = component()
    settings = all_settings(default)
    again = make(kind, component, settings)
    require(again == default, f"settings {settings} come back as {all_settings(again)}")
    require(hash(again) == hash(default), "equal settings must have equal hashes")
    return ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "no settings"


def tensors_in(value: object) -> list[torch.Tensor]:
    """Return every tensor, of any shape (...,), in dataclasses, partials, mappings and sequences, in a fixed order."""
    if isinstance(value, torch.Tensor):
        return [value]
    members: list[object] = []
    if isinstance(value, functools.partial):
        members = [*value.args, *value.keywords.values()]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        members = list(value.values())
    elif isinstance(value, tuple | list):
        members = list(value)
    return [tensor for member in members for tensor in tensors_in(member)]


def copies(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return copies of the tensors, of the same shapes (...,)."""
    return [tensor.detach().clone() for tensor in tensors]


def same_bits(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    """Return whether two lists hold the same tensors, shapes (...,) and bits alike, so that a NaN equals itself."""

    def raw(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().contiguous().flatten().view(torch.uint8)

    return len(left) == len(right) and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(raw(a), raw(b))
        for a, b in zip(left, right, strict=True)
    )


def generator(seed: int) -> torch.Generator:
    """Return a CPU generator of this seed."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def global_state() -> dict[str, object]:
    """Return the state of the process that results could depend on, in a form that compares."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - it must stay untouched
    return {
        "torch's global random state": bytes(torch.get_rng_state().tolist()),
        "numpy's global random state": (np.asarray(keys).tobytes(), position, has_gauss, cached),
        "Python's global random state": random.getstate(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


def touched(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names of the parts of the global state that differ."""
    return [name for name in before if before[name] != after[name]]


def all_finite(*values: float) -> bool:
    """Return whether every number is finite."""
    return all(map(math.isfinite, values))
