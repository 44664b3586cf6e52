"""Every solver against one baseline, over all problems that both were asked to solve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import stdtrit

from harness.errors import UsageError, unknown
from harness.verdict.contest import BOUNDS, Contest
from harness.verdict.judge import Absent, Judged, outcomes
from harness.verdict.paired import LEVEL, seeds_for
from solvers import BUILTIN

SWAPPED = {"better": "worse", "worse": "better"}


def baseline_of(judged: Judged, name: str | None) -> str | None:
    """Return the label of the baseline: that of ``name``, a label or a solver, else of what answered most problems.

    Of several that did it is a built-in solver rather than another, in the order of ``solvers.BUILTIN``.

    ``None`` where nobody answered anything. Raises ``UsageError`` for a name that is not there, is a bound, means
    several solvers, or one that was not run.
    """
    labels: dict[str, str] = {}
    answers: dict[str, int] = {}
    for contest in judged.contests:
        for label, solver, answered in zip(contest.labels, contest.solvers, contest.answered, strict=True):
            labels.setdefault(label, solver)
            answers[label] = answers.get(label, 0) + bool(answered.any())
    if name is None:
        known = list(BUILTIN)
        places = {label: -known.index(solver) if solver in known else -len(known) for label, solver in labels.items()}
        widest = max(answers, key=lambda label: (answers[label], places[label]), default=None)
        return widest if widest is not None and answers[widest] else None
    if name in labels:
        return name
    if name in BOUNDS:
        raise UsageError(f"baseline {name!r} is a bound: every excess is over exact draws already; name a solver")
    own = [label for label, solver in labels.items() if solver == name]
    idle = [label for label, found in judged.absent.items() if name in (label, found.solver)]
    if idle and not own:
        raise UsageError(f"baseline {name!r} cannot be one: {idle_text(judged.absent[idle[0]])}")
    if not own:
        raise unknown("baseline", name, {*labels, *labels.values()})
    if len(own) > 1:
        raise UsageError(f"baseline {name!r} means {len(own)} solvers: name one of {', '.join(map(repr, own))}")
    return own[0]


def idle_text(absent: Absent) -> str:
    """Return in words that a solver was not run, and why."""
    statuses = ", ".join(f"{status} {number}" for status, number in absent.statuses.items())
    return "; ".join([f"none of its cells was run ({statuses})", *absent.reasons[:2]])


def meetings(judged: Judged, baseline: str) -> pd.DataFrame:
    """Return one row a problem and solver that meets the baseline there, from the solver's side.

    ``outcome`` is its: "better", "worse", "tie", "same" or "cannot tell", ``opposed`` the measures of a tie that tell
    opposite things; ``difference`` of g(excess) is its less the baseline's, with the ``half`` of its 95 % interval,
    ``finite`` where no run failed in it; ``seeds_needed`` is about how many seeds would tell such a difference, and
    ``seconds`` the factor to the baseline's, over instances that both answered. All comparisons are corrected for their
    number together.
    """
    pairs = judged.pairs
    found = outcomes(pairs[pairs["one"].eq(baseline) | pairs["other"].eq(baseline)])
    first = found["one"].eq(baseline).to_numpy(dtype=bool)
    sign = np.where(first, -1.0, 1.0)
    says = found["outcome"].astype(str)
    own = says.where(~first, says.map(lambda outcome: SWAPPED.get(outcome, outcome)))
    found = found.assign(
        label=np.where(first, found["other"], found["one"]),
        outcome=own,
        difference=sign * found["difference"],
        seeds_needed=pd.array([needed(row) for row in found.to_dict("records")], dtype="Int64"),
    ).drop(columns=["one", "other"])
    ratios = [
        seconds_ratio(judged.contests[place], label, baseline)
        for place, label in zip(found["contest"], found["label"], strict=True)
    ]
    return found.assign(seconds=np.array(ratios, dtype=float))


def seconds_ratio(contest: Contest, label: str, baseline: str) -> float:
    """Return the factor of median seconds to the baseline's, over the instances that both answered; NaN for none.

    Were each taken over its own, one that runs out of time where problems are hard would look the cheaper for it.
    """
    rows = [contest.labels.index(name) for name in (label, baseline)]
    both = contest.answered[rows].all(axis=0) & ~np.isnan(contest.seconds[rows]).any(axis=0)
    if not both.any():
        return np.nan
    one, other = np.median(contest.seconds[rows][:, both], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(one, other))


def needed(row: Mapping[Any, Any]) -> int | None:
    """Return about how many seeds would tell a difference like the one seen; ``None`` where one is told or unknown."""
    if row["outcome"] not in ("tie", "cannot tell") or row["opposed"] or np.isnan(row["effect"]):
        return None
    found = seeds_for(float(row["effect"]))
    return found if found is not None and found > row["instances"] else None


def against(judged: Judged, baseline: str) -> pd.DataFrame:
    """Return one row a solver, best first: its ``wins``, ``ties``, ``losses``, ``untold`` against a baseline.

    ``factor`` is that of its excess to the baseline's, the geometric mean over problems, with its 95 % interval ``low``
    to ``high``, by Welch and Satterthwaite's degrees of freedom; noise of exact draws counts as an excess there.
    ``seconds`` is the geometric mean of the factors in cost. Both are taken over ``finite`` of the ``problems``, where
    neither has an infinite excess, as a run that failed has; NaN where there is none. ``opposed`` counts the ties whose
    measures (``opposing``) tell opposite things. ``seeds`` is the fewest instances, ``seeds_needed`` how many would
    tell the clearest of the differences that are not told. Of solvers with as many wins and losses those come last that
    are below their floor somewhere: a factor that such a figure makes small is no evidence.
    """
    found = meetings(judged, baseline)
    rows = [{"label": label, **total(group)} for label, group in found.groupby("label", sort=False)]
    columns = ["label", "wins", "ties", "losses", "untold", "factor", "low", "high", "seconds", "seeds", "seeds_needed"]
    columns += ["problems", "finite", "opposed", "opposing"]
    table = pd.DataFrame(rows, columns=columns)
    lost = (table["losses"] - table["wins"]).to_numpy(dtype=float)
    below = judged.standings.loc[judged.standings["state"].eq("below"), "label"]
    order = np.lexsort((table["factor"].to_numpy(dtype=float), table["label"].isin(below), lost))
    return table.iloc[order].reset_index(drop=True)


def total(meetings: pd.DataFrame) -> dict[str, Any]:
    """Return the sum of a solver's meetings with the baseline."""
    counts = meetings["outcome"].value_counts()
    finite = meetings[meetings["finite"]]
    mean, half = interval(finite) if len(finite) else (np.nan, np.nan)
    seconds = finite["seconds"]
    seconds = seconds[np.isfinite(seconds) & (seconds > 0)]
    with np.errstate(over="ignore"):
        factors = {"factor": np.exp(mean), "low": np.exp(mean - half), "high": np.exp(mean + half)}
    return {
        "wins": int(counts.get("better", 0)),
        "ties": int(counts.get("tie", 0) + counts.get("same", 0)),
        "losses": int(counts.get("worse", 0)),
        "untold": int(counts.get("cannot tell", 0)),
        **factors,
        "seconds": float(stats.gmean(seconds)) if len(seconds) else np.nan,
        "seeds": int(meetings["instances"].min()),
        "seeds_needed": meetings["seeds_needed"].min(),
        "problems": len(meetings),
        "finite": len(finite),
        "opposed": int(meetings["opposed"].ne("").sum()),
        "opposing": ", ".join(dict.fromkeys(filter(None, meetings["opposed"]))),
    }


