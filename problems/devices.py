"""Moving potentials and laws to the device and floating-point type that a solver computes in."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch

T = TypeVar("T")

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Floating-point types that a solver may compute in, by the names that settings have for them."""


def to_device(value: T, device: torch.device, dtype: torch.dtype) -> T:
    """Return ``value`` with every floating-point tensor in it on ``device`` in ``dtype``.

    The function follows the fields of dataclasses, the items of tuples and nothing else; tensors keep their shapes
    (...), and integer and Boolean ones their type. A dataclass comes back as a new instance made from its fields
    alone: its checks, which were passed in the precision it was built in and may be too strict for the rounded values,
    do not run again, and factors that it caches are worked out anew.
    """
    moved: object = value
    if isinstance(value, torch.Tensor):
        moved = value.to(device, dtype if value.is_floating_point() else value.dtype)
    elif isinstance(value, tuple):
        items = [to_device(item, device, dtype) for item in value]
        moved = type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = object.__new__(type(value))
        for field in dataclasses.fields(value):
            object.__setattr__(moved, field.name, to_device(getattr(value, field.name), device, dtype))
    return moved  # type: ignore[return-value]
