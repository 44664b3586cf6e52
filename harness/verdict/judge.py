"""The verdict: how far each solver is above exact draws on each problem, and which of two is better.

A solver is *above* its floor, the figure of as many exact draws, *at* it (not told from exact draws) or *below* it:
then the figure rewards what is wrong, or chance did, and is no evidence for the solver. Two solvers are compared on the
instances that both were asked to solve, by measures that are proper for the answers of both: the first divergence and
the first distance of draws in the problem's order. One is better when it is told so by either, by neither the other way
round, when what it beats is above its own floor by that measure, and when it is itself below its floor by none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import ndtr

from harness.outcome import NOT_RUN
from harness.verdict.contest import BOUNDS, Contest, Scores, contests
from harness.verdict.excess import ROUNDING, differences, own_scale, scaled, shared_scale, unscaled
from harness.verdict.order import one_of_a_kind
from harness.verdict.paired import LEVEL, compared, corrected
from problems.arrays import Flags, Reals


@dataclass(frozen=True)
class Judged:
    """What is known of all solvers on all problems.

    ``standings`` has a row a solver and problem: its ``excess`` with its ``error``, by ``metric``; its ``state``,
    "above", "at", "below" or, where too little is known, ""; whether that excess is one, over exact draws, and not the
    figure itself (``floored``); its ``rank``, 1 + the number of solvers that are better
    (NaN where no seeds are in common, or below its floor, where nothing speaks for it); whether it ``leads``, which
    asks for two seeds in common with each of the others and for no run still to come; ``answered`` of ``asked`` runs,
    those that were ``not_run`` by status, and median ``seconds``.
    ``pairs`` has a row a problem and pair of solvers (``one``, ``other``) and measure: ``instances`` in common, mean
    ``difference`` of g(excess) and ``half`` its 95 % interval, ``effect`` in deviations, ``p``, and whether that
    difference may tell the one better (``one_may``), or the other (``other_may``); ``finite`` says that no excess in it
    is infinite, as that of a run that failed is.
    ``states`` has a row a problem, solver and measure: ``mean`` of g(excess), ``excess`` and ``error`` as above, and
    whether it is ``told`` from 0, where the solver is ``floored``: exact draws are known beside it. These are of its
    answers; ``lossy`` says that it is above its floor when runs that failed count as infinitely far.
    ``absent`` has the solvers without any run, by label, and their reasons by status.
    """

    contests: tuple[Contest, ...]
    standings: pd.DataFrame
    pairs: pd.DataFrame
    states: pd.DataFrame
    absent: dict[str, Absent]


@dataclass(frozen=True)
class Absent:
    """A solver none of whose cells was run: how many of them have which status, and the reasons that they give."""

    solver: str
    statuses: dict[str, int]
    reasons: tuple[str, ...]


def absent(frame: pd.DataFrame) -> dict[str, Absent]:
    """Return the solvers none of whose cells was run, by label; bounds are none."""
    idle = frame["status"].isin(NOT_RUN)
    rows = frame[idle & ~frame["solver"].isin(BOUNDS) & ~frame["label"].isin(frame.loc[~idle, "label"])]
    found = {}
    for label, group in rows.drop_duplicates(["label", "key"]).groupby("label", sort=False):
        reasons = group["reason"].dropna().unique() if "reason" in group else ()
        statuses = {str(status): int(number) for status, number in group["status"].value_counts().items()}
        found[str(label)] = Absent(str(group["solver"].iloc[0]), statuses, tuple(map(str, reasons)))
    return found


def judge(frame: pd.DataFrame) -> Judged:
    """Return what the frame says of its solvers; its labels are told apart (``harness.report.apart``)."""
    held = tuple(contests(frame))
    states = pd.DataFrame([row for place, each in enumerate(held) for row in states_of(place, each)], columns=STATES)
    states["told"] = corrected(states["p"].where(~states["exact"]).to_numpy(dtype=float)) < LEVEL
    pairs = pd.DataFrame([row for place, each in enumerate(held) for row in pairs_of(place, each)], columns=PAIRS)
    pairs = guarded(pairs, states)
    return Judged(held, standings(held, states, pairs), pairs, states, absent(frame))


STATES = ["contest", "label", "metric", "count", "mean", "half", "p", "exact", "excess", "error", "floored", "lossy"]
PAIRS = ["contest", "one", "other", "metric", "instances", "difference", "half", "p", "effect", "same", "finite"]


def states_of(place: int, contest: Contest) -> Iterable[tuple[Any, ...]]:
    """Yield what each solver's excess over its floor is, by the measures that decide about it, in order."""
    found = {scores.metric: excess_of(scores, contest.failed) for scores in contest.scores}
    for label in range(len(contest.labels)):
        own = [scores for scores in contest.scores if scores.measured[label] and contest.answered[label].any()]
        own.sort(key=lambda scores: not scores.floored[label])
        for scores in (own[number] for number in one_of_a_kind([scores.metric for scores in own])):
            excesses, scales, values, tested = found[scores.metric]
            excess, scale = excesses[label], float(scales[label])
            (count, mean, half, p, _) = (float(each[label]) for each in tested)
            centre, error = math.inf, math.nan
            if not np.isinf(excess).any():
                centre = float(unscaled(mean, scale))
                spread = float(np.nanstd(values[label], ddof=1)) / math.sqrt(count) if count > 1 else math.inf
                error = math.hypot(scale, centre) * spread
            if not scores.drawn[label] and count > 1:
                p = of_stated(excess, scores.errors[label], mean, p, scores.unit)
            exact = bool(np.all(np.nan_to_num(values[label]) == 0))
            yield (
                place, contest.labels[label], scores.metric, count, mean, half,
                p if scores.floored[label] else np.nan, exact, centre, error, bool(scores.floored[label]),
                failed_above(excess, contest.failed[label], scale),
            )  # fmt: skip


