"""The command line; what is heavy is imported by the command that needs it."""

# Annotations are not postponed here: typer would compile each of them at every start.
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from harness import DEFAULT_STORE
from harness.errors import ClusterLost, UsageError
from harness.shown import choose, of_solvers, print_heading
from solvers.reproducibility import hold

app = typer.Typer(
    name="wgfbench",
    help="Solvers for Fokker-Planck equations and Wasserstein gradient flows, measured against known truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SuiteName = Annotated[str, typer.Argument(help="A shipped suite (see `wgfbench list`) or the path of a TOML file.")]
SuiteOfStore = Annotated[
    str | None, typer.Argument(help="A suite in the store, by id, name, title or file; the one last run if left out.")
]
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
    except ClusterLost as error:
        print(f"wgfbench: {error}", file=sys.stderr)
        sys.exit(1)


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


def version_asked(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    if asked:
        from importlib.metadata import version

        print(f"wgfbench {version('wgfbench')}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=version_asked, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command()
def run(
    suite: SuiteName,
    preset: Annotated[str | None, typer.Option(help="A preset of the suite; `quick` if it has one.")] = None,
    solver: Names = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(help="Only these, by name or label; NAME:VALUE for one data set or instance. Commas between."),
    ] = None,
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
    measures: Annotated[
        list[str] | None, typer.Option("--measures", help="Measures in place of the suite's: commas between.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting to replace: NAME.SETTING=VALUE, as in TOML.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
    unknown_data: Annotated[
        bool, typer.Option("--rerun-unknown-data", help="Run cells again whose data files the store does not know.")
    ] = False,
    stop_hopeless: Annotated[
        bool,
        typer.Option(
            "--stop-hopeless", help="Ask a solver no more seeds once its first two diverged or ran out of time."
        ),
    ] = False,
    cell: Annotated[str | None, typer.Option(help="Run this one cell again, by the start of its key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    backend: Annotated[str, typer.Option(help="local, or dask to use the workers of --scheduler.")] = "local",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler, or its file.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder of NAME.csv.gz data sets; else that of WGFBENCH_DATA.")
    ] = None,
    plugin: Plugins = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Run a suite: every cell that is not yet in the store, each in its own process within its limits."""
    from harness.finished import asked, recalled, repeat
    from harness.parsing import parse_change
    from harness.request import Change, Request

    request = Request(
        suite=suite, preset=preset, problem=problem, solver=solver, dims=dims, seeds=seeds,
        jobs=jobs, threads=threads, timing=timing, device=device, timeout=timeout, memory=memory,
        measures=split(measures), changes=[Change(*parse_change(text)) for text in set_ or ()], retry=retry,
        unknown_data=unknown_data, stop_hopeless=stop_hopeless, cell=cell, backend=backend, scheduler=scheduler,
        data=data, plugin=plugin or (), store=store,
    )  # fmt: skip
    known_by = asked(request)
    finished = None if dry_run else recalled(request, known_by)
    if finished is not None:
        repeat(request, finished)
        raise typer.Exit(0 if finished.fine else 1)
    from harness import server

    here = dry_run or backend != "local" or device != "cpu"
    if not here:
        server.start()
    from harness.planning import planned_by_server
    from harness.progress import outcome_lines, planned_table, say
    from harness.running import PlannedRun

    planned = PlannedRun(request, known_by) if here else planned_by_server(request, known_by)
    if dry_run:
        planned_table(*planned.waiting())
        return
    try:
        ran = planned.run()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    say(outcome_lines(ran.cells, ran.ended, ran.counts, store, ran.incomplete))
    if not ran.fine:
        raise typer.Exit(1)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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
    from harness.report.tables import of_measures

    frame = of_solvers(choose(store, suite, preset, everything).frame, solver)
    bounds = {"oracle", "initial"} & set(split(solver) or ())
    write(of_measures(frame, split(measure)), format, output, bounds=bool(bounds))


@app.command()
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


@app.command()
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


@app.command()
def recover(
    damaged: Annotated[Path, typer.Argument(help="A store of which a part is missing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The store to write: a new file.")],
) -> None:
    """Copy what can be read of a damaged store into a new one."""
    from harness.recovery import print_recovery

    print_recovery(damaged, output)


@app.command()
def reference(
    name: Annotated[
        str, typer.Argument(help="A data set: NAME.csv.gz in the folder of --data, or one of the project's.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder of NAME.csv.gz data sets; else that of WGFBENCH_DATA.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many splits (15), or which (0,3 or 5:9).")] = "1",
    intercept: Annotated[bool, typer.Option("--intercept", help="As the setting of logistic-regression.")] = False,
    constant_features: Annotated[str, typer.Option(help="As the setting: error or zero.")] = "error",
    prior_shape: Annotated[float, typer.Option(help="As the setting.")] = 1.0,
    prior_rate: Annotated[float, typer.Option(help="As the setting.")] = 100.0,
    chains: Annotated[int, typer.Option(min=2, help="Chains of the sampler.")] = 16,
    warmup: Annotated[int, typer.Option(min=1, help="Iterations a chain to tune on.")] = 1000,
    draws: Annotated[int, typer.Option(min=1, help="Draws a chain.")] = 2500,
    target_acceptance: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="What its step size is tuned to.")
    ] = 0.98,
    evidence_only: Annotated[
        bool, typer.Option("--evidence-only", help="Add the log-evidence to references that lack it.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write to; else `reference` beside the data.")
    ] = None,
) -> None:
    """Make the reference of a posterior, a converged NUTS run; needs the extra `reference`."""
    from harness.reference.command import make_references
    from harness.reference.nuts import Sampling

    settings = {
        "intercept": intercept, "constant_features": constant_features,
        "prior_shape": prior_shape, "prior_rate": prior_rate,
    }  # fmt: skip
    sampling = Sampling(chains, warmup, draws, target_acceptance)
    make_references(name, seeds, settings, sampling, data, output, evidence_only)


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise what the system says of a file that cannot be written as a ``UsageError`` of one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
