"""How problems and solvers are run, measured and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def load(path: str | Path, suite: str | None = None) -> pandas.DataFrame:
    """Return a store as one tidy frame, one row per cell, time and measure; see :func:`harness.frame.load`."""
    from harness.frame import load as load_frame

    return load_frame(path, suite)