def failed_above(excess: Reals, failed: Flags, scale: float) -> bool:
    """Return whether excesses (n,) with runs that failed among them, as infinite ones, are told to be above 0."""
    if not failed.any():
        return False
    _, mean, _, p, _ = compared(scaled(np.where(failed, np.inf, excess), scale)[None])
    return bool(p[0] < LEVEL and mean[0] > 0)


def excess_of(scores: Scores, failed: Flags) -> tuple[Reals, Reals, Reals, tuple[Reals, ...]]:
    """Return excesses of answers (solvers, instances), their scales (solvers,), g of the former, and its tests."""
    excess = np.where(failed, np.nan, scores.excess)
    scale = own_scale(scores.noises)
    values = differences(excess, np.zeros_like(excess), scale[:, None], scores.unit)
    return excess, scale, values, compared(values)


def of_stated(excess: Reals, errors: Reals, mean: float, p: float, unit: float) -> float:
    """Return the p-value of excesses (n,) of answers that are laws, not draws: by their stated errors alone.

    Stouffer's combination over instances (scipy.stats.combine_pvalues), to the side of ``mean``; else ``p``.
    What is rounding in this ``unit`` is no excess.
    """
    known = ~np.isnan(excess)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(np.abs(excess[known]) <= ROUNDING * unit, 0.0, excess[known] / errors[known])
    one_sided = np.clip(ndtr(-np.sign(mean) * np.clip(z, -30, 30)), 1e-200, 1 - 1e-16)
    found = 2 * float(stats.combine_pvalues(one_sided, method="stouffer").pvalue)
    return min(1.0, found) if math.isfinite(found) else p


