"""What may be asked of a run, by the command line or from Python; cheap to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import DEFAULT_STORE


@dataclass(frozen=True)
class Change:
    """A setting of a problem or a solver of the suite, by its name or label, that the command line replaces."""

    component: str
    setting: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that may be asked of a run, as in `wgfbench run --help`; ``None`` leaves it to the suite or the machine."""

    suite: str
    preset: str | None = None
    problem: Sequence[str] | None = None
    solver: Sequence[str] | None = None
    dims: str | None = None
    seeds: str | None = None
    jobs: int | None = None
    threads: int | None = None
    timing: bool = False
    device: str = "cpu"
    timeout: str | None = None
    memory: str | None = None
    measures: Sequence[str] | None = None
    changes: Sequence[Change] = ()
    retry: bool = False
    unknown_data: bool = False
    changed_code: bool = False
    stop_hopeless: bool = False
    cell: str | None = None
    backend: str = "local"
    scheduler: str | None = None
    data: Path | None = None
    plugin: Sequence[Path] = ()
    store: Path = DEFAULT_STORE
