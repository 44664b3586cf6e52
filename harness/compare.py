"""Two sides of a comparison, figure by figure: which changed by more than their errors, and what happened to seconds.

The sides are two stores, or two solvers, of one store or of two, or a store and the committed figures. A cell of one
side is that of the other when problem, solver, all settings, dimension, seed and device agree (of two solvers, all but
the solver and its settings); versions, labels and keys may differ, so that a solver can be compared with what it was.

The judgement is that of the verdict (``harness.verdict``): excesses over exact draws, paired seed by seed on their
scale, by Student's t at 5 %. A change is for the better or the worse where the measure is proper for both answers, the
worse of the two is above its floor and the better one not below; else it is a change. A run that failed counts as
infinitely far from the truth, by any measure, and two that failed as equally far. One seed cannot tell any. Beside it
stands the median difference of the figures, over n seeds that both answered, with differences d_s, whose stored errors
are e_s, with

    max{ t_{0.975, n-1} c std(d_s) / √n,   z_{0.975} c √(Σ e_s²) / n },    c = √(π/2) for n > 1, 1 for n = 1,

c/√n being the standard error of the median over that of a normal sample's deviation: large for small n, never small.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.text import Text

from harness.catalogue import BUILTIN, Kind
from harness.compared_cells import CELL, GROUP, ROW, SIDES, latest, paired_cells, with_units
from harness.compared_figures import BRIEF, CONFIDENCE, both, cost_of, scatter_of, verdict_on
from harness.errors import UsageError, unknown
from harness.frame import load, with_floors
from harness.identity import former
from harness.listing import console, table
from harness.outcome import FAILED
from harness.parsing import parse_names
from harness.report.apart import told_apart
from harness.report.summary import significant
from harness.verdict.excess import ROUNDING as ROUNDING
from harness.verdict.paired import LEVEL, corrected

SHOWN_CELLS = 20
REFERENCE = Path(__file__).parents[1] / "results" / "reference"
WORDS = ("better", "worse", "changed", "same", "cannot tell")


def check_sides(after: Path | None, solvers: str | None, against: str | None) -> None:
    """Raise ``UsageError`` for a comparison without another side, with two of them, and for figures not committed."""
    if against is None and after is None and solvers is None:
        raise UsageError("compare takes two stores, or one with --solvers A,B or --against reference")
    if against not in (None, "reference", "published"):
        raise unknown("committed figures", against or "", ("reference", "published"))
    if against is not None and (after is not None or solvers is not None):
        raise UsageError("--against takes one store and no solvers: the other side are the committed figures")


def print_comparison(before_path: Path, after_path: Path, solvers: str | None = None) -> None:
    """Print changes of figures and seconds between two stores, changes of status, and cells that only one holds.

    With two ``solvers``, labels or names with a comma between, the first of the one store is compared with the second
    of the other, which may be the same. Raises ``UsageError`` for a file that is not a store, for solvers that are not
    there, and for sides that have no cell in common.
    """
    before, after = load(before_path), load(after_path)
    names = f"{before_path}", f"{after_path}"
    if solvers is not None:
        before, after, (first, second) = of_two_solvers(before, after, solvers)
        where = ("", "") if before_path == after_path else (f" in {names[0]}", f" in {names[1]}")
        names = f"{first}{where[0]}", f"{second}{where[1]}"
    print_sides(by_former_names(before), by_former_names(after), names)


def print_against_reference(path: Path) -> None:
    """Print how the figures of a store compare with those that are committed with the code.

    Raises ``UsageError`` for a file that is not a store, and where they have no cell in common.
    """
    print_sides(by_former_names(reference()), by_former_names(load(path)), ("the committed figures", str(path)))


def print_sides(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> None:
    """Print the comparison of two frames by former names; raises ``UsageError`` where they have no cell in common."""
    statuses = compare_statuses(before, after)
    if not statuses["where"].eq("both").any():
        raise UsageError(f"{names[0]!r} and {names[1]!r} have no cell in common")
    screen = console()
    figures = compare_figures(before, after)
    rows = table(
        "problem", "D", "solver", "t", "measure", "before", "after", "difference", "seeds", "", "seconds",
        title=f"{names[0]} → {names[1]}", caption="\n".join((told(figures), *remarks(figures, statuses))),
    )  # fmt: skip
    for row in figures.to_dict("records"):
        style = {"better": "green", "worse": "red"}.get(row["change"], "")
        rows.add_row(
            Text(row["problem"]), str(row["size"]), Text(row["label"]), f"{row['t']:g}", row["metric"],
            *(figure_text(row[side]) for side in SIDES), difference_text(row), seeds_text(row),
            Text(row["change"], style=style), Text(seconds_text(row)),
        )  # fmt: skip
    screen.print(rows)
    changed = statuses[statuses["where"].eq("both") & statuses["before"].ne(statuses["after"])]
    print_cells(f"{len(changed)} cells ended otherwise", changed)
    for where, name in zip(("before", "after"), names, strict=True):
        alone = statuses[statuses["where"].eq(where)]
        print_cells(f"{len(alone)} cells are only in {name}", alone)


def told(figures: pd.DataFrame) -> str:
    """Return in words how many figures changed, and how many would be called so without any change."""
    changes = figures["change"].value_counts()
    always = ("better", "worse", "same")
    counts = ", ".join(f"{changes.get(word, 0)} {word}" for word in WORDS if word in always or changes.get(word))
    differ = int(figures["p"].notna().sum())
    kept = int((corrected(figures["p"].to_numpy(dtype=float)) < LEVEL).sum())
    called = int((figures["p"] < LEVEL).sum())
    words = f"{counts} at {CONFIDENCE:.0%} each: of {differ} figures that differ at all and have seeds to tell, "
    words += f"about {LEVEL * differ:.0f} would be called without a change"
    if called:
        words += f"; of {called} that are, {kept} stand when corrected for their number"
    if (figures["change"].eq("cannot tell") & figures["p"].isna()).any():
        words += ". One seed cannot tell a change from chance: three or more would do"
    return f"{words}. Medians over seeds that both answered."


def remarks(figures: pd.DataFrame, statuses: pd.DataFrame) -> Iterator[str]:
    """Yield how many runs failed on one side alone, and how far seconds can be relied on."""
    common = statuses[statuses["where"] == "both"]
    ends = [(common[one].eq("ok") & common[other].isin(FAILED)).sum() for one, other in (SIDES, SIDES[::-1])]
    if any(ends):
        yield (
            f"Answered before, failed after: {ends[0]} runs. Failed before, answered after: {ends[1]}. "
            "Each failed run counts as infinitely far from the truth."
        )
    if figures["noisy"].any():
        yield (
            f"Seconds are noisy: {int(figures['noisy'].sum())} of {len(figures)} rows are of runs under "
            f"{1000 * BRIEF:.0f} ms or beside others. Their 95 % is over seeds, not over machines or hours; run with "
            "--timing."
        )


def figure_text(value: float) -> str:
    """Return a median as text."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def difference_text(row: Mapping[Any, Any]) -> str:
    """Return a difference with its 95 % as text."""
    return "–" if math.isnan(row["difference"]) else f"{row['difference']:+.2g} ± {row['half_width']:.2g}"


