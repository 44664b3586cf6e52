"""Every benchmark sets itself up and runs at its smallest size; what it measures is for asv to say."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asv.results import Results
from asv.runner import BenchmarkResult
from asv_runner.benchmarks._base import Benchmark
from asv_runner.discovery import disc_benchmarks, update_sys_path

FOLDER = Path(__file__).parents[1] / "benchmarks"
FINDERS = list(sys.meta_path)
update_sys_path(str(FOLDER))
BENCHMARKS = {benchmark.name: benchmark for benchmark in disc_benchmarks(str(FOLDER))}

# asv's own way of finding the folder comes first.
from benchmarks import bounds, icnn_on_gpu  # noqa: E402
from benchmarks.profiles import Seconds  # noqa: E402
from harness.conformance.contract import torch_threads  # noqa: E402
from tests.pretended_gpu import pretended_gpu  # noqa: E402

sys.meta_path[:] = FINDERS  # asv's finder stays otherwise, and is in the way of pytest's


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Return what each ``setup_cache`` gave so far, and the folder that it ran in."""
    return {}


def grouped(name: str) -> Any:
    """Return the name as a parameter of the worker that runs all benchmarks with the same cache."""
    return pytest.param(name, marks=pytest.mark.xdist_group(BENCHMARKS[name].setup_cache_key or name))


@pytest.mark.parametrize("name", [grouped(name) for name in BENCHMARKS])
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


@pytest.mark.parametrize("seconds", [icnn_on_gpu.seconds_of_seeds, icnn_on_gpu.seconds_of_recording])
def test_what_is_for_a_gpu_runs_on_a_pretended_one(seconds: Callable[..., Seconds]) -> None:
    with torch_threads(1), pretended_gpu() as device:
        found = seconds(2, seeds=2, iterations=5, repeats=1, device=device)
    assert len(found) == 2
    assert all(len(each) == 1 and each[0] > 0 for each in found.values())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_says_its_unit_timeout_and_version(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert benchmark.unit != "unit"
    assert benchmark.timeout is not None
    assert benchmark.version.isdigit(), "the hash of the source, which asv takes for want of a version"


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


def test_the_table_of_promises_reads_what_asv_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"a": [], "b": [["2", "12"]], "c": [], "d": [], "e": []}
    described: dict[str, dict[str, Any]] = {
        name: {
            "name": name,
            "version": "1",
            "unit": "s",
            "type": "track",
            "params": each,
            "param_names": ["D"] * len(each),
        }
        for name, each in ((f"kde.Kde.track_{letter}", each) for letter, each in axes.items())
    }
    for name in described.keys() - {"kde.Kde.track_e"}:
        described[name]["bound"] = ["at most", 3.0]
    (tmp_path / "benchmarks.json").write_text(json.dumps(described | {"version": 2}))
    results = Results({"machine": "here"}, {}, "0" * 40, 0, "3.11", "existing", {})
    began = datetime(2025, 3, 14, 9, 26, tzinfo=UTC)
    for name, values in {"a": [1.0], "b": [2.0, 4.0], "c": [None], "e": [9.0]}.items():
        outcome = BenchmarkResult(values, [None] * len(values), [None] * len(values), 0, "", None)
        results.add_result(described[f"kde.Kde.track_{name}"], outcome, started_at=began)
    results.save(str(tmp_path))
    rows = [(bounds.readable(each["name"]), *rest) for each, *rest in bounds.figures(tmp_path)]
    assert rows == [
        ("kde: a", "", 1.0, began),
        ("kde: b", "D = 2", 2.0, began),
        ("kde: b", "D = 12", 4.0, began),
        ("kde: c", "", None, began),
        ("kde: d", "", None, None),
    ]
    monkeypatch.setattr(bounds, "RESULTS", tmp_path)
    with pytest.raises(SystemExit) as ending:
        bounds.main()
    assert ending.value.code == 1
