"""What the project promises of its speed, beside what asv last measured: ``python -m benchmarks.bounds``.

A bound stands at its benchmark, as a decorator; asv keeps it with the benchmark's description.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parents[1] / ".asv" / "results"
Function = TypeVar("Function", bound=Callable[..., Any])


def at_least(value: float) -> Callable[[Function], Function]:
    """Say that a benchmark's figure must not be below ``value``, in its unit."""
    return bounded("at least", value)


def at_most(value: float) -> Callable[[Function], Function]:
    """Say that a benchmark's figure must not be above ``value``, in its unit."""
    return bounded("at most", value)


def bounded(sense: str, value: float) -> Callable[[Function], Function]:
    """Attach a bound to a benchmark."""

    def attach(function: Function) -> Function:
        function.bound = [sense, value]  # type: ignore[attr-defined]
        return function

    return attach


def kept(value: float, bound: tuple[str, float]) -> bool:
    """Return whether a figure keeps its bound; NaN does not."""
    sense, limit = bound
    return value >= limit if sense == "at least" else value <= limit


def latest(results: Path) -> Path:
    """Return the file of asv's last run."""
    files = [path for path in results.glob("*/*.json") if path.name != "machine.json"]
    if not files:
        sys.exit("asv has no results yet: `make bench` makes them")
    return max(files, key=lambda path: path.stat().st_mtime)


def figures(results: Path) -> Iterator[tuple[dict[str, Any], str, float | None, str]]:
    """Yield every bounded benchmark of the last run: its description, parameters, figure and when it was measured."""
    from asv.results import Results

    described = json.loads((results / "benchmarks.json").read_text())
    measured = Results.load(str(latest(results)))
    for name, benchmark in sorted(described.items()):
        if not isinstance(benchmark, dict) or "bound" not in benchmark:
            continue
        if name not in measured.get_all_result_keys():
            yield benchmark, "", None, ""
            continue
        parameters = measured.get_result_params(name)
        values = measured.get_result_value(name, parameters)
        started = measured.started_at[name]
        when = "" if started is None else f"{datetime.fromtimestamp(started / 1000, UTC):%Y-%m-%d %H:%M}"
        for place, value in enumerate(values):
            chosen = []
            for axis, label in zip(reversed(parameters), reversed(benchmark["param_names"]), strict=True):
                place, index = divmod(place, len(axis))
                chosen.append(f"{label}={axis[index]}")
            yield benchmark, ", ".join(reversed(chosen)), value, when


def main() -> None:
    """Print the table; exit code 1 when a bound is not kept."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("benchmark", "measured", "bound", "unit", "", "at (UTC)"):
        table.add_column(heading, justify="right" if heading in ("measured", "bound") else "left")
    missed = 0
    for benchmark, parameters, value, when in figures(RESULTS):
        sense, limit = benchmark["bound"]
        scale, unit = (2**20, "MiB") if benchmark["unit"] == "bytes" else (1, benchmark["unit"])
        name = benchmark["name"] + (f"({parameters})" if parameters else "")
        bound = f"{sense} {limit / scale:g}"
        if value is None:
            table.add_row(name, "–", bound, unit, "[yellow]not measured", when)
            continue
        good = kept(value, (sense, limit))
        missed += not good
        table.add_row(name, f"{value / scale:.3g}", bound, unit, "[green]kept" if good else "[red]missed", when)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
