"""The verdict of a large sweep: seconds of the command, from the store to the sentence."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from benchmarks.bounds import at_most
from benchmarks.page import frame
from benchmarks.profiles import WGFBENCH, Profiled
from harness.database import insert
from harness.store import Store

COLUMNS = {
    "runs": ("run", "suite", "preset", "started", "argv", "commit", "dirty", "machine", "threads", "versions"),
    "plans": (
        "suite", "preset", "key", "problem", "problem_settings", "solver", "solver_settings", "label", "size", "seed",
        "device", "rerun",
    ),
    "cells": ("key", "run", "status", "reason", "finished", "solve_seconds", "beside"),
    "measurements": ("key", "t", "metric", "value", "standard_error", "estimator", "sample_size"),
}  # fmt: skip


def stored(path: Path, rows: pd.DataFrame) -> None:
    """Make a store that holds these rows of a frame."""
    cells = rows.drop_duplicates("key")
    tables = {"runs": cells.iloc[:1], "plans": cells, "cells": cells, "measurements": rows[rows["metric"].notna()]}
    with Store(path) as store, store.transaction():
        for table, each in tables.items():
            known = each[list(COLUMNS[table])].astype(object)
            insert(store.connection, table, known.where(known.notna(), None).to_dict("records"))  # type: ignore[arg-type]


class Verdict(Profiled):
    """The verdict of 50,000 runs, six figures each."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 140, "regular": 50_000, "large": 200_000}
    timeout = 300.0

    def setup(self) -> None:
        Path("verdict.sqlite").unlink(missing_ok=True)
        stored(Path("verdict.sqlite"), frame(self.size))

    @at_most(3)
    def track_seconds(self) -> float:
        started = time.perf_counter()
        subprocess.run([WGFBENCH, "verdict", "--store", "verdict.sqlite"], check=True, capture_output=True)
        return time.perf_counter() - started

    track_seconds.unit = "s"