def interval(meetings: pd.DataFrame) -> tuple[float, float]:
    """Return the mean difference over problems and the half-width of its 95 % interval, infinite for one seed."""
    mean = float(meetings["difference"].mean())
    counts = meetings["instances"].to_numpy(dtype=float)
    if (counts < 2).any():
        return mean, np.inf
    halves = meetings["half"].to_numpy(dtype=float)
    variances = (halves / stdtrit(counts - 1, 1 - LEVEL / 2)) ** 2
    total = variances.sum()
    if total == 0:
        return mean, 0.0
    freedom = total**2 / float(np.sum(variances**2 / (counts - 1)))
    return mean, float(stdtrit(freedom, 1 - LEVEL / 2) * np.sqrt(total) / len(meetings))


def apart_from(judged: Judged, baseline: str) -> Iterator[str]:
    """Yield the solvers that nothing decides about together with the baseline; :func:`why_apart` says why."""
    met = set(judged.pairs.loc[judged.pairs["one"].eq(baseline), "other"])
    met |= set(judged.pairs.loc[judged.pairs["other"].eq(baseline), "one"])
    yield from dict.fromkeys(
        label for contest in judged.contests for label in contest.labels if label not in met and label != baseline
    )


def why_apart(judged: Judged, baseline: str, label: str) -> str:
    """Return why nothing decides between a solver and the baseline."""
    shared = [each for each in judged.contests if baseline in each.labels and label in each.labels]
    if not shared:
        return "no problem in common"
    pairs = [(each, each.labels.index(baseline), each.labels.index(label)) for each in shared]
    both = [
        (scores.floored[one], scores.floored[other])
        for each, one, other in pairs
        for scores in each.scores
        if scores.measured[one] and scores.measured[other]
    ]
    if not both:
        return "no measure that decides in common"
    if any(one == other for one, other in both):
        return "no instance in common" + (" that has exact draws beside it" if any(map(all, both)) else "")
    return "exact draws are beside one of them alone"


def without_floor(judged: Judged) -> list[Contest]:
    """Return the contests in which no solver has exact draws beside it."""
    return [
        contest
        for place, contest in enumerate(judged.contests)
        if not judged.standings.loc[judged.standings["contest"] == place, "state"].isin(["above", "at", "below"]).any()
        and not any(scores.floored.any() for scores in contest.scores)
    ]