def seeds_text(row: Mapping[Any, Any]) -> str:
    """Return the number of seeds and, where some failed, how many of them either side answered."""
    answered = [row[f"answered_{side}"] for side in SIDES]
    seeds = row["seeds"]
    return str(seeds) if answered == [seeds, seeds] else f"{answered[0]}/{seeds} → {answered[1]}/{seeds}"


def of_two_solvers(
    before: pd.DataFrame, after: pd.DataFrame, solvers: str
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, str]]:
    """Return the rows of one solver of either frame, each under the name of both, and the two names.

    Raises ``UsageError`` unless there are two, each a label or the name of a single solver in its frame.
    """
    frames = [in_all_presets(frame) for frame in (before, after)]
    known = {str(name) for frame in frames for column in ("label", "solver", "own") for name in frame[column]}
    names = parse_names([solvers], known)
    if len(names) != 2:
        raise UsageError(f"two solvers are compared, got {len(names)}: {', '.join(names)}")
    together = " → ".join(names)
    sides = []
    for frame, name in zip(frames, names, strict=True):
        rows = of_solver(frame, name).drop(columns="own")
        sides.append(rows.assign(solver=together, solver_settings="{}", label=together))
    return sides[0], sides[1], (names[0], names[1])


def in_all_presets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its labels told apart, whatever preset rows are of, and those of the suite in ``own``."""
    return told_apart(with_units(frame).assign(own=frame["label"], preset=""))


def of_solver(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of the one solver that a label, or the name of a solver with one label, means.

    Raises ``UsageError`` for a name that the frame does not have, or that means several, such as one label in two
    presets with other settings.
    """
    if name not in set(frame["own"]) and name in set(frame["label"]):
        return frame[frame["label"] == name]
    rows = frame[frame["own"] == name]
    if rows.empty:
        rows = frame[frame["solver"] == name]
    if rows.empty:
        raise unknown("solver", name, {*map(str, frame["label"]), *map(str, frame["solver"])})
    kinds = rows.drop_duplicates([*GROUP[:2], "size", "label"])
    clash = kinds[kinds.duplicated([*GROUP[:2], "size"], keep=False)]
    means = list(clash["label"].unique()) if len(clash) else list(rows["own"].unique())
    if len(means) > 1:
        raise UsageError(f"solver {name!r} means {len(means)}: name one of {', '.join(map(repr, means))}")
    return rows


def reference() -> pd.DataFrame:
    """Return the figures that are committed with the code as a frame, with floors where exact draws are among them."""
    found = pd.concat([pd.read_csv(path) for path in sorted(REFERENCE.glob("*.csv"))], ignore_index=True)
    found = found.assign(device="cpu", finished="", suite="", preset="", evaluation="", data="")
    found["sample_size"] = found["sample_size"].astype("Int64")
    return with_floors(found)