def pairs_of(place: int, contest: Contest) -> Iterable[tuple[Any, ...]]:
    """Yield how each pair of solvers compares, by the first measures that decide about both."""
    chosen: dict[int, list[tuple[int, int]]] = {}
    takes = np.array([~np.isnan(scores.excess).all(axis=1) for scores in contest.scores])
    for one, other in combinations(range(len(contest.labels)), 2):
        both = common(takes, contest.scores, one, other)
        for number in (both[place] for place in one_of_a_kind([contest.scores[number].metric for number in both])):
            chosen.setdefault(number, []).append((one, other))
    for number, meeting in chosen.items():
        scores = contest.scores[number]
        first, second = np.array(meeting).T
        scale = shared_scale(scores.noises[first], scores.noises[second])[:, None]
        values = differences(scores.excess[first], scores.excess[second], scale, scores.unit)
        found = compared(values)
        same = np.all(np.nan_to_num(values) == 0, axis=1)
        finite = (np.isfinite(scores.excess[first]) & np.isfinite(scores.excess[second]) | np.isnan(values)).all(axis=1)
        for row, (one, other) in enumerate(meeting):
            count, mean, half, p, effect = (float(each[row]) for each in found)
            if count:
                names = contest.labels[one], contest.labels[other]
                yield (
                    place, *names, scores.metric, int(count), mean, half,
                    p, effect, bool(same[row]), bool(finite[row]),
                )  # fmt: skip


def common(takes: Flags, scores: Sequence[Scores], one: int, other: int) -> list[int]:
    """Return the numbers of the measures by which both take part, alike in having a floor or not, in order."""
    return [
        number
        for number, each in enumerate(scores)
        if takes[number, one] and takes[number, other]
        and (each.floored[one] == each.floored[other] or not (each.measured[one] and each.measured[other]))
    ]  # fmt: skip


