"""The page of a large sweep: seconds to write it, and its size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks.bounds import at_most
from benchmarks.profiles import Profiled
from harness.report.page import write_page

PARTICLES = (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
LABELS = [f"{solver} particles={n}" for solver in ("oracle", "euler-maruyama") for n in PARTICLES]
DIMS = (1, 2, 4, 8, 16)
SLOTS = [(t, metric) for t in (0.5, 0.9) for metric in ("symkl", "symkl-published", "energy-distance")]
RUN = {
    "suite": "ou",
    "preset": "paper",
    "problem": "ornstein-uhlenbeck",
    "problem_settings": json.dumps({"times": [0.5, 0.9], "instance": "mokrov2021"}),
    "run": 1,
    "started": "2025-01-01T00:00:00.000+00:00",
    "finished": "2025-01-01T10:00:00.000+00:00",
    "commit": "0" * 40,
    "dirty": False,
    "machine": "a processor, 2 cores, 8 GiB, Linux x86_64",
    "threads": 1,
    "device": "cpu",
    "beside": 1,
    "versions": json.dumps({"python": "3.11.9", "torch": "2.13.0"}),
    "arithmetic": "AVX512 instructions, MKL_CBWR=AUTO",
    "argv": "wgfbench run ou --preset paper",
    "setup_seconds": 0.0,
    "measure_seconds": 0.1,
    "wall_seconds": 1.0,
    "cpu_seconds": 1.0,
    "peak_memory": 300_000_000,
    "gradient_evaluations": 1000,
    "diagnostics": "{}",
}


def frame(cells: int) -> pd.DataFrame:
    """Return a frame like that of ``harness.load``: six figures a cell, three cells in a hundred failed."""
    rng = np.random.default_rng(7)
    index = np.arange(cells)
    label = np.array(LABELS, dtype=object)[index % len(LABELS)]
    particles = np.array(PARTICLES)[index % len(PARTICLES)]
    failed = rng.random(cells) < 0.03
    keys = [f"{high:016x}{low:016x}" for high, low in rng.integers(2**62, size=(cells, 2))]
    table = pd.DataFrame(RUN, index=index).assign(
        key=keys,
        solver=[text.split()[0] for text in label],
        solver_settings=[json.dumps({"particles": int(n)}) for n in particles],
        label=label,
        size=np.array(DIMS)[index // len(LABELS) % len(DIMS)],
        seed=index // (len(LABELS) * len(DIMS)),
        status=np.where(failed, "error", "ok"),
        reason=np.where(failed, "ValueError: the first step went wrong", None),
        traceback=np.where(failed, 'Traceback (most recent call last):\n  File "solve.py", line 3\nValueError', None),
        sample_size=pd.array(particles, dtype="Int64"),
        solve_seconds=np.exp(rng.standard_normal(cells)),
        rerun=[f"wgfbench run ou --preset paper --cell {key[:12]}" for key in keys],
    )
    done = table[~failed].merge(pd.DataFrame(SLOTS, columns=["t", "metric"]), how="cross")
    done = done.assign(
        value=np.exp(rng.standard_normal(len(done))),
        standard_error=0.001,
        estimator="an estimator",
        floor=0.01,
        floor_standard_error=0.001,
    )
    return pd.concat([done, table[failed]], ignore_index=True)


class Page(Profiled):
    """A page that lists 50,000 runs."""

    sizes: ClassVar[Mapping[str, Any]] = {"fast": 200, "regular": 50_000, "large": 200_000}
    timeout = 300.0
    repeat = (1, 3, 30.0)
    warmup_time = 0.0

    def setup(self) -> None:
        self.frame = frame(self.size)

    def time_write(self) -> None:
        write_page(self.frame, "page.html")

    def peakmem_write(self) -> None:
        write_page(self.frame, "page.html")

    @at_most(25)
    def track_size(self) -> float:
        return write_page(self.frame, "page.html").stat().st_size / 1e6

    track_size.unit = "MB"
