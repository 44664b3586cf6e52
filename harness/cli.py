"""The command line; what is heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import UsageError
from solvers.reproducibility import hold

if TYPE_CHECKING:
    import pandas

app = typer.Typer(
    name="wgfbench",
    help="Solvers for Fokker-Planck equations and Wasserstein gradient flows, measured against known truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_STORE = Path("results/wgfbench.sqlite")
SuiteName = Annotated[str, typer.Argument(help="A shipped suite (see `wgfbench list`) or the path of a TOML file.")]
SuiteOfStore = Annotated[str | None, typer.Argument(help="A suite in the store; the one last run if left out.")]
StorePath = Annotated[Path, typer.Option("--store", help="The SQLite file that holds every run.")]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with your own solvers, problems or measures.")
]
Names = Annotated[list[str] | None, typer.Option(help="Only these: commas between, or given several times.")]


def main() -> None:
    """Run the command line: exit code 0 when all is well, 1 when cells failed, 2 for bad usage."""
    hold()
    try:
        app()
    except UsageError as error:
        print(f"wgfbench: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def run(
    suite: SuiteName,
    preset: Annotated[str | None, typer.Option(help="A preset of the suite; `quick` if it has one.")] = None,
    solver: Names = None,
    problem: Names = None,
    dims: Annotated[str | None, typer.Option(help="Dimensions, such as 2,6,12 or 1:12.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds (15), or which (0,3 or 5:9).")] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Cells at once; else all cores, on a GPU 1.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of torch and the BLAS in each cell; else 1, on a GPU the cores by the jobs."),
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="One cell at a time, for fair seconds.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "cpu",
    timeout: Annotated[str | None, typer.Option(help="Wall-clock limit of a cell, such as 10m.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory limit of a cell, such as 4G.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
    cell: Annotated[str | None, typer.Option(help="Run this one cell again, by the start of its key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    backend: Annotated[str, typer.Option(help="local, or dask to use the workers of --scheduler.")] = "local",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder of NAME.csv.gz data sets; else that of WGFBENCH_DATA.")
    ] = None,
    plugin: Plugins = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Run a suite: every cell that is not yet in the store, each in its own process within its limits."""
    from harness import server

    if not dry_run:
        server.start()
    from harness.catalogue import catalogue
    from harness.completion import completed_by
    from harness.outcome import FINE
    from harness.parsing import parse_bytes, parse_seconds
    from harness.plan import Selection, one_cell, plan
    from harness.progress import planned_table, report_outcome, watching
    from harness.schedule import Resources, check_backend, shares
    from harness.store import Store
    from harness.suite import load_suite
    from harness.supervise import Limits, check_data, check_device
    from harness.sweep import incomplete, pending, sweep

    components = catalogue(plugin or ())
    chosen, preset = load_suite(suite, preset, components.targets["measure"])
    selection = Selection(split(problem), split(solver), dims, seeds, check_device(device))
    cells = plan(chosen, selection, components)
    if cell is not None:
        cells = [one_cell(cells, cell)]
    on_gpu = selection.device.startswith("cuda")
    jobs, threads = shares(os.cpu_count() or 1, 1 if timing else jobs, threads, on_gpu)
    limits = Limits(
        seconds=parse_seconds("timeout", timeout or chosen.timeout),
        memory=parse_bytes("memory", memory or chosen.memory),
        threads=threads,
        checkpoints=str(store.with_suffix(".checkpoints").absolute()),
        data=check_data(data),
    )
    # A process with one thread gains nothing from several seeds; fair seconds are those of a seed alone.
    together = not timing and (threads > 1 or on_gpu)
    resources = Resources(limits, jobs, together, check_backend(backend), scheduler)
    name = Path(suite).stem
    if dry_run and not store.exists():
        planned_table(cells, cells)
        return
    with Store(store) as opened:
        lacks = completed_by(components)
        completing = incomplete(cells, opened, lacks)
        waiting = pending(cells, opened, retry or cell is not None) + completing
        if dry_run:
            planned_table(cells, waiting)
            return
        options: dict[str, Any] = {"preset": preset, "problem": problem, "solver": solver, "dims": dims, "seeds": seeds}
        options |= {"device": selection.device, "data": data, "plugin": plugin, "store": store}
        opened.record_plan(name, preset, cells, rerun_command(suite, options))
        try:
            with watching(len(cells), len(waiting), len(completing)) as progress:
                counts = sweep(waiting, opened, name, preset, resources, lacks, progress)
        except KeyboardInterrupt:
            print("stopped: what had finished is kept, and the same command goes on from there", file=sys.stderr)
            raise typer.Exit(130) from None
        statuses = opened.statuses()
        left = incomplete(cells, opened, lacks)
        report_outcome(cells, statuses, counts, store, len(left))
    if left or any(statuses[each.key] not in FINE for each in cells):
        raise typer.Exit(1)


