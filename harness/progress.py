"""The progress bar of a sweep, and its summary when it is over."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from harness.notebook import NotebookProgress
from harness.one_cell import plain
from harness.outcome import FINE, Outcome

if TYPE_CHECKING:
    from harness.components import Cell

SHOWN_REASONS = 12
SHOWN_WORDS = 300
LOG_SECONDS = 30.0
"""After how many seconds a first line says how a sweep stands, where there is no terminal."""
SELDOM = 20
"""The waits between lines double up to so many times the first."""


@contextmanager
def watching(
    planned: int, waiting: int, completing: int = 0, every: float = LOG_SECONDS
) -> Iterator[Callable[[Cell, Outcome], None]]:
    """Show a bar with counts, failures and the time left on a terminal or in a notebook; yield what advances it.

    Where there is neither, a line says the same after ``every`` so many seconds, then ever more seldom. ``completing``
    of the ``waiting`` cells are in the store, without all their measures or with older ones.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = console_of_errors()
    failed = 0
    if planned > waiting - completing:
        console.print(in_the_store(planned - waiting + completing, planned))
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
    log = None if console.is_terminal else Log(waiting, every, console)
    notebook = NotebookProgress(waiting) if console.is_jupyter else None
    with bar, notebook or log or nullcontext():
        task = bar.add_task("", total=waiting, failed=0)

        def advance(cell: Cell, outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.status not in FINE
            what = f"{cell.solver.label} on {cell.problem.label} D={cell.dim} seed {cell.seed}: {outcome.status}"
            bar.update(task, advance=1, failed=failed, description=what)
            if log is not None:
                log.done, log.failed = log.done + 1, failed
                if notebook is not None:
                    notebook.advance(f"{log.line()}; {what}")

        yield advance


class Log:
    """Lines for a file, while it is entered: how many cells are done and failed, and how long the others may take."""

    def __init__(self, waiting: int, every: float, console: Console) -> None:
        """Say nothing yet; the first line comes after ``every`` seconds, the next after twice as many, and so on."""
        self.waiting, self.every, self.console = waiting, every, console
        self.done = self.failed = 0
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Log:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        wait = self.every
        while not self._stop.wait(wait):
            self.console.print(self.line())
            wait = min(2 * wait, SELDOM * self.every)

    def line(self, seconds: float | None = None) -> str:
        """Return the line to be written so many seconds after the start, or now."""
        seconds = time.monotonic() - self._began if seconds is None else seconds
        left = self.waiting - self.done
        rest = f"about {duration(seconds / self.done * left)} left" if self.done else "no cell has ended yet"
        return f"{self.done} of {self.waiting} cells, {self.failed} failed, after {duration(seconds)}, {rest}"


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def say(lines: Iterable[str]) -> None:
    """Print lines on standard error, in rich's markup."""
    console = console_of_errors()
    for line in lines:
        console.print(line)


def console_of_errors() -> Console:
    """Return what prints on standard error, each line as long as it is."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def in_the_store(done: int, planned: int) -> str:
    """Return the line that says how many planned cells are there before a run."""
    return f"{done} of {planned} cells are in the store already"


def outcome_lines(
    cells: Sequence[Cell],
    ended: Mapping[str, tuple[str, str | None]],
    ran: Counter[str],
    store: Path,
    incomplete: int = 0,
) -> list[str]:
    """Return lines that say how planned cells stand, why some failed or were skipped, how many could not be completed.

    ``ended`` has the status of each key, and the reason.
    """
    counts = Counter(ended[cell.key][0] for cell in cells)
    summary = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    found = [f"{len(cells)} cells: {summary}; {sum(ran.values())} of them ran now, in {store}"]
    if incomplete:
        ends = ", ".join(f"{count} {status}" for status, count in ran.most_common() if status not in FINE)
        found.append(f"{incomplete} cells could not be completed ({ends}): their figures are what they were")
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in cells:
        status, reason = ended[cell.key]
        if status != "ok":
            groups.setdefault((status, cell.solver.label, cell.problem.label, reason or ""), []).append(cell)
    lines = sorted(groups.items(), key=lambda item: (item[0][0] in FINE, -len(item[1])))
    for (status, solver, problem, reason), members in lines[:SHOWN_REASONS]:
        found.append(reason_line(status, f"{solver} on {problem}", reason, members))
    if len(lines) > SHOWN_REASONS:
        found.append(f"  … and {len(lines) - SHOWN_REASONS} more: `wgfbench report` has their reasons")
    return found


def reason_line(status: str, what: str, reason: str, cells: Sequence[Cell]) -> str:
    """Return the line of cells that ended alike: which they are, why, and the start of the first one's key."""
    dims = ",".join(dict.fromkeys(str(cell.dim) for cell in cells))
    seeds = f"seed {cells[0].seed}" if len(cells) == 1 else f"{len(cells)} cells"
    words = " ".join(reason.split())
    why = words if len(words) <= SHOWN_WORDS else words[:SHOWN_WORDS] + "…"
    again = "" if status in FINE else f"  [dim]show --cell {cells[0].key[:12]}[/dim]"
    return f"  {status:<11} {escape(what)} D={dims}, {seeds}: {escape(plain(why)) or 'no reason given'}{again}"


def planned_table(cells: Sequence[Cell], waiting: Sequence[Cell]) -> None:
    """Print what would run: how many cells of each solver on each problem and dimension, and how many wait."""
    from rich.table import Table

    left = {cell.key for cell in waiting}
    table = Table("problem", "D", "solver", "cells", "to run", caption=f"{len(waiting)} of {len(cells)} cells to run")
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.problem.label, cell.dim, cell.solver.label), []).append(cell)
    for (problem, dim, solver), members in groups.items():
        to_run = sum(member.key in left for member in members)
        table.add_row(escape(problem), str(dim), escape(solver), str(len(members)), str(to_run))
    Console().print(table)
