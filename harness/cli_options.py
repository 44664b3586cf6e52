"""What options of several commands are."""

from pathlib import Path
from typing import Annotated

import typer

SuiteName = Annotated[str, typer.Argument(help="A shipped suite (see `wgfbench list`) or the path of a TOML file.")]
SuiteOfStore = Annotated[
    str | None, typer.Argument(help="A suite in the store, by id, name, title or file; the one last run if left out.")
]
StorePath = Annotated[Path, typer.Option("--store", help="The SQLite file that holds every run.")]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with your own solvers, problems or measures.")
]
Names = Annotated[list[str] | None, typer.Option(help="Only these: commas between, or given several times.")]
Preset = Annotated[str | None, typer.Option(help="The preset of the suite; the one last run if left out.")]
Everything = Annotated[
    bool, typer.Option("--all", help="All presets, and rows that gave way to others, such as those of an edited suite.")
]
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", "--metric", help="Only these measures: commas between, or given several times."),
]


def split(names: list[str] | None) -> list[str] | None:
    """Return the names of a repeated option whose values may hold several between commas."""
    return None if names is None else [name.strip() for value in names for name in value.split(",")]
