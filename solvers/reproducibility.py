"""The arithmetic of matrix products, held to the same bits alone or in a batch.

On x86, PyTorch multiplies with Intel's MKL, which picks a kernel for a product by the processor and by how many
matrices a batch has; on other makers' processors a network in a batch then rounds otherwise than alone. With the
environment variable ``MKL_CBWR`` it takes one code path, the processor's best, for all products (Intel oneMKL Developer
Guide, "Getting Started with Conditional Numerical Reproducibility"). MKL reads it at its first operation in a process,
so it must be there before. Where PyTorch is built without MKL, as on Arm, it multiplies the matrices of a batch one
after the other, and there is nothing to set.

Two things hold under no setting, and our code avoids them: products on several threads (`solvers/threads.py` gives each
product one), and products of a batch with single vectors, n × k by k × 1 (sums of elementwise products stand for them).
"""

from __future__ import annotations

import os
import warnings
from functools import cache

VARIABLE = "MKL_CBWR"
BEST_CODE_PATH = "AUTO"
# Rows, inner dimension and columns of products whose bits change with the batch on an AMD processor (Zen 5, MKL 2024.2)
# where nothing is held, and two that networks train with; batches of so many matrices.
TRIED_SHAPES = ((3, 700, 3), (1, 2048, 3), (300, 3, 64), (1024, 12, 64))
TRIED_BATCHES = (2, 3, 15)


def hold() -> None:
    """Set in this process's environment what holds products to one code path; child processes inherit it.

    Call it before torch works out anything. A value that the user has set is left alone.
    """
    os.environ.setdefault(VARIABLE, BEST_CODE_PATH)


def arithmetic() -> str:
    """Return in one line what the bits of figures depend on besides the processor and the versions of packages."""
    import numpy  # noqa: F401 - so that its BLAS is loaded, and found below
    import threadpoolctl
    import torch

    pools = threadpoolctl.threadpool_info()
    kernels = sorted({pool["architecture"] for pool in pools if pool["internal_api"] == "openblas"})
    held = os.environ.get(VARIABLE)
    if not torch.backends.mkl.is_available():
        products = "torch without MKL"
    else:
        products = f"{VARIABLE} not set" if held is None else f"{VARIABLE}={held}"
    of_numpy = f", NumPy with OpenBLAS for {'/'.join(kernels)}" if kernels else ""
    return f"{torch.backends.cpu.get_cpu_capability()} instructions, {products}{of_numpy}"


@cache
def batches_are_alike() -> bool:
    """Return whether products of a batch have the bits that each has alone on one thread, as tried in this process."""
    import torch

    from solvers.threads import workers

    source = torch.Generator().manual_seed(0)
    with workers():
        for dtype in (torch.float32, torch.float64):
            for rows, inner, columns in TRIED_SHAPES:
                left = torch.randn(max(TRIED_BATCHES), rows, inner, generator=source, dtype=dtype)
                right = torch.randn(max(TRIED_BATCHES), inner, columns, generator=source, dtype=dtype)
                alone = [torch.bmm(left[place : place + 1], right[place : place + 1])[0] for place in range(len(left))]
                for count in TRIED_BATCHES:
                    together = torch.bmm(left[:count], right[:count])
                    if not all(torch.equal(one, other) for one, other in zip(together, alone, strict=False)):
                        return False
    return True


def warn_of_batches(name: str) -> None:
    """Warn that the method ``name`` solves instances one at a time, because this process would not keep their bits."""
    warnings.warn(
        f"{name}: in this process a product in a batch is rounded otherwise than alone ({arithmetic()}), so instances "
        f"are solved one at a time; call solvers.reproducibility.hold() before torch is used",
        RuntimeWarning,
        stacklevel=3,
    )
