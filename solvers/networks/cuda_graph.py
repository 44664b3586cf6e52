"""The recording of work as a CUDA graph, with a plain message where it fails."""

from __future__ import annotations

from collections.abc import Callable

import torch


def recording(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Return a CUDA graph of the kernels that ``work`` launches; recording does not run them.

    Raises ``RuntimeError`` where the work waits for the device, and ``OutOfMemoryError`` where its memory is full.
    """
    graph = torch.cuda.CUDAGraph()
    first: list[Exception] = []
    try:
        with torch.cuda.graph(graph):
            try:
                work()
            except Exception as error:
                first.append(error)
                raise
    except RuntimeError as error:
        # The end of a recording that has failed fails as well, and would hide why.
        cause = first[0] if first else error
        if isinstance(cause, torch.OutOfMemoryError):
            raise cause from None
        raise RuntimeError(
            "an iteration could not be recorded as a CUDA graph: the potential's gradient may wait for the device, as "
            f".item() and .cpu() do, and must not; cuda_graph = False trains without ({cause})"
        ) from cause
    return graph
