"""What a sweep says while it runs and when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.cell import Outcome
from harness.plan import Cell

SHOWN_FAILURES = 10


@contextmanager
def watching(planned: int, waiting: int) -> Iterator[Callable[[Cell, Outcome], None]]:
    """Show a bar with counts, failures and the time left on a terminal, and give what advances it."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    failed = 0
    if planned > waiting:
        console.print(
            f"{planned - waiting} of {planned} cells are in the store already", highlight=False, soft_wrap=True
        )
    bar = Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=waiting, failed=0)

        def advance(cell: Cell, outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.status not in ("ok", "skipped")
            what = f"{cell.solver.label} on {cell.problem.label} D={cell.size} seed {cell.seed}: {outcome.status}"
            bar.update(task, advance=1, failed=failed, description=what)

        yield advance


def report_outcome(cells: Sequence[Cell], statuses: Mapping[str, str], ran: Counter[str], store: Path) -> None:
    """Print how the planned cells stand, and which of them failed."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    counts = Counter(statuses[cell.key] for cell in cells)
    summary = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print(
        f"{len(cells)} cells: {summary}; {sum(ran.values())} of them ran now, in {store}",
        highlight=False,
        soft_wrap=True,
    )
    failures = [cell for cell in cells if statuses[cell.key] not in ("ok", "skipped")]
    for cell in failures[:SHOWN_FAILURES]:
        where = f"{cell.solver.label} on {cell.problem.label} D={cell.size} seed {cell.seed}"
        console.print(
            f"  {statuses[cell.key]:<11} {escape(where)}  [dim]{cell.key[:12]}[/dim]", highlight=False, soft_wrap=True
        )
    if len(failures) > SHOWN_FAILURES:
        console.print(f"  … and {len(failures) - SHOWN_FAILURES} more: `wgfbench show` has their reasons")


def planned_table(cells: Sequence[Cell], waiting: Sequence[Cell]) -> None:
    """Print what would run: how many cells of each solver on each problem and dimension, and how many wait."""
    left = {cell.key for cell in waiting}
    table = Table("problem", "D", "solver", "cells", "to run", caption=f"{len(waiting)} of {len(cells)} cells to run")
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.problem.label, cell.size, cell.solver.label), []).append(cell)
    for (problem, size, solver), members in groups.items():
        to_run = sum(member.key in left for member in members)
        table.add_row(escape(problem), str(size), escape(solver), str(len(members)), str(to_run))
    Console().print(table)
