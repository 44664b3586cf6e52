"""A GPU for machines that have none: tensors that say they are on it, and hold their numbers on the CPU.

What a real one refuses is refused here: operations on tensors of both devices, numpy's sight of its tensors, and random
numbers from a generator of the other device. Speed and rounding are those of the CPU. Only the thread that entered
``pretended_gpu`` sees it, and ``torch.func`` does not see through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

# Work across devices: copies, and look-ups by whole numbers, which may be on the CPU.
COPIES, LOOKUPS = ("to", "copy_", "cpu"), ("__getitem__", "__setitem__")


class OnGPU(torch.Tensor):
    """A tensor without numbers of its own; they are those of ``inner``, on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnGPU:
        made: OnGPU = torch.Tensor._make_subclass(cls, torch.empty_like(inner, device="meta"))
        made.inner = inner
        return made

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(function, args, kwargs or {})


class PlacedGenerator(torch.Generator):
    """A generator that knows its device."""

    place: torch.device

    def __new__(cls, device: torch.device | str = CPU) -> PlacedGenerator:
        made: PlacedGenerator = super().__new__(cls)
        made.place = torch.device(device)
        return made


class Interception(TorchFunctionMode):
    """Sends calls that make tensors through ``carried_out`` too."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(function, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Yield the device, which is there until the context ends."""
    with patch("torch.Generator", PlacedGenerator), Interception():
        yield GPU


def carried_out(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what the function gives, computed on the CPU and put where it would be.

    Raises ``RuntimeError`` or ``TypeError`` where a GPU would.
    """
    name = getattr(function, "__name__", "")
    if function is torch.device:
        return function(*args, **kwargs)
    leaves = tree_leaves((args, kwargs))
    there = [leaf for leaf in leaves if isinstance(leaf, OnGPU)]
    with torch._C.DisableTorchFunction():
        if there and name == "__get__" and function.__self__.__name__ == "device":
            return GPU
        if there and name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if there and name not in COPIES:
            refuse_mixture(name, [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)])
        place = destination(name, args, kwargs, bool(there))
        for generator in leaves:
            if isinstance(generator, torch.Generator) and getattr(generator, "place", CPU) != place:
                raise RuntimeError(f"{name}: the generator is not on {place}")
        if name == "to" and (place == GPU) != isinstance(args[0], OnGPU):
            kwargs = {**kwargs, "copy": True}
        inner_args, inner_kwargs = tree_map(on_cpu, (tuple(args), kwargs))
        result = function(*inner_args, **inner_kwargs)
        if place == CPU:
            return result
        known = {id(tensor.inner): tensor for tensor in there}
        return put(result, known)


def refuse_mixture(name: str, tensors: Sequence[torch.Tensor]) -> None:
    """Raise ``RuntimeError`` where tensors on the CPU are neither scalars nor, in a look-up, whole numbers."""
    for tensor in tensors:
        if not isinstance(tensor, OnGPU) and tensor.ndim and (name not in LOOKUPS or tensor.is_floating_point()):
            shapes = [(type(each).__name__, tuple(each.shape)) for each in tensors]
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, got {shapes}")


def destination(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], there: bool) -> torch.device:
    """Return the device of a call's result; ``there`` says whether some of its arguments are on the GPU."""
    if name == "cpu":
        return CPU
    if name == "copy_":
        return GPU if isinstance(args[0], OnGPU) else CPU
    if name == "to":
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, torch.Tensor):
                return GPU if isinstance(value, OnGPU) else CPU
            if (device := device_of(value)) is not None:
                return device
    device = device_of(kwargs.get("device"))
    return (GPU if there else CPU) if device is None else device


def device_of(value: Any) -> torch.device | None:
    """Return the device that an argument names, if it does."""
    named = isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"))
    return (CPU if torch.device(value).type == "cpu" else GPU) if named else None


def on_cpu(value: Any) -> Any:
    """Return an argument as the CPU is to see it."""
    if isinstance(value, OnGPU):
        return value.inner
    return value if device_of(value) is None else CPU


def put(result: Any, known: Mapping[int, OnGPU]) -> Any:
    """Return a result with its tensors on the GPU: those that were arguments, changed in place, as they were."""
    if isinstance(result, torch.Tensor):
        return known[id(result)] if id(result) in known else OnGPU(result)
    if isinstance(result, torch.Size) or not isinstance(result, tuple | list):
        return result
    parts = [put(part, known) for part in result]
    return type(result)(parts)
