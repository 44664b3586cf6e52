"""A GPU for machines that have none: tensors that say they are on it, and hold their numbers on the CPU.

What a real one refuses is refused here: operations on tensors of both devices, numpy's sight of its tensors, random
numbers from a generator of the other device, and, while a graph is recorded, whatever waits for the device. Speed and
rounding are those of the CPU. Only the thread that entered ``pretended_gpu`` sees it, and ``torch.func`` does not see
through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

# What asks the device for numbers or for a shape that depends on them, and what brings numbers there.
WAITING = (
    *("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__contains__"),
    *("equal", "allclose", "nonzero", "argwhere", "masked_select", "unique", "repeat_interleave", "bincount"),
)
BRINGING = ("tensor", "as_tensor", "new_tensor", "from_numpy")

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


class PretendedGraph:
    """A CUDA graph: the calls of a recording, which ``replay`` makes again on the same memory."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], Any, Any, Any]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.replays = 0

    def replay(self) -> None:
        """Make the calls."""
        self.replays += 1
        with torch._C.DisableTorchFunction():
            for function, args, kwargs, results in self.calls:
                for kept, new in zip(tensors_in(results), tensors_in(function(*args, **kwargs)), strict=True):
                    if address(kept) != address(new):
                        kept.copy_(new)

    def refuse(self, name: str, leaves: Sequence[Any], place: torch.device, there: Sequence[OnGPU]) -> None:
        """Raise ``RuntimeError`` where a call has to wait for the device, or the device for the host."""
        from_host = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, OnGPU)]
        masks = name in LOOKUPS and any(leaf.dtype == torch.bool for leaf in there[1:])
        crossing = place == GPU and (name in BRINGING or (from_host and name in (*COPIES, *LOOKUPS)))
        if crossing or masks or (there and (name in WAITING or (place == CPU and name in COPIES))):
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")

    def keep(self, there: Sequence[OnGPU]) -> None:
        """Keep what lies in the memory of tensors that a call may change."""
        for tensor in there:
            storage = tensor.inner.untyped_storage()
            if storage.data_ptr() not in self.before:
                self.before[storage.data_ptr()] = storage, storage.clone()

    def restore(self) -> None:
        """Put back what the calls have changed while they were recorded, which a recording does not do."""
        for storage, kept in self.before.values():
            storage.copy_(kept)
        self.before.clear()


RECORDING: list[PretendedGraph] = []


@contextmanager
def recording(graph: PretendedGraph) -> Iterator[None]:
    """Record calls until the context ends."""
    RECORDING.append(graph)
    try:
        yield
    finally:
        RECORDING.pop()
        with torch._C.DisableTorchFunction():
            graph.restore()


def tensors_in(result: Any) -> list[torch.Tensor]:
    """Return the tensors of a call's result."""
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def address(tensor: torch.Tensor) -> int:
    """Return where the memory of a tensor on the CPU begins."""
    return tensor.untyped_storage().data_ptr()


class Interception(TorchFunctionMode):
    """Sends calls that make tensors through ``carried_out`` too."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(function, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Yield the device, which is there until the context ends."""
    with (
        patch("torch.Generator", PlacedGenerator),
        patch("torch.cuda.CUDAGraph", PretendedGraph),
        patch("torch.cuda.graph", recording),
        patch("torch.cuda.device", nullcontext),
        Interception(),
    ):
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
        for graph in RECORDING:
            graph.refuse(name, leaves, place, there)
            graph.keep(there)
        result = function(*inner_args, **inner_kwargs)
        if place == GPU and tensors_in(result):
            for graph in RECORDING:
                graph.calls.append((function, inner_args, inner_kwargs, result))
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
