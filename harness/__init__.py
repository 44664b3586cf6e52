"""The harness runs solvers on problems, measures their answers, and keeps and shows the figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def load(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pandas.DataFrame:
    """Return a store as one tidy frame, one row per cell, time and measure; see :func:`harness.frame.load`.

    ``suite`` and ``preset`` keep the rows of one, ``everything`` adds those that have been replaced. Raises
    ``UsageError`` for a file that is not a store, or when it knows no such suite.
    """
    from harness.frame import load as load_frame

    return load_frame(path, suite, preset, everything=everything)


def load_traces(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pandas.DataFrame:
    """Return what solvers noted of steps and observations, a row per cell, trace and step; see ``harness.frame``.

    Raises ``UsageError`` as :func:`load` does.
    """
    from harness.frame import load_traces as load_frame

    return load_frame(path, suite, preset, everything=everything)


def load_projections(
    path: str | Path, suite: str | None = None, preset: str | None = None, *, everything: bool = False
) -> pandas.DataFrame:
    """Return draws of answers, (n, 2) each, in the plane of the truth's principal axes; see ``harness.frame``.

    Raises ``UsageError`` as :func:`load` does.
    """
    from harness.frame import load_projections as load_frame

    return load_frame(path, suite, preset, everything=everything)
