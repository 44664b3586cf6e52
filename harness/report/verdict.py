"""The verdict in words and tables: a row a solver, a column a problem, then all against a baseline, then a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report import summary
from harness.report.apart import told_apart
from harness.report.summary import label_place, significant, time_text
from harness.verdict.against import against, apart_from, baseline_of, idle_text, meetings, why_apart, without_floor
from harness.verdict.contest import Contest
from harness.verdict.flattered import flattered
from harness.verdict.judge import Judged, judge, outcomes
from harness.verdict.paired import LEVEL

STATES = {"above": "above", "at": "at floor", "below": "BELOW", "": "", "none": "no answer"}
BARE = "no floor"
"""The state of a solver whose figure stands for its excess, because no exact draws are beside it."""
MARKS = "¹²³⁴⁵⁶⁷⁸⁹"
"""Signs of the measures that excesses are by."""


@dataclass(frozen=True)
class Entry:
    """What stands in a table for a solver on a problem: its excess, its state, rank and cost; ``leads`` is bold."""

    excess: str
    state: str
    rank: str
    seconds: str
    ok: str
    leads: bool
    below: bool

    @property
    def second(self) -> str:
        """All but the excess, in one line."""
        return " · ".join(filter(None, [self.state, self.rank and f"#{self.rank}", self.seconds, self.ok]))


@dataclass(frozen=True)
class VerdictTable:
    """The verdict as texts: ``columns`` are problems, ``rows`` solvers with their entries, ``None`` for no part in it.

    ``against`` holds a row of texts a solver, ``notes`` what cannot be judged and why, ``sentence`` is to be quoted.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Entry | None, ...]], ...]
    legend: str
    baseline: str | None
    against: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    sentence: str


AGAINST = ("solver", "better", "tie", "worse", "excess ×", "95 %", "seconds ×", "")


def verdict(frame: pd.DataFrame, baseline: str | None = None) -> VerdictTable:
    """Return the verdict of a frame, against a baseline or, by default, the solver that answered on most problems.

    Raises ``UsageError`` for a baseline that is not there.
    """
    frame = told_apart(summary.plain_text(frame))
    return verdict_of(frame, judge(frame), baseline)


def verdict_of(frame: pd.DataFrame, judged: Judged, baseline: str | None = None) -> VerdictTable:
    """Return the verdict of a frame that has been judged, its labels told apart; otherwise as :func:`verdict`."""
    label = baseline_of(judged, baseline)
    table = measures_named(against(judged, label), judged, label) if label else None
    titles = summary.short_titles(frame)
    marks = {metric: MARKS[place % len(MARKS)] for place, metric in enumerate(used(judged))}
    many = len(marks) > 1
    entries: dict[str, dict[int, Entry]] = {}
    for row in judged.standings.to_dict("records"):
        mark = marks.get(row["metric"], "") if many else ""
        entries.setdefault(row["label"], {})[row["contest"]] = entry(row, mark)
    order = sorted(entries, key=lambda name: label_place("", name))
    places = range(len(judged.contests))
    return VerdictTable(
        tuple(heading(contest, titles) for contest in judged.contests),
        tuple((name, tuple(entries[name].get(place) for place in places)) for name in order),
        legend(marks, judged),
        label,
        () if table is None else tuple(map(against_row, table.to_dict("records"))),
        (*still_to_run(frame), *notes(judged, label, titles), *flattery(frame), *code_notes(frame)),
        sentence(label, table, gaps(judged, titles)),
    )


def used(judged: Judged) -> list[str]:
    """Return the measures that excesses of the table are by, in the order of the catalogue."""
    return sorted(judged.standings["metric"].dropna().unique(), key=summary.metric_place)


def measures_named(table: pd.DataFrame, judged: Judged, baseline: str) -> pd.DataFrame:
    """Return the table against a baseline with ``by``: measures of its rows that the excesses of neither are by."""
    standings = judged.standings[["contest", "label", "metric"]].astype(object)
    own = {(place, label): metric for place, label, metric in standings.itertuples(index=False, name=None)}
    found: dict[str, dict[str, None]] = {}
    for row in meetings(judged, baseline).to_dict("records"):
        shown = {own[row["contest"], name] for name in (row["label"], baseline)}
        if row["finite"] and row["metric"] not in shown:
            found.setdefault(row["label"], {})[row["metric"]] = None
    return table.assign(by=[", ".join(found.get(label, ())) for label in table["label"]])


