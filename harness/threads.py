"""The number of threads that torch and the BLAS of this process use.

Imported by the server that cells start from, after all that brings a pool of its own: the cells find them found. It is
then ready to serve, and to be told of more to import.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from harness import garbage
from harness.bringing import FOLDER, Listener
from harness.parent import VARIABLE, WATCH
from solvers.threads import pools

pools()
if WATCH is not None:
    WATCH.stop()
    garbage.resume()
    Listener(Path(os.environ[FOLDER]), int(os.environ[VARIABLE])).begin()


def fix_threads(count: int) -> None:
    """Give torch and every BLAS of this process ``count`` threads."""
    torch.set_num_threads(count)
    pools().limit(limits=count)
