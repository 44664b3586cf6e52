"""The command line; what is heavy is imported by the command that needs it."""

# Annotations are not postponed here: typer would compile each of them at every start.
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import DEFAULT_STORE, garbage
from harness.cli_options import Names, Plugins, StorePath, SuiteName, split
from harness.cli_stores import compare, export, merge, recover, report, show, verdict
from harness.errors import ClusterLost, UsageError
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


def main() -> None:
    """Run the command line: exit code 0 when all is well, 1 when cells failed, 2 for bad usage."""
    hold()
    garbage.rarely()
    try:
        app()
    except UsageError as error:
        print(f"wgfbench: {error}", file=sys.stderr)
        sys.exit(2)
    except ClusterLost as error:
        print(f"wgfbench: {error}", file=sys.stderr)
        sys.exit(1)


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
    changed_code: Annotated[
        bool, typer.Option("--rerun-changed-code", help="Run cells again whose plug-in's files have changed since.")
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
        unknown_data=unknown_data, changed_code=changed_code, stop_hopeless=stop_hopeless, cell=cell,
        backend=backend, scheduler=scheduler, data=data, plugin=plugin or (), store=store,
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


for command in (show, verdict, report, export, compare, merge, recover):
    app.command()(command)


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
