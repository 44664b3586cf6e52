"""Commands about what stores hold: figures that are shown, judged, written, compared, joined and recovered.

What is heavy is imported by the command that needs it.
"""

# Annotations are not postponed here: typer would compile each of them at every start.
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from harness import DEFAULT_STORE
from harness.cli_options import Everything, Measures, Names, Preset, StorePath, SuiteOfStore, split
from harness.errors import UsageError
from harness.shown import choose, of_solvers, print_heading


def show(
    suite: SuiteOfStore = None,
    measure: Measures = None,
    solver: Names = None,
    preset: Preset = None,
    everything: Everything = False,
    cell: Annotated[
        str | None, typer.Option(help="Say all of one cell, by the start of its key, and what it printed.")
    ] = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Print the verdict and the tables of a suite: median and quartiles, with floor and published figure beside."""
    if cell is not None:
        from harness.one_cell import print_cell

        print_cell(store, cell)
        return
    from harness.report.tables import of_measures, show_tables

    chosen = choose(store, suite, preset, everything)
    frame = of_solvers(chosen.frame, solver)
    of_measures(frame, split(measure))
    print_heading(chosen)
    if measure is None:
        from harness.report.verdict import verdict as judged
        from harness.report.verdict_printed import print_verdict

        print_verdict(judged(frame))
        print()
    show_tables(frame, split(measure))


def verdict(
    suite: SuiteOfStore = None,
    baseline: Annotated[
        str | None, typer.Option(help="The solver that others are set against, by label or name; else one is chosen.")
    ] = None,
    solver: Names = None,
    preset: Preset = None,
    everything: Everything = False,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Say which solvers are better: excess over exact draws, ranks, wins and losses against a baseline."""
    from harness.report.verdict import verdict as judged
    from harness.report.verdict_printed import print_verdict
    from harness.verdict.stored import load_deciding

    chosen = choose(store, suite, preset, everything, load_deciding)
    found = judged(of_solvers(chosen.frame, solver), baseline)
    print_heading(chosen)
    print_verdict(found)


def report(
    suite: SuiteOfStore = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The HTML file to write.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also write the plots as PNG and PDF.")] = False,
    preset: Preset = None,
    everything: Everything = False,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write the page of a suite: one HTML file that works offline."""
    from harness.frame import load_projections, load_traces
    from harness.report.page import write_page

    chosen = choose(store, suite, preset, everything)
    which = (store, chosen.suite, chosen.preset)
    traces = load_traces(*which, everything=everything)
    projections = load_projections(*which, everything=everything)
    path = output or Path("reports") / f"{chosen.name}.html"
    with writing(path):
        path = write_page(
            chosen.frame, path, chosen.title, chosen.description,
            traces=traces, projections=projections, data=chosen.data,
        )  # fmt: skip
    print(path)
    if figures:
        from harness.report.figures import write_figures

        folder = path.with_suffix("")
        with writing(folder):
            written = write_figures(chosen.frame, folder, traces=traces, projections=projections, data=chosen.data)
        print(f"{len(written)} figures in {folder}/")


def export(
    suite: SuiteOfStore = None,
    format: Annotated[str, typer.Option("--format", help="csv, parquet, latex or markdown.")] = "csv",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; standard output if left out.")
    ] = None,
    measure: Measures = None,
    solver: Names = None,
    preset: Preset = None,
    everything: Everything = False,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write the figures of a suite: every measurement (csv, parquet) or the summary (latex, markdown)."""
    from harness.report.tables import export as write

    frame = of_solvers(choose(store, suite, preset, everything).frame, solver)
    bounds = {"oracle", "initial"} & set(split(solver) or ())
    write(frame, format, output, split(measure), bounds=bool(bounds))


def compare(
    before: Annotated[Path, typer.Argument(help="A store.")],
    after: Annotated[
        Path | None, typer.Argument(help="Another store; with --solvers the same one if left out.")
    ] = None,
    solvers: Annotated[
        str | None, typer.Option(help="Two solvers, by label or name, with a comma between: one of either store.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Set a store against the committed figures: reference, or published.")
    ] = None,
) -> None:
    """Compare two stores, two solvers, or a store and the committed figures: what changed by more than its errors."""
    from harness.compare import check_sides, print_against_reference, print_comparison

    check_sides(after, solvers, against)
    if against is not None:
        if against == "reference":
            print_against_reference(before)
            return
        from harness.frame import load
        from harness.report.against_published import print_against_published

        print_against_published(load(before))
        return
    print_comparison(before, after or before, solvers)


def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores, two or more.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The store to write: a new file.")],
    newest: Annotated[
        bool, typer.Option("--newest", help="Where a suite was edited in between, let the one count that ran last.")
    ] = False,
) -> None:
    """Join stores in a new one: of a cell that several hold, the one that finished."""
    from harness.merge import print_merge

    print_merge(stores, output, newest)


def recover(
    damaged: Annotated[Path, typer.Argument(help="A store of which a part is missing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The store to write: a new file.")],
) -> None:
    """Copy what can be read of a damaged store into a new one."""
    from harness.recovery import print_recovery

    print_recovery(damaged, output)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise what the system says of a file that cannot be written as a ``UsageError`` of one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