def legend(marks: dict[str, str], judged: Judged) -> str:
    """Return what the numbers of the table are."""
    by = ", ".join(f"{mark} {metric}" if len(marks) > 1 else metric for metric, mark in marks.items())
    what = (
        f"excess over as many exact draws ± standard error, by {by}" if marks else "nothing that decides was measured"
    )
    if not judged.standings["floored"].all():
        what += f"; with {BARE!r} the figure itself, since no exact draws are beside it"
    told = outcomes(judged.pairs, each_problem=True)
    told = told[told["outcome"].isin(["better", "worse"]) & ~told["metric"].isin(list(marks))]
    also = f" (also by {', '.join(told['metric'].unique())})" if len(told) else ""
    return f"{what}; # rank, solvers that are told better{also} come before; seconds of solving"


def heading(contest: Contest, titles: dict[tuple[str, str], str]) -> tuple[str, str]:
    """Return the two lines over a problem's column."""
    where = f"D = {contest.size}"
    if not np.isnan(contest.t):
        where += f", t = {time_text(contest.t)}"
    return titles[contest.problem, contest.problem_settings], where


def entry(row: dict[Any, Any], mark: str) -> Entry:
    """Return what stands in the table for one row of standings."""
    known = not pd.isna(row["excess"])
    error = "" if not known or not np.isfinite(row["error"]) else f" ± {significant(row['error'], 1)}"
    return Entry(
        excess=f"{significant(row['excess'], 2)}{error}{mark}" if known else "–",
        state=STATES[row["state"]] if row["floored"] else BARE,
        rank="" if pd.isna(row["rank"]) else str(int(row["rank"])),
        seconds="" if pd.isna(row["seconds"]) else f"{significant(row['seconds'], 2)} s",
        ok=counts(row),
        leads=bool(row["leads"]),
        below=row["state"] == "below",
    )


def counts(row: dict[Any, Any]) -> str:
    """Return how many runs have an answer, and how many were not made; nothing where all have one."""
    if not row["not_run"]:
        return "" if row["answered"] == row["asked"] else f"{row['answered']}/{row['asked']} ok"
    others = ", ".join(f"{status} {number}" for status, number in row["not_run"].items())
    return f"{row['answered']}/{row['asked'] + sum(row['not_run'].values())}, {others}"


def against_row(row: dict[Any, Any]) -> tuple[str, ...]:
    """Return a solver's row of the second table as texts, as ``AGAINST`` has them."""
    known = np.isfinite(row["factor"]) and np.isfinite(row["high"])
    return (
        row["label"],
        *(str(row[name]) for name in ("wins", "ties", "losses")),
        significant(row["factor"], 2),
        f"[{significant(row['low'], 2)}, {significant(row['high'], 2)}]" if known else "",
        significant(row["seconds"], 2),
        "; ".join(filter(None, [untold(row), both_ways(row), row["by"] and f"by {row['by']}", left_out(row)])),
    )


def both_ways(row: dict[Any, Any]) -> str:
    """Return the measures that tell opposite things of a solver and the baseline, if any do."""
    return f"told both ways: {row['opposing']}" if row["opposed"] else ""


def left_out(row: dict[Any, Any]) -> str:
    """Return over how many problems the factors are, where that is not all of them."""
    if row["finite"] == row["problems"]:
        return ""
    if not row["finite"]:
        return "no factor: infinite"
    return f"factors over {row['finite']} of {row['problems']} problems, infinite on the rest"


def untold(row: dict[Any, Any]) -> str:
    """Return what the seeds do not tell, and about how many would."""
    seeds, needed = int(row["seeds"]), row["seeds_needed"]
    if row["untold"]:
        return f"cannot tell: {count(seeds, 'seed')}, three or more would do"
    if row["ties"] and not pd.isna(needed) and needed <= 100:
        return f"{count(seeds, 'seed')}; about {int(needed)} would tell"
    return ""