def guarded(pairs: pd.DataFrame, states: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with whether each solver may be told the better: only over one that is above its floor.

    Both are asked at 5 % each, whatever the number of comparisons: the guard would rather hold back. A solver that has
    no floor, or no answer at all, or that is above its floor by runs that failed, holds nobody back.
    """
    sure = states["p"] < LEVEL
    free = states[(~sure | (states["mean"] <= 0)) & states["floored"] & (states["count"] > 1)]
    free = free[~free["lossy"].astype(bool)]
    below = states[sure & (states["mean"] < 0)]
    for winner, loser in (("one", "other"), ("other", "one")):
        beaten = ~among(pairs, ["contest", loser, "metric"], free, ["contest", "label", "metric"])
        evidence = ~among(pairs, ["contest", winner], below, ["contest", "label"])
        pairs = pairs.assign(**{f"{winner}_may": beaten & evidence})
    return pairs


def among(rows: pd.DataFrame, columns: list[str], others: pd.DataFrame, theirs: list[str]) -> Flags:
    """Return which rows have in ``columns`` what some of the others have in ``theirs``."""
    if rows.empty or others.empty:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(pd.MultiIndex.from_frame(rows[columns]).isin(pd.MultiIndex.from_frame(others[theirs])))


def outcomes(pairs: pd.DataFrame, *, each_problem: bool = False) -> pd.DataFrame:
    """Return one row a problem and pair, all comparisons corrected for their number, with its ``outcome`` for ``one``.

    They are corrected together or, with ``each_problem``, those of each problem for themselves.

    It is "better", "worse", "tie", "same" (the same figures throughout, no comparison at all) or "cannot tell" (one
    instance). With it stand the measure that told it, or the first, and its ``instances``, ``difference``, ``half``,
    ``effect``, ``finite``. ``opposed`` names the measures of a tie of which some tell the one better, some the other.
    """
    p = pairs["p"].where(~pairs["same"]).to_numpy(dtype=float)
    family = pairs["contest"].to_numpy() if each_problem else np.zeros(len(pairs), dtype=int)
    adjusted = np.full_like(p, np.nan)
    for own in (family == number for number in np.unique(family)):
        adjusted[own] = corrected(p[own])
    told = adjusted < LEVEL
    better = told & (pairs["difference"] < 0).to_numpy() & pairs["one_may"].to_numpy(dtype=bool)
    worse = told & (pairs["difference"] > 0).to_numpy() & pairs["other_may"].to_numpy(dtype=bool)
    rows = pairs.assign(adjusted=np.where(np.isnan(adjusted), 2.0, adjusted), better=better, worse=worse)
    rows["order"] = np.arange(len(rows))
    keys = ["contest", "one", "other"]
    groups = rows.groupby(keys, sort=False)
    found = groups.agg(better=("better", "any"), worse=("worse", "any"), same=("same", "all"))
    best = rows.sort_values(["adjusted", "order"], kind="stable").drop_duplicates(keys)
    first = rows.drop_duplicates(keys)
    chosen = pd.concat([best[best["better"] | best["worse"]], first]).drop_duplicates(keys)
    kept = [*keys, "metric", "instances", "difference", "half", "effect", "finite", "adjusted"]
    found = found.reset_index().merge(chosen[kept], on=keys, how="left", validate="one_to_one")
    says = np.select(
        [found["same"], found["instances"] < 2, found["better"] & ~found["worse"], found["worse"] & ~found["better"]],
        ["same", "cannot tell", "better", "worse"],
        "tie",
    )
    mixed = groups["better"].transform("any") & groups["worse"].transform("any")
    telling = rows[mixed & (rows["better"] | rows["worse"])].groupby(keys)["metric"].agg(", ".join)
    named = telling.reindex(pd.MultiIndex.from_frame(found[keys])).to_numpy(dtype=object)
    opposed = np.where(found["better"] & found["worse"], named, "")
    return found.assign(outcome=says, opposed=opposed).drop(columns=["better", "worse", "same"])


def standings(held: Sequence[Contest], states: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a solver and problem; see :class:`Judged`."""
    of_solver: dict[tuple[int, str], list[dict[Any, Any]]] = {}
    for state in states.to_dict("records"):
        of_solver.setdefault((state["contest"], state["label"]), []).append(state)
    ranks = ranked(pairs)
    table: list[dict[str, Any]] = []
    for place, contest in enumerate(held):
        comparable = contest.comparable
        for number, (label, solver) in enumerate(zip(contest.labels, contest.solvers, strict=True)):
            answered = contest.answered[number]
            seconds = contest.seconds[number][answered]
            alone = 1.0 if answered.sum() > 1 and len(contest.labels) == 1 else np.nan
            row: dict[str, Any] = {"contest": place, "label": label, "solver": solver}
            row |= {"rank": ranks.get((place, label), alone)}
            row |= {"answered": int(answered.sum()), "asked": int((answered | contest.failed[number]).sum())}
            row |= {"not_run": contest.not_run.get(label, {}), "comparable": bool(comparable[number])}
            row |= {"seconds": float(np.median(seconds)) if len(seconds) else np.nan}
            table.append(row | standing(of_solver.get((place, label), [])))
    columns = ["contest", "label", "solver", "rank", "answered", "asked", "not_run", "comparable", "seconds"]
    found = pd.DataFrame(table, columns=[*columns, "metric", "excess", "error", "floored", "state"])
    leads = (found["rank"] == 1) & found["state"].isin(["above", "at"]) & found.pop("comparable").astype(bool)
    found["rank"] = found["rank"].where(found["state"] != "below")
    return found.assign(leads=leads)


def ranked(pairs: pd.DataFrame) -> dict[tuple[int, str], float]:
    """Return the rank of every solver that shares two instances or more with another, by contest and label."""
    ranks: dict[tuple[int, str], float] = {}
    for row in outcomes(pairs, each_problem=True).to_dict("records"):
        if row["instances"] < 2:
            continue
        for side, lost in (("one", "worse"), ("other", "better")):
            key = (int(row["contest"]), str(row[side]))
            ranks[key] = ranks.get(key, 1.0) + (row["outcome"] == lost)
    return ranks


def standing(rows: Sequence[dict[Any, Any]]) -> dict[str, Any]:
    """Return a solver's excess and state: by the first measure that tells it from its floor, else by the first."""
    if not rows:
        return {"metric": None, "excess": np.nan, "error": np.nan, "state": "none", "floored": True}
    told = [row for row in rows if row["told"]]
    above = [row for row in told if row["mean"] > 0]
    row = (above or told or rows)[0]
    known = row["floored"] and row["count"] > 1
    state = ("above" if above else "below" if told else "at") if known else ""
    own = {name: row[name] for name in ("metric", "excess", "error", "floored")}
    return own | {"state": state}
