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

from benchmarks.profiles import profile

RESULTS = Path(__file__).parents[1] / ".asv" / "results"
Function = TypeVar("Function", bound=Callable[..., Any])


def at_least(value: float) -> Callable[[Function], Function]:
    """Say that a benchmark's figure must not be below ``value``, in its unit."""
    return bounded("at least", value)


def at_most(value: float) -> Callable[[Function], Function]:
    """Say that a benchmark's figure must not be above ``value``, in its unit."""
    return bounded("at most", value)


def bounded(sense: str, value: float) -> Callable[[Function], Function]:
    """Attach a bound, meant for the regular sizes, to a benchmark."""

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


def figures(results: Path) -> Iterator[tuple[dict[str, Any], str, float | None, datetime | None]]:
    """Yield every bounded benchmark: its description, parameters, figure (``None``: it failed or was not run), time."""
    from asv.results import Results

    described = json.loads((results / "benchmarks.json").read_text())
    promises = {name: each for name, each in sorted(described.items()) if isinstance(each, dict) and "bound" in each}
    measured = Results.load(str(latest(results)))
    run = measured.get_result_keys(promises)
    for name, benchmark in promises.items():
        if name not in run:
            yield benchmark, "", None, None
            continue
        started = measured.started_at[name]
        when = None if started is None else datetime.fromtimestamp(started / 1000, UTC)
        axes = measured.get_result_params(name)
        for place, value in enumerate(measured.get_result_value(name, axes)):
            chosen = []
            for axis, label in zip(reversed(axes), reversed(benchmark["param_names"]), strict=True):
                place, index = divmod(place, len(axis))
                chosen.append(f"{label} = {axis[index]}")
            yield benchmark, ", ".join(reversed(chosen)), value, when


def readable(name: str) -> str:
    """Return ``module: what is tracked`` for asv's ``module.Class.track_what_is_tracked``, and alike for memory."""
    module, _, function = name.split(".")
    kind, _, what = function.partition("_")
    return f"{module}: {'peak memory of ' if kind == 'peakmem' else ''}{what}".replace("_", " ")


def main() -> None:
    """Print the table; exit code 1 when a bound is not kept or its benchmark failed."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="Promises", caption=f"measured at UTC; sizes of the profile {profile()!r}")
    for heading in ("what", "measured", "bound", "", "unit", "at"):
        table.add_column(heading, justify="right" if heading in ("measured", "bound") else "left", overflow="fold")
    good = True
    for benchmark, parameters, value, when in figures(RESULTS):
        sense, limit = benchmark["bound"]
        scale, unit = (2**20, "MiB") if benchmark["unit"] == "bytes" else (1, benchmark["unit"])
        what = readable(benchmark["name"]) + (f" ({parameters})" if parameters else "")
        if value is None:
            verdict = "not run" if when is None else "[red]failed"
        else:
            verdict = "[green]kept" if kept(value, (sense, limit)) else "[red]missed"
        good &= verdict in ("not run", "[green]kept")
        measured = "–" if value is None else f"{value / scale:.3g}"
        table.add_row(
            what, measured, f"{sense} {limit / scale:g}", verdict, unit, f"{when:%b %d %H:%M}" if when else ""
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
