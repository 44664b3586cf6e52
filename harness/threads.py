"""The number of threads that torch and the BLAS of this process use.

Imported by the server that cells start from, after all that brings a pool of its own: the cells find them found.
"""

from __future__ import annotations

import torch

from harness.parent import WATCH
from solvers.threads import pools

pools()
if WATCH is not None:
    WATCH.stop()


def fix_threads(count: int) -> None:
    """Give torch and every BLAS of this process ``count`` threads."""
    torch.set_num_threads(count)
    pools().limit(limits=count)