def split(names: list[str] | None) -> list[str] | None:
    """Return the names of a repeated option whose values may hold several between commas."""
    return None if names is None else [name.strip() for value in names for name in value.split(",")]


def rerun_command(suite: str, options: dict[str, Any]) -> str:
    """Return the command that plans the same cells again, with the options that differ from their defaults."""
    defaults = {"device": "cpu", "store": DEFAULT_STORE}
    words = ["wgfbench", "run", suite]
    for name, value in options.items():
        if value and value != defaults.get(name):
            for each in value if isinstance(value, list) else [value]:
                words += [f"--{name}", str(each)]
    return shlex.join(words)


@app.command()
def show(
    suite: SuiteOfStore = None,
    metric: Names = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Print the tables of a suite: median and quartiles, with floor and published figure beside them."""
    from harness.report.tables import show_tables

    show_tables(frame_of(store, suite), metric)


@app.command()
def report(
    suite: SuiteOfStore = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The HTML file to write.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also write the plots as PNG and PDF.")] = False,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write the page of a suite: one HTML file that works offline."""
    from harness.frame import load_projections, load_traces
    from harness.report.page import write_page
    from harness.suite import heading

    frame = frame_of(store, suite)
    name = str(frame["suite"].iloc[0])
    traces, projections = load_traces(store, name), load_projections(store, name)
    path = output or Path("reports") / f"{name}.html"
    path = write_page(frame, path, *heading(name), traces=traces, projections=projections)
    print(path)
    if figures:
        from harness.report.figures import write_figures

        folder = path.with_suffix("")
        written = write_figures(frame, folder, traces=traces, projections=projections)
        print(f"{len(written)} figures in {folder}/")


@app.command()
def export(
    suite: SuiteOfStore = None,
    format: Annotated[str, typer.Option("--format", help="csv, parquet, latex or markdown.")] = "csv",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; standard output if left out.")
    ] = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write the figures of a suite: every measurement (csv, parquet) or the summary (latex, markdown)."""
    from harness.report.tables import export as write

    write(frame_of(store, suite), format, output)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A store.")],
    after: Annotated[Path, typer.Argument(help="Another store.")],
) -> None:
    """Compare two stores, cell by cell: which figures and which seconds changed by more than their errors."""
    from harness.compare import print_comparison

    print_comparison(before, after)


@app.command(name="list")
def list_everything(plugin: Plugins = None) -> None:
    """List suites, problems, solvers with their settings, and measures."""
    from harness.listing import print_listing

    print_listing(plugin or ())


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A solver, a problem or a measure.")],
    plugin: Plugins = None,
) -> None:
    """Check a solver, a problem or a measure against its contract, as the tests of the built-in ones do."""
    from harness.conformance import print_verdict

    if not print_verdict(name, plugin or ()):
        raise typer.Exit(1)


@app.command()
def doctor(plugin: Plugins = None, store: StorePath = DEFAULT_STORE) -> None:
    """Say what this machine has: versions, devices, threads, optional packages, and the state of the store."""
    from harness.doctor import print_diagnosis

    print_diagnosis(plugin or (), store)


def frame_of(store: Path, suite: str | None) -> pandas.DataFrame:
    """Return the frame of a suite in a store, the one last run if none is named.

    Raises ``UsageError`` for a file that is not a store, and a suite that it does not hold.
    """
    from harness.frame import load
    from harness.store import Store

    if suite is None:
        with Store(store, create=False) as opened:
            suite = opened.last_suite()
    return load(store, suite)
