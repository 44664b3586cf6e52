"""Every benchmark sets itself up and runs at its smallest size; what it measures is for asv to say."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from asv_runner.benchmarks._base import Benchmark
from asv_runner.discovery import disc_benchmarks, update_sys_path

FOLDER = Path(__file__).parents[1] / "benchmarks"
update_sys_path(str(FOLDER))
BENCHMARKS = {benchmark.name: benchmark for benchmark in disc_benchmarks(str(FOLDER))}

from benchmarks import bounds  # noqa: E402 - asv's own way of finding the folder comes first


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Return what each ``setup_cache`` gave so far, and the folder that it ran in."""
    return {}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_runs_at_its_smallest_size(
    name: str,
    caches: dict[str, tuple[Path, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WGFBENCH_PROFILE", "fast")
    benchmark = BENCHMARKS[name]
    key = benchmark.setup_cache_key or name
    if key not in caches:
        folder = tmp_path_factory.mktemp("benchmark")
        monkeypatch.chdir(folder)
        caches[key] = folder, benchmark.do_setup_cache()
    folder, cache = caches[key]
    monkeypatch.chdir(folder)
    benchmark.set_cache(cache)
    for place, _ in enumerate(itertools.product(*benchmark.params)):
        benchmark.set_param_idx(place)
        assert not benchmark.do_setup()
        try:
            figure = once(benchmark)
        finally:
            benchmark.do_teardown()
        if benchmark.type == "track":
            assert math.isfinite(figure)


def once(benchmark: Benchmark) -> Any:
    """Call the benchmarked function once, without asv's repetitions."""
    return benchmark.func(*benchmark._build_params())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_says_its_unit_timeout_and_version(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert benchmark.unit != "unit"
    assert benchmark.timeout is not None
    assert benchmark.version == "1" or benchmark.version.isdigit()


def test_every_benchmark_is_there() -> None:
    kinds = {name.rsplit(".", 1)[1].split("_")[0] for name in BENCHMARKS}
    assert kinds == {"time", "peakmem", "track"}
    assert sum(hasattr(benchmark.func, "bound") for benchmark in BENCHMARKS.values()) >= 10


def test_bounds_hold_one_way_only() -> None:
    assert bounds.kept(8.0, ("at least", 8.0))
    assert not bounds.kept(7.9, ("at least", 8.0))
    assert bounds.kept(1.5, ("at most", 1.5))
    assert not bounds.kept(1.6, ("at most", 1.5))
    assert not bounds.kept(math.nan, ("at most", 1.5))
    assert not bounds.kept(math.nan, ("at least", 8.0))
