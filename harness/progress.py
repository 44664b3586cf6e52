"""The progress bar of a sweep, and its summary when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.outcome import FINE, Outcome
from harness.plan import Cell

SHOWN_FAILURES = 10


@contextmanager
def watching(planned: int, waiting: int, completing: int = 0) -> Iterator[Callable[[Cell, Outcome], None]]:
    """Show a bar with counts, failures and the time left on a terminal; yield the function that advances it.

    ``completing`` of the ``waiting`` cells are in the store, without all their measures or with older ones.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    failed = 0
    if planned > waiting - completing:
        console.print(
            f"{planned - waiting + completing} of {planned} cells are in the store already",
            highlight=False,
            soft_wrap=True,
        )
    if completing:
        console.print(
            f"{completing} cells in the store lack a measure or have an older one: they are solved and measured again"
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
            failed += outcome.status not in FINE
            what = f"{cell.solver.label} on {cell.problem.label} D={cell.dim} seed {cell.seed}: {outcome.status}"
            bar.update(task, advance=1, failed=failed, description=what)

        yield advance


def report_outcome(
    cells: Sequence[Cell], statuses: Mapping[str, str], ran: Counter[str], store: Path, incomplete: int = 0
) -> None:
    """Print how the planned cells stand, which of them failed, and how many could not be completed."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    counts = Counter(statuses[cell.key] for cell in cells)
    summary = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print(
        f"{len(cells)} cells: {summary}; {sum(ran.values())} of them ran now, in {store}",
        highlight=False,
        soft_wrap=True,
    )
    if incomplete:
        ends = ", ".join(f"{count} {status}" for status, count in ran.most_common() if status not in FINE)
        console.print(f"{incomplete} cells could not be completed ({ends}): their figures are what they were")
    failures = [cell for cell in cells if statuses[cell.key] not in FINE]
    for cell in failures[:SHOWN_FAILURES]:
        where = f"{cell.solver.label} on {cell.problem.label} D={cell.dim} seed {cell.seed}"
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
        groups.setdefault((cell.problem.label, cell.dim, cell.solver.label), []).append(cell)
    for (problem, dim, solver), members in groups.items():
        to_run = sum(member.key in left for member in members)
        table.add_row(escape(problem), str(dim), escape(solver), str(len(members)), str(to_run))
    Console().print(table)