def print_cells(title: str, cells: pd.DataFrame) -> None:
    """Print some cells with their status before and after; nothing when there are none."""
    if cells.empty:
        return
    left_out = len(cells) - SHOWN_CELLS
    caption = f"… and {left_out} more" if left_out > 0 else None
    rows = table("problem", "D", "solver", "seed", "before", "after", title=title, caption=caption)
    for row in cells.head(SHOWN_CELLS).to_dict("records"):
        status = [row[side] if isinstance(row[side], str) else "–" for side in ("before", "after")]
        rows.add_row(Text(row["problem"]), str(row["size"]), Text(row["label"]), str(row["seed"]), *status)
    console().print(rows)


def by_former_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which problems, solvers and settings go by the names that keys know them by.

    What was renamed between two stores is then the same in both.
    """
    columns = GROUP[:4]
    texts = frame[columns].drop_duplicates()
    known = [counting(*(str(text) for text in row)) for row in texts.itertuples(index=False)]
    table = dict(zip(texts.itertuples(index=False, name=None), known, strict=True))
    rows = [table[row] for row in frame[columns].itertuples(index=False, name=None)]
    return frame.assign(**{column: [row[place] for row in rows] for place, column in enumerate(columns)})


def counting(problem: str, problem_settings: str, solver: str, solver_settings: str) -> tuple[str, str, str, str]:
    """Return a problem and a solver with their settings, as text, by the names that keys know them by."""
    problem, problem_settings = former_text("problem", problem, problem_settings, None)
    return problem, problem_settings, *former_text("solver", solver, solver_settings, problem)


def former_text(kind: Kind, name: str, settings: str, problem: str | None) -> tuple[str, str]:
    """Return a component's former name and settings as text; what is no built-in stays as it is."""
    if name not in BUILTIN[kind]:
        return name, settings
    name, known = former(kind, name, json.loads(settings), BUILTIN[kind][name], problem)
    return name, json.dumps(known, sort_keys=True)


def compare_statuses(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: ``where`` it is (``both``, ``before`` or ``after``) and how it ended in each store."""
    sides = [latest(frame, CELL)[[*CELL, "label", "status"]] for frame in (before, after)]
    merged = sides[0].merge(sides[1], on=CELL, how="outer", indicator="where", suffixes=("_before", "_after"))
    where = merged["where"].astype(str).replace({"left_only": "before", "right_only": "after"})
    label = merged["label_after"].fillna(merged["label_before"])
    result = merged[CELL].assign(label=label, before=merged["status_before"], after=merged["status_after"], where=where)
    return result.reset_index(drop=True)


def compare_figures(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return one row per problem, dimension, solver, time and measure that both sides have, or failed to answer.

    ``seeds`` are in common, of which ``answered_before`` and ``answered_after`` have a figure. ``before`` and ``after``
    are medians over those that both answered, or over a side's own where the other answered none; ``difference`` is the
    median of the differences seed by seed with its ``standard_error`` and 95 % ``half_width``, ``p`` that of the paired
    test (NaN where there is nothing to test: equal figures, or one seed), and ``change`` is "better", "worse",
    "changed" where the measure cannot say for the better or the worse, "same", or "cannot tell". ``seconds_ratio`` is
    the geometric mean of solve seconds after over those before, with its 95 % interval ``seconds_low`` to
    ``seconds_high``, and ``noisy`` says that these seconds are not to be relied on.
    """
    rows = []
    for keys, seeds in paired_cells(before, after).groupby(ROW, sort=False):
        row = dict(zip(ROW, keys, strict=True))
        values = both(seeds, "value")
        answered = [~np.isnan(value) for value in values]
        in_common = np.logical_and(*answered)
        row |= {"label": seeds["label_after"].iloc[0], "seeds": len(seeds)}
        row |= {f"answered_{side}": int(own.sum()) for side, own in zip(SIDES, answered, strict=True)}
        for side, value, own in zip(SIDES, values, answered, strict=True):
            shown = in_common if in_common.any() else own
            row[side] = float(np.median(value[shown])) if shown.any() else math.nan
        rows.append(
            row | scatter_of(seeds[in_common]) | cost_of(seeds[in_common]) | verdict_on(seeds, str(row["metric"]))
        )
    columns = [
        *ROW, "label", "seeds", "answered_before", "answered_after", "before", "after",
        "seconds_ratio", "seconds_low", "seconds_high", "noisy",
        "difference", "standard_error", "half_width", "p", "change",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def seconds_text(row: Mapping[Any, Any]) -> str:
    """Return the factor by which seconds changed, with its interval where there is one, as text."""
    if math.isnan(row["seconds_ratio"]):
        return "–"
    ratio, low, high = (significant(row[f"seconds_{name}"], 2) for name in ("ratio", "low", "high"))
    return f"× {ratio}" if math.isinf(row["seconds_high"]) else f"× {ratio} [{low}, {high}]"
