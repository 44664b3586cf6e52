"""The verdict in a terminal: as many problems side by side as fit, a line or two a solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.verdict import AGAINST, Entry, VerdictTable

WIDTH = 118
COLUMN = 26
"""Characters that a problem's column takes, about."""
LABEL = 30
"""Characters of a label on one line."""


def print_verdict(found: VerdictTable) -> None:
    """Print the tables, the notes and, last, the sentence."""
    console = Console()
    width = console.width if console.is_terminal else WIDTH
    console = Console(width=width, soft_wrap=False)
    for table in tables(found, width):
        if table.title:
            console.print(Text(found.legend, style="dim"))
        console.print(table)
    if not found.against:
        console.print(Text(found.legend, style="dim"))
    for note in found.notes:
        console.print(Text(note, style="yellow"))
    console.print()
    console.print(Text(found.sentence, style="bold"))


def tables(found: VerdictTable, width: int = WIDTH) -> Iterator[Table]:
    """Yield the tables of the verdict, the problems in as many as the width asks for."""
    labels = max((len(label) for label, _ in found.rows), default=6)
    each = max(1, (width - min(labels, LABEL) - 2) // COLUMN)
    order = neighbours(found)
    for start in range(0, len(order), each):
        yield of_problems(found, order[start : start + each])
    if found.against:
        yield of_baseline(found)


def neighbours(found: VerdictTable) -> list[int]:
    """Return the numbers of the problems in an order that has those side by side which the same solvers answered."""
    solvers = [{label for label, entries in found.rows if entries[place]} for place in range(len(found.columns))]
    left, order = list(range(len(solvers))), list[int]()
    while left:
        last = solvers[order[-1]] if order else set()
        order.append(max(left, key=lambda place: (len(last & solvers[place]), -place)))
        left.remove(order[-1])
    return order


def of_problems(found: VerdictTable, places: Sequence[int]) -> Table:
    """Return the table of some of the problems: solvers that took no part in any of them are left out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("solver", overflow="fold", max_width=LABEL)
    for place in places:
        title, where = found.columns[place]
        table.add_column(Text(f"{title}\n{where}"), overflow="fold", justify="right")
    for label, entries in found.rows:
        shown = [entries[place] for place in places]
        if any(shown):
            table.add_row(Text(label), *map(cell, shown))
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
