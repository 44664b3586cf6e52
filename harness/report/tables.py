"""Tables of a frame for the terminal, a paper, a spreadsheet or another program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.errors import UsageError, unknown
from harness.marks import MARK
from harness.measure import CATALOGUE
from harness.report import summary
from harness.report.paper_table import latex
from harness.report.published import marked
from harness.report.summary import interval, significant

COLUMNS = ("solver", "D", "t", "median", "s.e.", "quartiles", "floor", "published", "ok", "seconds")
PRINTED = tuple(name for name in COLUMNS if name not in ("D", "t"))
WIDTH = 118
"""Columns that are printed where no terminal says how many there are."""
WITH_ERRORS = 92
"""In so many columns standard errors have room beside medians."""
NUMERIC = frozenset(COLUMNS[1:]) - {"quartiles"}


@dataclass(frozen=True)
class PrintedBlock:
    """The printed rows (texts, columns ``COLUMNS``) of one problem and measure; ``note`` names what was not run."""

    title: str
    rows: pd.DataFrame
    note: str


def blocks(frame: pd.DataFrame, metrics: Sequence[str] | None = None) -> Iterator[PrintedBlock]:
    """Yield a block for every problem and measure. Solvers that were not run, for a reason, go into its note.

    Raises ``UsageError`` for a measure of ``metrics`` that the frame does not have.
    """
    of_measures(frame, metrics)
    rows = summary.summarise(frame)
    titles = summary.titles(rows)
    for key, group in rows.groupby([*summary.PROBLEM, "metric"], sort=False, dropna=False):
        problem, problem_settings, metric = ("" if pd.isna(part) else str(part) for part in list[Any](key))
        if metrics and metric not in metrics:
            continue
        measure = f"{metric} ({sense(metric)})" if metric else "no figure"
        run = group["not_run"] < group["planned"]
        absent = group.loc[~group["label"].isin(group.loc[run, "label"])]
        note = f"not run: {', '.join(summary.distinct(absent['label']))}" if len(absent) else ""
        texts = [printed(row) for row in group[run].to_dict("records")]
        yield PrintedBlock(
            f"{titles[problem, problem_settings]}: {measure}", pd.DataFrame(texts, columns=COLUMNS), note
        )


def of_measures(frame: pd.DataFrame, metrics: Sequence[str] | None) -> pd.DataFrame:
    """Return the rows with these measures, and those of cells without any; all where ``metrics`` is ``None``.

    Raises ``UsageError`` for a measure that the frame does not have.
    """
    for metric in metrics or ():
        if metric not in set(frame["metric"].dropna()):
            raise unknown("measure of this suite", metric, summary.distinct(frame["metric"]))
    if metrics is None:
        return frame
    return frame[frame["metric"].isin(metrics) | frame["metric"].isna()].reset_index(drop=True)


def sense(metric: str) -> str:
    """Return which way of a measure is better, in words."""
    way = CATALOGUE[metric].better if metric in CATALOGUE else "lower"
    return f"{way} is better"


def printed(row: dict[Any, Any]) -> dict[str, str]:
    """Return one row of a summary as texts."""
    return {
        "solver": row["label"],
        "D": str(row["size"]),
        "t": summary.time_text(row["t"]),
        "median": significant(row["median"]),
        "s.e.": significant(row["error"], 1),
        "quartiles": interval(row["q25"], row["q75"]),
        "floor": significant(row["floor"]),
        "published": marked(significant(row["published_median"]), row["published_source"]),
        "ok": f"{row['ok']}/{row['planned']}"
        + (f", {row['statuses']}" if row["statuses"] else "")
        + (f", {MARK} {row['unfinished']}" if row["unfinished"] else ""),
        "seconds": significant(row["seconds"]),
    }


def show_tables(frame: pd.DataFrame, metrics: Sequence[str] | None = None) -> None:
    """Print the summary to the terminal, all measures or those named."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for table in terminal(frame, metrics, errors=console.width >= WITH_ERRORS):
        console.print(table)
        console.print()


def terminal(frame: pd.DataFrame, metrics: Sequence[str] | None = None, *, errors: bool = False) -> list[Table]:
    """Return rich tables of the summary, one for every problem and measure; with ``errors`` of a median beside it."""
    from rich.text import Text

    columns = [name for name in PRINTED if errors or name != "s.e."]
    found = []
    for block in blocks(frame, metrics):
        table = Table(title=Text(block.title), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        table.pad_edge, table.collapse_padding = False, True
        table.show_edge = False
        table.caption = Text(block.note) if block.note else None
        table.caption_justify = "left"
        for name in columns:
            # In a narrow terminal a label takes a second line; figures are never broken.
            table.add_column(
                "publ." if name == "published" else name,
                justify="right" if name in NUMERIC else "left",
                no_wrap=name != "solver",
                overflow="fold",
                min_width=15 if name == "solver" else None,
            )
        for (size, time), rows in block.rows.groupby(["D", "t"], sort=False):
            table.add_section()
            table.add_row(Text(f"D = {size}, t = {time}", style="dim"))
            for row in rows.to_dict("records"):
                counts, _, others = row["ok"].partition(", ")
                label = Text(row["solver"])
                if others:
                    label.append(f"\n{others}", style="yellow")
                table.add_row(label, *(Text(counts if name == "ok" else row[name]) for name in columns[1:]))
        found.append(table)
    return found


def markdown(frame: pd.DataFrame, metrics: Sequence[str] | None = None) -> str:
    """Return the summary as Markdown, one pipe table for every problem and measure, all measures or those named."""
    parts = []
    for block in blocks(frame, metrics):
        lines = [list(COLUMNS), ["--:" if name in NUMERIC else ":--" for name in COLUMNS]]
        lines += [[markdown_text(text) for text in line] for line in block.rows.to_numpy().tolist()]
        parts.append(f"### {markdown_text(block.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        if block.note:
            parts.append(markdown_text(block.note))
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Escape what would end a cell, open a tag or a link, or emphasise, as an underscore inside a word does not."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"[\\|*`~]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(", r"\\\g<0>", text)


def csv(frame: pd.DataFrame) -> str:
    """Return the tidy frame itself as CSV; numbers keep every digit."""
    return frame.to_csv(index=False)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the tidy frame itself as Parquet; raises ``UsageError`` without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError("parquet needs pyarrow: pip install 'wgfbench[parquet]'") from error
    frame.to_parquet(path, index=False)


FORMATS = ("csv", "latex", "markdown", "parquet")


def export(
    frame: pd.DataFrame,
    format: str,
    path: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    *,
    bounds: bool = False,
) -> None:
    """Write a frame: all its rows as ``csv`` or ``parquet``, its summary as ``markdown``, as ``latex`` for a paper.

    Of ``metrics`` alone where they are named: the other measures are left out of what is written, not of what is
    judged. A paper's tables have rows of exact draws and of the initial law only with ``bounds``.
    Texts go to standard output without a path. Raises ``UsageError`` for another format, a measure that the frame does
    not have, for parquet without a path, when a package is missing, and when the file cannot be written.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    named = of_measures(frame, metrics)
    texts: dict[str, Callable[[], str]] = {
        "csv": lambda: csv(named),
        "latex": lambda: latex(frame, bounds, metrics),
        "markdown": lambda: markdown(frame, metrics),
    }
    if path is None:
        if format == "parquet":
            raise UsageError("parquet is not text: name the file to write with --output")
        print(texts[format](), end="")
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if format == "parquet":
            write_parquet(named, Path(path))
        else:
            Path(path).write_text(texts[format](), encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
