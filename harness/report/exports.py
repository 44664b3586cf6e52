"""A frame for the terminal, a paper, a spreadsheet or another program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from harness.measure import CATALOGUE
from harness.report import tables
from harness.report.published import SOURCE
from harness.report.tables import interval, significant

COLUMNS = ("solver", "D", "t", "median", "quartiles", "floor", "published", "ok", "seconds")
NUMERIC = frozenset(COLUMNS[1:]) - {"quartiles"}


class MissingExtra(RuntimeError):
    """A format needs a package that is not installed; the message names the extra that brings it."""


@dataclass(frozen=True)
class Block:
    """The printed rows (texts, columns ``COLUMNS``) of one problem and measure; ``note`` names what was not run."""

    title: str
    rows: pd.DataFrame
    note: str


def blocks(frame: pd.DataFrame) -> Iterator[Block]:
    """Yield a block for every problem and measure. Solvers that were not run, for a reason, go into its note."""
    rows = tables.summary(frame)
    titles = tables.titles(rows)
    for key, group in rows.groupby([*tables.PROBLEM, "metric"], sort=False, dropna=False):
        problem, problem_settings, metric = key
        measure = "no figure" if pd.isna(metric) else f"{metric} ({sense(metric)})"
        run = group["not_run"] < group["planned"]
        absent = group.loc[~group["label"].isin(group.loc[run, "label"])]
        note = f"not run: {', '.join(tables.distinct(absent['label']))}" if len(absent) else ""
        texts = [printed(row) for row in group[run].to_dict("records")]
        yield Block(f"{titles[problem, problem_settings]}: {measure}", pd.DataFrame(texts, columns=COLUMNS), note)


def sense(metric: str) -> str:
    """Return which way of a measure is better, in words."""
    return "higher is better" if metric in CATALOGUE and CATALOGUE[metric].higher_is_better else "lower is better"


def printed(row: dict[Any, Any]) -> dict[str, str]:
    """Return one row of a summary as texts."""
    return {
        "solver": row["label"],
        "D": str(row["size"]),
        "t": tables.time_text(row["t"]),
        "median": significant(row["median"]),
        "quartiles": interval(row["q25"], row["q75"]),
        "floor": significant(row["floor"]),
        "published": significant(row["published_median"]),
        "ok": f"{row['ok']}/{row['planned']}" + (f", {row['statuses']}" if row["statuses"] else ""),
        "seconds": significant(row["seconds"]),
    }


def terminal(frame: pd.DataFrame) -> list[Table]:
    """Return rich tables of the summary, one for every problem and measure."""
    from rich.text import Text

    found = []
    for block in blocks(frame):
        table = Table(title=Text(block.title), title_justify="left", header_style="bold")
        table.caption = Text(block.note) if block.note else None
        table.caption_justify = "left"
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in NUMERIC else "left", no_wrap=name in NUMERIC - {"ok"})
        groups = (block.rows["D"] + " " + block.rows["t"]).tolist()
        for place, row in enumerate(block.rows.itertuples(index=False)):
            last = place + 1 < len(groups) and groups[place + 1] != groups[place]
            table.add_row(*(Text(text) for text in row), end_section=last)
        found.append(table)
    return found


def markdown(frame: pd.DataFrame) -> str:
    """Return the summary as Markdown, one pipe table for every problem and measure."""
    parts = []
    for block in blocks(frame):
        lines = [list(COLUMNS), ["--:" if name in NUMERIC else ":--" for name in COLUMNS]]
        lines += [[markdown_text(text) for text in line] for line in block.rows.to_numpy().tolist()]
        parts.append(f"### {markdown_text(block.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        if block.note:
            parts.append(markdown_text(block.note))
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Escape what would end a cell or open a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def latex(frame: pd.DataFrame) -> str:
    """Return the summary as LaTeX, one ``longtable`` (packages booktabs and longtable) for every problem and measure."""
    alignment = "".join("r" if name in NUMERIC else "l" for name in COLUMNS)
    head = " & ".join(COLUMNS) + r" \\"
    parts = [f"% Needs \\usepackage{{booktabs,longtable}}. Column published: {SOURCE}."]
    for block in blocks(frame):
        body = "".join(
            " & ".join(latex_text(text) for text in row) + " \\\\\n" for row in block.rows.to_numpy().tolist()
        )
        parts.append(
            f"\\begin{{longtable}}{{{alignment}}}\n\\caption{{{latex_text(block.title)}}} \\\\\n"
            f"\\toprule\n{head}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n{body}\\end{{longtable}}"
        )
        if block.note:
            parts.append(latex_text(block.note))
    return "\n\n".join(parts) + "\n"


LATEX_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "·": r"\textperiodcentered{}", "β": r"$\beta$"}
)


def latex_text(text: str) -> str:
    """Escape a text for LaTeX; a bracket is wrapped, for it would be read as an option after a line's end."""
    return text.translate(LATEX_ESCAPES).replace("[", "{[}").replace("]", "{]}")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write the tidy frame itself; numbers keep every digit."""
    frame.to_csv(path, index=False)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the tidy frame itself. Raises ``MissingExtra`` without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtra("parquet needs pyarrow: pip install 'wgfbench[parquet]'") from error
    frame.to_parquet(path, index=False)


def write_text(text: Callable[[pd.DataFrame], str]) -> Callable[[pd.DataFrame, Path], None]:
    """Return a writer of what ``text`` makes of a frame."""

    def write(frame: pd.DataFrame, path: Path) -> None:
        path.write_text(text(frame), encoding="utf-8")

    return write


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "latex": write_text(latex),
    "markdown": write_text(markdown),
}


def export(frame: pd.DataFrame, format: str, path: str | Path) -> Path:
    """Write a frame: all its rows as ``csv`` or ``parquet``, its summary as ``latex`` or ``markdown``.

    Raises ``ValueError`` for another format, and ``MissingExtra`` when a package is missing.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r} (there are: {', '.join(FORMATS)})")
    path = Path(path)
    FORMATS[format](frame, path)
    return path
