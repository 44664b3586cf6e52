"""Tables of the suites, problems, solvers with their settings, and measures that there are."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from harness.catalogue import Kind, catalogue, import_target, missing
from harness.measure import CATALOGUE, MeasureEntry
from harness.suite import load_suite, shipped
from problems.flow import Entropy, InternalEnergy, PowerEntropy
from solvers.solver import Solver

PLAIN_WIDTH = 100_000

ENERGIES: tuple[type[InternalEnergy] | None, ...] = (Entropy, PowerEntropy, None)
"""The internal energies that the listing asks solvers about; ``None``: there is none."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """A problem or a solver with its summary and settings, or the reason why it is ``missing``.

    ``needs`` is the package, and how to get it, without which one that is there can be listed, but not run.
    """

    name: str
    summary: str
    settings: tuple[str, ...]
    missing: str | None = None
    needs: str | None = None


def print_listing(plugins: Sequence[Path]) -> None:
    """Print suites with their presets, problems and solvers with their settings, what these solve, and measures."""
    screen = console()
    suites = table("suite", "presets", "what it runs", title="Suites")
    for name, path in shipped().items():
        suite, _ = load_suite(name, None)
        presets = tomllib.loads(path.read_text()).get("presets", {})
        suites.add_row(name, ", ".join(presets), Text(suite.description or suite.title))
    screen.print(suites)
    kinds: tuple[tuple[Kind, str], ...] = (("problem", "Problems"), ("solver", "Solvers"))
    for kind, title in kinds:
        components = table(kind, "what it is", "settings and their defaults", title=title)
        for each in listed(kind, plugins):
            what = each.summary if each.missing is None else f"not available: {each.missing}"
            if each.needs is not None:
                what += f" Needs {each.needs}"
            components.add_row(each.name, Text(what), Text(("\n" if screen.is_terminal else ", ").join(each.settings)))
        screen.print(components)
    screen.print(support_table(plugins))
    measures = table("measure", "version", "better is", "what it says", title="Measures")
    for name, target in catalogue(plugins).targets["measure"].items():
        measures.add_row(name, *map(Text, measure_row(name, target)))
    screen.print(measures)


def support_table(plugins: Sequence[Path]) -> Table:
    """Return the table of the free energies that each solver declares to solve, "yes" or nothing, and of its orders.

    Its caption has the motions of a flow that solvers do not answer alike with default settings.
    """
    energies = (each.__name__ if each else "no internal energy" for each in ENERGIES)
    asked = ("interaction", "observations", "stationary only", "dimensions", "order in time")
    matrix, unlike = table("solver", *energies, *asked, title="What each solver solves"), list[str]()
    for name, target in catalogue(plugins).targets["solver"].items():
        try:
            solver = import_target(target)
        except Exception:
            continue  # listed among the solvers, with the reason
        matrix.add_row(name, *support(solver))
        with suppress(ValueError, TypeError):  # of settings that have no default
            unlike += [f"{name} ({', '.join(motions)})" for motions in [solver().not_alike()] if motions]
    if unlike:
        matrix.caption = (
            f"A flow that is moved, turned or in other units is answered alike, but by {'; '.join(unlike)}."
        )
    return matrix


def support(solver: type[Solver]) -> tuple[str, ...]:
    """Return the cells of a solver's row: a word on each energy, and on each other thing that it may be asked."""
    answers = [declares(solver, each) for each in ENERGIES]
    answers += [solver.interacts, solver.assimilates, solver.stationary_only]
    few = "any" if solver.most_dimensions is None else f"at most {solver.most_dimensions}"
    orders = " or ".join(map(str, solver.orders)) + (" (order)" if len(solver.orders) > 1 else "")
    return (*("yes" if each else "" for each in answers), few, orders)


def declares(solver: type[Solver], energy: type[InternalEnergy] | None) -> bool:
    """Return whether a solver declares that it solves internal energies of a kind, or that there is none."""
    if energy is None:
        return None in solver.internal_energies
    return any(kind is not None and issubclass(energy, kind) for kind in solver.internal_energies)


def measure_row(name: str, target: str) -> tuple[str, str, str]:
    """Return the version of a measure, which way is better, and what it says; why it is not there if it is not."""
    try:
        measure = import_target(target)
    except Exception as error:
        return "", "", f"not available: {reason(error)}"
    entry = CATALOGUE.get(name) or MeasureEntry(target, summary(measure), measure.higher_is_better, measure.has_target)
    return str(measure.version), entry.better, entry.description


def listed(kind: Kind, plugins: Sequence[Path]) -> list[Listed]:
    """Return all components of a kind; what cannot be imported is listed with the reason."""
    found = []
    for name, target in catalogue(plugins).targets[kind].items():
        try:
            component = import_target(target)
        except Exception as error:
            found.append(Listed(name, "", (), missing=reason(error)))
            continue
        found.append(Listed(name, summary(component), settings(component), needs=missing(component)))
    return found


def reason(error: Exception) -> str:
    """Return in one line why an import failed."""
    text = f"needs {error}" if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def summary(component: type[Any]) -> str:
    """Return the first sentence of a component's documentation, on one line, without the marks of code."""
    paragraph = (component.__doc__ or "").strip().partition("\n\n")[0]
    first, stop, _ = " ".join(paragraph.split()).partition(". ")
    return (first + stop.strip()).replace("``", "")


def settings(component: type[Any]) -> tuple[str, ...]:
    """Return the settings of a component with their defaults, as they stand in the code."""
    return tuple(f"{field.name}={default(field)}" for field in dataclasses.fields(component) if field.init)


def default(field: dataclasses.Field[Any]) -> str:
    """Return the default of a setting as text."""
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return "(required)"


def console() -> Console:
    """Return a console that prints tables fit for the terminal, and whole lines where there is none."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def table(*columns: str, title: str | None = None, caption: str | None = None) -> Table:
    """Return an empty table in the one style that the command line uses."""
    folded = [Column(name, overflow="fold") for name in columns]
    return Table(*folded, title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
