"""Which figures decide, and in what order: those whose measure is proper for the answer that it was taken of.

A family of problems orders the measures that decide about its answers (``ProblemFamily.deciding``), and a measure says
for which answers it is proper (``Measure.proper``); a store keeps both as one number. Figures from before that, and
those of tables that lack it, are known by the names of their estimators.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.verdict.order import ORDER
from problems.arrays import Reals

NEVER_OF = {
    "symkl": ("Scott KDE", "J of the Scott KDE", "no density"),
    "l1": ("Scott KDE", "no density"),
    "hellinger": ("Scott KDE", "no density"),
    "w2": ("√D", "mean and radii"),
}
"""How the estimators begin that are not proper, by measure; those of the other measures in ``ORDER`` all are."""
NEVER_WITH = {"w2": "draws against", "crps": "weighted particles"}
"""What is in the names of estimators that are not proper."""


def places(figures: pd.DataFrame) -> Reals:
    """Return the place of each figure's measure among those that decide about it, (n,), from 1 on; 0 where it is none.

    ``figures`` has the columns ``metric`` and, where they are known, ``decides`` and ``estimator``.
    """
    if "decides" not in figures or figures["decides"].isna().all():
        return by_estimator(figures)
    known = np.array(figures["decides"].to_numpy(dtype=float, na_value=np.nan))
    missing = np.isnan(known)
    if missing.any():
        known[missing] = by_estimator(figures[missing])
    return known


def by_estimator(figures: pd.DataFrame) -> Reals:
    """Return the places (n,) of figures whose store does not know them, by the names of measures and estimators."""
    estimators = figures["estimator"] if "estimator" in figures else pd.Series("", index=figures.index)
    metric_of, known = pd.factorize(figures["metric"].astype(object), use_na_sentinel=False)
    kind_of, kinds = pd.factorize(estimators.astype(object), use_na_sentinel=False)
    pairs, pair_of = np.unique(metric_of * len(kinds) + kind_of, return_inverse=True)
    found = [place(str(known[pair // len(kinds)]), str(kinds[pair % len(kinds)])) for pair in pairs]
    return np.array(found, dtype=float)[pair_of]


def place(metric: str, estimator: str) -> int:
    """Return the place of a measure by this estimator among those that decide, 0 where it does not."""
    if metric not in ORDER or estimator.startswith(NEVER_OF.get(metric, ())):
        return 0
    return 0 if NEVER_WITH.get(metric, "\n") in estimator else 1 + ORDER.index(metric)
