"""The verdict in a terminal: as many problems side by side as fit, a line a solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.verdict import AGAINST, Entry, VerdictTable

WIDTH = 118
GAP = 2
LABEL = 32
"""Characters of a label on one line."""
HEADING = 40
"""Characters that the name of a problem may ask for, where its figures need less."""


@dataclass(frozen=True)
class Column:
    """What stands over a problem's column, what in it for each solver that took part, and how wide it is."""

    heading: str
    texts: Mapping[str, Text]
    width: int


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
    columns = [aligned(found, place) for place in range(len(found.columns))]
    left, places = 0, list[Column]()
    for place in neighbours(found):
        column = columns[place]
        if places and GAP + column.width > left:
            yield of_problems(found, places)
            places = []
        left = (left if places else width - min(labels, LABEL)) - GAP - column.width
        places.append(column)
    if places:
        yield of_problems(found, places)
    if found.against:
        yield of_baseline(found, width)


def neighbours(found: VerdictTable) -> list[int]:
    """Return the numbers of the problems in an order that has those side by side which the same solvers answered."""
    solvers = [{label for label, entries in found.rows if entries[place]} for place in range(len(found.columns))]
    left, order = list(range(len(solvers))), list[int]()
    while left:
        last = solvers[order[-1]] if order else set()
        order.append(max(left, key=lambda place: (len(last & solvers[place]), -place)))
        left.remove(order[-1])
    return order


def of_problems(found: VerdictTable, columns: Sequence[Column]) -> Table:
    """Return the table of some of the problems: solvers that took no part in any of them are left out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("solver", overflow="fold", max_width=LABEL)
    for column in columns:
        table.add_column(Text(column.heading), overflow="fold", max_width=column.width)
    for label, _ in found.rows:
        if any(label in column.texts for column in columns):
            table.add_row(Text(label), *(column.texts.get(label, Text("")) for column in columns))
    return table


def aligned(found: VerdictTable, place: int) -> Column:
    """Return the column of a problem, excess under excess: bold where a solver leads, dim below its floor."""
    entries = {label: entry for label, of_label in found.rows if (entry := of_label[place]) is not None}
    parts = {label: (each.excess, each.state, rank(each), each.seconds, each.ok) for label, each in entries.items()}
    widths = [max(map(len, each)) for each in zip(*parts.values(), strict=True)]
    texts = {}
    for label, (excess, *rest) in parts.items():
        padded = [text.ljust(width) for text, width in zip(rest, widths[1:], strict=True) if width]
        style = "bold" if entries[label].leads else "dim" if entries[label].below else ""
        texts[label] = Text(excess.rjust(widths[0]), style=style).append(f"  {' '.join(padded)}", style="dim")
    heading = " ".join(found.columns[place])
    return Column(heading, texts, max(min(len(heading), HEADING), *map(len, texts.values())))


def rank(entry: Entry) -> str:
    """Return the rank of a solver as it is printed."""
    return f"#{entry.rank}" if entry.rank else ""


def of_baseline(found: VerdictTable, width: int) -> Table:
    """Return the table of all solvers against the baseline, what seeds do not tell below it where it is too wide."""
    shown = range(len(AGAINST))
    widths = [max(len(row[place]) for row in (AGAINST, *found.against)) for place in shown]
    beside = sum(widths) + GAP * (len(widths) - 1) <= width
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.title, table.title_justify = Text(f"against {found.baseline}", style="bold"), "left"
    for place in shown if beside else shown[:-1]:
        table.add_column(AGAINST[place], justify="right" if 0 < place < len(AGAINST) - 1 else "left", overflow="fold")
    for row in found.against:
        table.add_row(*map(Text, row if beside else row[:-1]))
    if not beside:
        told = dict.fromkeys(row[-1] for row in found.against if row[-1])
        lines = (f"{each}: {', '.join(row[0] for row in found.against if row[-1] == each)}" for each in told)
        table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table
