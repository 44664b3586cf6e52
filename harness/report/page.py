"""The page: one HTML file with everything in it, for which no network is needed.

What is printed is escaped by the template; data for scripts are JSON with ``<``, ``>`` and ``&`` written as escapes. A
content security policy in the page forbids it to load anything, whatever its scripts contain.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from harness.report import published as published_figures
from harness.report import summary
from harness.report.apart import apart, relabelled
from harness.report.contents import failures, measures, overview, problem_tables, provenance
from harness.report.draws_and_steps import draws_and_steps_data
from harness.report.energy import energy_data
from harness.report.plots import plot_data
from harness.report.runs import run_details, run_rows
from harness.report.side_by_side import side_by_side
from harness.report.verdict import AGAINST, verdict_of
from harness.report.work_data import work_data, work_tables
from harness.verdict.judge import judge

SCRIPTS = (
    "drawing.js",
    "plots.js",
    "draws_and_steps.js",
    "line_densities.js",
    "plane_densities.js",
    "energy.js",
    "work.js",
)
NAMESPACES = re.compile(r"http://www\.w3\.org/(?:2000/svg|2000/xmlns/|1999/xhtml|1999/xlink|XML/1998/namespace)")
ADDRESS = re.compile(r"https?://(?=\S)")


def write_page(
    frame: pd.DataFrame,
    path: str | Path,
    title: str | None = None,
    description: str = "",
    *,
    traces: pd.DataFrame | None = None,
    projections: pd.DataFrame | None = None,
    data: str | None = None,
) -> Path:
    """Write the report of a frame (as of ``harness.load``) to one HTML file and return its path.

    ``traces`` and ``projections`` (as of ``harness.load_traces`` and ``harness.load_projections``) add plots of steps
    and of draws or densities; ``data`` is the folder where data sets may lie. Raises ``ValueError`` for a frame without
    rows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = page(frame, title, description, traces=traces, projections=projections, data=data)
    path.write_text(text, encoding="utf-8")
    return path


def page(
    frame: pd.DataFrame,
    title: str | None = None,
    description: str = "",
    *,
    traces: pd.DataFrame | None = None,
    projections: pd.DataFrame | None = None,
    data: str | None = None,
) -> str:
    """Return the report as HTML text; raises ``ValueError`` for a frame without rows."""
    if frame.empty:
        raise ValueError("the frame has no rows: nothing was planned")
    frame = summary.plain_text(frame)
    labels = apart(frame)
    frame = relabelled(frame, labels)
    judged = judge(frame)
    traces, projections = (None if table is None else relabelled(table, labels) for table in (traces, projections))
    published = published_figures.load()
    rows = summary.summarise(frame, published)
    others = summary.unmatched(rows, published)
    cells = summary.cells(frame)
    work = work_tables(cells, judged)
    short = summary.short_titles(rows)
    problems = []
    plots = []
    for place, (key, name) in enumerate(summary.titles(rows).items()):
        ours = rows[(rows["problem"] == key[0]) & (rows["problem_settings"] == key[1])]
        theirs = others[(others["problem"] == key[0]) & (others["problem_settings"] == key[1])]
        plot = plot_data(ours, theirs, frame, key, name)
        plot |= draws_and_steps_data(traces, projections, key, plot["labels"], data)
        plot["energy"] = energy_data(frame, traces, key, plot["labels"])
        plot["work"] = work_data(work, key, plot["labels"])
        plots.append(plot)
        shown = {"short": short[key], "has_draws": bool(plot["draws"]), "has_steps": bool(plot["steps"])}
        shown |= {f"has_{name}": bool(plot[name]) for name in ("densities", "planes", "energy", "work")}
        problems.append(problem_tables(ours, theirs, name, f"problem-{place}") | shown)
    listed = run_rows(cells, frame)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resource("page.html.j2"))
    return template.render(
        title=title or f"{overview(cells)['suite']} · wgfbench",
        description=description,
        overview=overview(cells),
        verdict=verdict_of(frame, judged),
        verdict_columns=AGAINST,
        problems=problems,
        compared=side_by_side(rows, others, published),
        runs=listed,
        failures=failures(cells),
        measures=measures(frame),
        provenance=provenance(cells),
        source=published_figures.sources(rows["published_source"], others["source"]),
        style=Markup(resource("page.css")),
        script=Markup(resource("page.js")),
        plots_script=Markup("".join(map(resource, SCRIPTS)) + "drawing.start();"),
        plotly=Markup(plotly_bundle()),
        plots=embedded(plots),
        details=embedded(run_details(cells, frame)),
    )


def resource(name: str) -> str:
    """Return the text of a file beside this one."""
    return (files("harness.report") / name).read_text(encoding="utf-8")


def embedded(value: Any) -> Markup:
    """Return JSON that can stand inside a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def plotly_bundle() -> str:
    """Return plotly.js without addresses: every one but the XML namespaces, which name and locate nothing.

    The addresses belong to maps, the editing cloud and licence notes; no plot of the page uses them.
    """
    from plotly.offline import get_plotlyjs

    return without_addresses(get_plotlyjs())


def without_addresses(text: str) -> str:
    """Replace the scheme of every address but XML namespaces by ``offline:``, which leads nowhere."""
    kept: list[str] = []
    for piece in re.split(f"({NAMESPACES.pattern})", text):
        kept.append(piece if NAMESPACES.fullmatch(piece) else ADDRESS.sub("offline:", piece))
    return "".join(kept)
