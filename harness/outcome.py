"""The outcome of a cell: its status, what was measured, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, field

FAILED = ("diverged", "error", "timeout", "memory", "crashed", "hopeless")
"""Statuses of cells that ask for an answer and get none; ``hopeless`` was not tried, after other seeds had failed."""
NOT_RUN = ("skipped", "unavailable", "planned")
"""Statuses of cells without an answer that nothing failed in; ``planned`` is a cell that the store has no row of."""
STATUSES = ("ok", *FAILED, *NOT_RUN)
FINE = ("ok", "skipped")
"""Statuses of cells that are not run again."""


@dataclass(frozen=True)
class Measurement:
    """One figure of a cell; ``sample_size`` is the number of particles it was measured on, if it was particles.

    ``decides`` is the measure's place among those that decide about such answers to the problem, from 1 on; 0 where it
    is shown and does not decide, and ``None`` where nobody asked.
    """

    t: float
    metric: str
    value: float
    standard_error: float
    estimator: str
    sample_size: int | None
    decides: int | None = None


@dataclass(frozen=True)
class Projection:
    """Draws in the plane at time ``t``: ``points`` are float32 pairs, ``share`` the part of the variance in it.

    In one dimension the pairs are a place and the density there, and the share is 1; so it is in the coordinates of a
    problem's view, which are shown for themselves and not for the variance that they have.

    An answer with a density in two dimensions has it in ``density``, float32 [y, x] at ``NODES`` (``harness.places``)
    equally spaced places along each side of ``box``, float64: lowest x and y, highest x and y. It is NaN where the
    answer has none.
    """

    t: float
    share: float
    points: bytes
    box: bytes | None = None
    density: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell; seconds are wall-clock except ``cpu_seconds``, memory is in bytes.

    ``measures`` are the versions of all measures that were asked, ``unsuited`` why some of them said nothing, and
    ``printed`` is the end of what the cell's process printed. ``code`` holds the checksums of its plug-ins where that
    process says which they were.
    """

    status: str
    reason: str | None = None
    traceback: str | None = None
    measurements: tuple[Measurement, ...] = ()
    measures: dict[str, int] = field(default_factory=dict)
    unsuited: dict[str, str] = field(default_factory=dict)
    setup_seconds: float | None = None
    solve_seconds: float | None = None
    measure_seconds: float | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    gradient_evaluations: int | None = None
    diagnostics: dict[str, float | int | str] = field(default_factory=dict)
    traces: dict[str, tuple[float, ...]] = field(default_factory=dict)
    assimilated: dict[str, tuple[float, ...]] = field(default_factory=dict)
    projections: tuple[Projection, ...] = ()
    printed: str | None = None
    code: str | None = None
