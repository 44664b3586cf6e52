"""The verdict in a terminal: as many problems side by side as fit, a line or two a solver."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.verdict import AGAINST, Entry, VerdictTable

WIDTH = 118
COLUMN = 22
"""Characters that a problem's column takes, about."""


def print_verdict(found: VerdictTable) -> None:
    """Print the tables, the notes and, last, the sentence."""
    console = Console()
    width = console.width if console.is_terminal else WIDTH
    console = Console(width=width, soft_wrap=False)
    for table in tables(found, width):
        console.print(table)
    for note in found.notes:
        console.print(Text(note, style="yellow"))
    console.print()
    console.print(Text(found.sentence, style="bold"))


def tables(found: VerdictTable, width: int = WIDTH) -> Iterator[Table]:
    """Yield the tables of the verdict, the problems in as many as the width asks for."""
    labels = max((len(label) for label, _ in found.rows), default=6)
    each = max(1, (width - min(labels, 32) - 2) // COLUMN)
    for start in range(0, len(found.columns), each):
        yield of_problems(found, range(start, min(start + each, len(found.columns))))
    if found.against:
        yield of_baseline(found)


def of_problems(found: VerdictTable, places: range) -> Table:
    """Return the table of some of the problems: solvers that took no part in any of them are left out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("solver", overflow="fold", max_width=32)
    for place in places:
        title, where = found.columns[place]
        table.add_column(Text(f"{title}\n{where}"), overflow="fold", justify="right")
    for label, entries in found.rows:
        shown = [entries[place] for place in places]
        if any(shown):
            table.add_row(Text(label), *map(cell, shown))
    last = places.stop == len(found.columns)
    table.caption, table.caption_justify = (Text(found.legend), "left") if last else (None, "left")
    return table


def cell(entry: Entry | None) -> Text:
    """Return what is printed for a solver on a problem: bold where it leads, dim where it is below its floor."""
    if entry is None:
        return Text("")
    style = "bold" if entry.leads else "dim" if entry.below else ""
    return Text(entry.excess, style=style).append(f"\n{entry.second}", style="dim")


def of_baseline(found: VerdictTable) -> Table:
    """Return the table of all solvers against the baseline."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.title, table.title_justify = Text(f"against {found.baseline}", style="bold"), "left"
    for place, name in enumerate(AGAINST):
        table.add_column(name, justify="right" if 0 < place < len(AGAINST) - 1 else "left", overflow="fold")
    for row in found.against:
        table.add_row(*map(Text, row))
    return table