def count(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def notes(judged: Judged, baseline: str | None, titles: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield what cannot be judged, and why."""
    floorless = [contest for contest in without_floor(judged) if contest.scores]
    missing = [" ".join(heading(contest, titles)) for contest in floorless if "oracle" not in contest.awaited]
    if missing:
        yield f"no exact draws beside {listed(missing)}: figures are compared as they are, none is called exact"
    awaited = [" ".join(heading(contest, titles)) for contest in floorless if "oracle" in contest.awaited]
    if awaited:
        yield f"exact draws beside {listed(awaited)} are still to run: until then figures are compared as they are"
    nothing = [" ".join(heading(contest, titles)) for contest in judged.contests if not contest.scores]
    if nothing:
        yield f"no measure that decides was taken on {listed(nothing)}: nothing is judged there"
    below = judged.standings[judged.standings["state"] == "below"]
    for metric, rows in below.groupby("metric", sort=False):
        yield f"below exact draws in {metric}, no evidence for it: {listed(rows['label'].unique())}"
    idle: dict[str, list[str]] = {}
    for label, found in judged.absent.items():
        if set(found.statuses) != {"planned"}:
            idle.setdefault(idle_text(found), []).append(label)
    for why, labels in idle.items():
        yield f"not in the verdict: {listed(labels)}, {why}"
    standings = judged.standings
    if baseline is not None and (standings["answered"] < standings["asked"]).any():
        yield "seconds × are over the instances that a solver and the baseline both answered"
    if baseline is not None:
        alone: dict[str, list[str]] = {}
        for label in apart_from(judged, baseline):
            alone.setdefault(why_apart(judged, baseline, label), []).append(label)
        for why, labels in alone.items():
            yield f"nothing decides between {baseline} and {listed(labels)}: {why}"


def still_to_run(frame: pd.DataFrame) -> Iterator[str]:
    """Yield how many cells are planned that the store does not have yet, if there are any."""
    number = frame.loc[frame["status"].eq("planned"), "key"].nunique()
    if number:
        cells = f"{count(number, 'cell')} {'is' if number == 1 else 'are'}"
        yield f"{cells} still to run: the verdict is of the others, without bold where any are missing"


def flattery(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the measures that reward what is wrong with some answers; a frame of what decides alone has none."""
    for metric, labels in flattered(frame).items():
        yield f"below exact draws in {metric}, which decides nothing here and rewards what is wrong: {listed(labels)}"


def code_notes(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the plug-ins of which the frame has figures of one version that ran with several states of their files."""
    if "code" not in frame:
        return
    now = frame[frame["replaced"].isna()] if "replaced" in frame else frame
    states: dict[str, set[str]] = {}
    for code, *names in now[["code", "problem", "solver", "metric"]].drop_duplicates().itertuples(index=False):
        own = {f"{kind} {name}" for kind, name in zip(("problem", "solver", "measure"), names, strict=True)}
        for what, checksum in json.loads(code if isinstance(code, str) and code else "{}").items():
            if what in own:
                states.setdefault(what, set()).add(checksum)
    for name, found in states.items():
        if len(found) > 1:
            how = "`wgfbench run --rerun-changed-code` makes them one"
            yield f"{name}: its cells ran with {len(found)} states of its files under one version: {how}"


def listed(names: Sequence[str] | np.ndarray, most: int = 4) -> str:
    """Return names with commas between, the first few of many."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def gaps(judged: Judged, titles: dict[tuple[str, str], str]) -> dict[str, list[tuple[str, str]]]:
    """Return, by label, where a solver has fewer answers than it was asked for: "0 of 4" and the problem in words."""
    found: dict[str, list[tuple[str, str]]] = {}
    for contest in judged.contests:
        where = " ".join(heading(contest, titles))
        for label in dict.fromkeys([*contest.labels, *contest.not_run]):
            place = contest.labels.index(label) if label in contest.labels else None
            answered = 0 if place is None else int(contest.answered[place].sum())
            failed = 0 if place is None else int(contest.failed[place].sum())
            idle = sum(number for status, number in contest.not_run.get(label, {}).items() if status != "planned")
            if failed + idle:
                found.setdefault(label, []).append((f"{answered} of {answered + failed + idle}", where))
    return found


def sentence(baseline: str | None, table: pd.DataFrame | None, missing: dict[str, list[tuple[str, str]]]) -> str:
    """Return the verdict, a ``table`` of all solvers against a baseline, in a sentence that can be quoted.

    ``missing`` says which answers are missing (:func:`gaps`).
    """
    if table is None:
        return "Nothing can be said: no solver has an answer."
    if table.empty:
        return f"Nothing can be said beside {baseline}: nothing decides between it and another solver."
    seeds = sorted({int(number) for number in table["seeds"]})
    over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    if seeds[-1] < 2:
        return f"With one seed it cannot be told whether any solver is better than {baseline}: three or more would do."
    how = f"paired over {over} instance{'s' if seeds[-1] > 1 else ''} at a false discovery rate of {LEVEL:.0%}"
    winners = table[table["wins"] > 0]
    said, others, rest = f"No solver is told better than {baseline}", list[str](), table
    if not winners.empty:
        first = winners.iloc[0].to_dict()
        rest = table[table["label"] != first["label"]]
        about = "; ".join(filter(None, [*answered(first["label"], baseline, missing), times(first)]))
        said = f"{first['label']} is better than {baseline} on {on(first)} ({about})"
        if first["wins"] <= first["losses"]:
            said = f"No solver is told better than {baseline} on more problems than it is told worse on: {said}"
    wins, losses = rest["wins"] > 0, rest["losses"] > 0
    unlike = rest[~wins & ~losses & (rest["opposed"] > 0)]
    better, mixed, worse = (int(each.sum()) for each in (wins & ~losses, wins & losses, losses & ~wins))
    if better:
        others.append(f"{better} more {'is' if better == 1 else 'are'} better")
    if mixed:
        others.append(f"{mixed} more {'is' if mixed == 1 else 'are'} better on some problems and worse on others")
    if worse:
        others.append(f"{worse} worse" if len(winners) else f"{worse} {'is' if worse == 1 else 'are'} worse")
    if len(unlike):
        by = ", ".join(dict.fromkeys(unlike["opposing"]))
        others.append(f"{len(unlike)} told both ways ({by})")
    alike = len(rest) - better - mixed - worse - len(unlike)
    others += [f"{alike} not told apart from it"] if alike else []
    return f"{said}, {how}{'; ' if others else ''}{', '.join(others)}."


def on(row: dict[Any, Any]) -> str:
    """Return on how many of the problems a solver is better, and on how many worse or told both ways."""
    parts = [f"{row['wins']} of {count(row['problems'], 'problem')}"]
    if row["losses"]:
        parts.append(f"worse on {row['losses']}")
    if row["opposed"]:
        parts.append(f"told both ways on {row['opposed']}, {row['opposing']}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def answered(label: str, baseline: str | None, missing: dict[str, list[tuple[str, str]]]) -> Iterator[str]:
    """Yield what a solver and the baseline left unanswered, in words."""
    for who, name in (("it", label), (baseline, str(baseline))):
        if places := missing.get(name):
            yield f"{who} answered {listed([f'{number} on {where}' for number, where in places], 2)}"


def times(row: dict[Any, Any]) -> str:
    """Return the factors of excess and of seconds in words, and over which problems they are."""
    parts = []
    if np.isfinite(row["high"]) and row["low"] > 0:
        limits = f"{significant(row['low'], 2)} to {significant(row['high'], 2)}"
        parts.append(f"excess × {significant(row['factor'], 2)}, {limits}")
    if np.isfinite(row["seconds"]):
        parts.append(f"seconds × {significant(row['seconds'], 2)}")
    if parts and row["finite"] < row["problems"]:
        parts.append(f"over the {count(row['finite'], 'problem')} where both have finite excesses")
    return "; ".join(parts) or "no factor is known"
