"""Which solvers no other is told better than, measure by measure and time by time: what tables set in bold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.verdict.contest import Contest, contests, sharing
from harness.verdict.excess import differences, own_scale, scaled, shared_scale
from harness.verdict.paired import LEVEL, compared, corrected

WHERE = ["problem", "problem_settings", "size", "t", "label", "metric"]


def leaders(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row (``WHERE``) for each solver that leads: by a measure that is proper for its answers, on two seeds.

    None of the others is told better by this measure, all comparisons of a contest corrected for their number, and its
    own figures are not told to be below those of exact draws, at 5 %. It can be compared with each of them: on two
    instances or more, both with exact draws beside them or neither, and no run of the problem is still to come. The
    labels of the frame are told apart.
    """
    rows = [
        (contest.problem, contest.problem_settings, contest.size, contest.t, contest.labels[label], scores.metric)
        for contest in contests(frame, every_time=True)
        for scores, leading in zip(contest.scores, leading_in(contest), strict=True)
        for label in leading
    ]
    return pd.DataFrame(rows, columns=WHERE)


def leading_in(contest: Contest) -> list[list[int]]:
    """Return, for each measure that decides, the numbers of the solvers that lead by it."""
    found = []
    for scores in contest.scores:
        excess, noises = scores.excess, scores.noises
        one, other = np.triu_indices(len(excess), k=1)
        scale = shared_scale(noises[one], noises[other])[:, None]
        values = differences(excess[one], excess[other], scale, scores.unit)
        alike = scores.floored[one] == scores.floored[other]
        _, mean, _, p, _ = compared(values)
        told = alike & (corrected(np.where(np.all(np.nan_to_num(values) == 0, axis=1), np.nan, p)) < LEVEL)
        beaten = {int(label) for label in one[told & (mean > 0)]} | {int(label) for label in other[told & (mean < 0)]}
        own = np.where(contest.failed, np.nan, excess)
        counts, level, _, sure, _ = compared(scaled(own, own_scale(noises)[:, None]))
        below = scores.floored & (sure < LEVEL) & (level < 0)
        same = (scores.floored[:, None] == scores.floored) | ~scores.measured
        compares = sharing(~np.isnan(excess)) & same.all(axis=1) & (not contest.awaited)
        leads = scores.measured & (counts > 1) & ~below & compares
        found.append([int(label) for label in np.flatnonzero(leads) if label not in beaten])
    return found
