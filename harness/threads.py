"""The thread pools of this process (BLAS, OpenMP), found once: looking for them costs as much as starting a cell.

Imported by the server that cells start from, after everything that brings a pool of its own.
"""

from __future__ import annotations

import threadpoolctl
import torch

POOLS = threadpoolctl.ThreadpoolController()


def fix_threads(count: int) -> None:
    """Give torch and every BLAS of this process ``count`` threads."""
    torch.set_num_threads(count)
    POOLS.limit(limits=count)
