"""Marks of unfinished work: why the figure of a run that ended well is not to be trusted as it stands.

A run whose chains disagree, whose importance weights have no mean or whose steps did not converge is ok: it gave an
answer, which was measured. What its method says of itself, in the diagnostics that are stored, is held against the
limits that the method declares (``solvers.limits``), and beside its figures stands what is beyond them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from solvers.limits import LIMITS, Limit

if TYPE_CHECKING:
    import pandas as pd

MARK = "†"
STORED = "unfinished"
"""The diagnostic by which the answer of a plug-in, whose limits are not at hand later, says it itself."""


def beyond(limits: Mapping[str, Limit], diagnostics: Mapping[str, Any]) -> list[str]:
    """Return what is beyond the limits, in words."""
    found = []
    for name, limit in limits.items():
        value = diagnostics.get(name)
        if isinstance(value, int | float):
            found.append(limit.broken(float(value)))
    return [words for words in found if words is not None]


def reason(solver: str, diagnostics: Mapping[str, Any]) -> str:
    """Return why a run of a solver is unfinished by its diagnostics, in words, or nothing where it is not."""
    stored = diagnostics.get(STORED)
    return "; ".join([*beyond(LIMITS.get(solver, {}), diagnostics), *([str(stored)] if stored else [])])


def reasons(solvers: Sequence[str], diagnostics: Sequence[str | None]) -> list[str]:
    """Return the reason of each run, given the names of solvers and diagnostics as the store has them (JSON)."""
    names = [*{name for limits in LIMITS.values() for name in limits}, STORED]
    return [
        reason(solver, json.loads(text)) if isinstance(text, str) and any(name in text for name in names) else ""
        for solver, text in zip(solvers, diagnostics, strict=True)
    ]


def of_groups(cells: pd.DataFrame, keys: list[str]) -> pd.Series[Any]:
    """Return, for each group of ok runs by ``keys``, how many are unfinished and why the first is; groups of none lack.

    ``cells`` has a row per run with ``solver``, ``status`` and ``diagnostics``.
    """
    import pandas as pd  # here, because every cell imports this module, and none needs as large a library

    ok = cells[cells["status"] == "ok"]
    said = ok["diagnostics"].tolist() if "diagnostics" in ok else [None] * len(ok)
    rows = ok.assign(**{STORED: reasons(ok["solver"].tolist(), said)})
    marked = rows[rows[STORED] != ""]
    sizes = rows.groupby(keys, sort=False, dropna=False).size()
    found = marked.groupby(keys, sort=False, dropna=False)[STORED].agg(["size", "first"])
    words = [
        text if count == 1 == sizes[key] else f"{text} ({count} of {sizes[key]} runs)"
        for key, count, text in zip(found.index, found["size"], found["first"], strict=True)
    ]
    return pd.Series(words, index=found.index, dtype=object, name=STORED)
