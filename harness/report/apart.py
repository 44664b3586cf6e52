"""Labels that tell apart what must not be pooled: other settings, presets, devices, evaluations or data of one label.

Within a problem and a dimension a label stands for one population of runs. Where rows of one label differ in more than
their seeds, each says in its label what sets it apart; rows whose data files are not known say that in any case. Rows
that gave way at one time are one population: those of two versions of a solver gave way at two.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from harness.data_checksum import DATA_UNKNOWN

VARIANT = ("solver", "solver_settings", "preset", "device", "evaluation", "data", "replaced")
LABELLED = ("problem", "problem_settings", "label")
SEPARATOR = " · "
UNKNOWN = "data unknown"

Labels = Mapping[tuple[str, ...], str]


def apart(frame: pd.DataFrame) -> Labels:
    """Return the labels that change, by what a row is: problem, settings, label and ``VARIANT``."""
    if frame.empty:
        return {}
    known = [name for name in (*LABELLED, *VARIANT, "size") if name in frame]
    rows = dict.fromkeys(zip(*(frame[name].astype(object) for name in known), strict=True))
    kinds = variants(pd.DataFrame(list(rows), columns=known, dtype=object)).drop_duplicates()
    clash = kinds[kinds.duplicated([*LABELLED, "size"], keep=False)]
    found: dict[tuple[str, ...], str] = {}
    differing: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for key, group in clash.groupby([*LABELLED, "size"], sort=False):
        *place, _ = (str(part) for part in list[Any](key))
        differing.setdefault(tuple(place), set()).update(differences(group))
    times: dict[tuple[str, ...], set[str]] = {}
    for *labelled, time in kinds[[*LABELLED, "replaced"]].itertuples(index=False):
        times.setdefault(tuple(labelled), set()).update({time} - {""})
    for kind in kinds.to_dict("records"):
        whose = tuple(str(kind[name]) for name in LABELLED)
        what = differing.get(whose, set())
        row = kind | {"replaced": kind["replaced"] and gave_way(kind["replaced"], times[whose])}
        parts = list(filter(None, (said(row, column, entry) for column, entry in sorted(what, key=in_order))))
        if row["data"] == DATA_UNKNOWN and UNKNOWN not in parts and not row["label"].endswith(UNKNOWN):
            parts.append(UNKNOWN)
        if parts:
            found[tuple(str(kind[name]) for name in (*LABELLED, *VARIANT))] = (
                row["label"] + SEPARATOR + ", ".join(parts)
            )
    return found


def gave_way(time: str, times: Collection[str]) -> str:
    """Return what a label says of rows that gave way at an ISO ``time``, one of ``times`` at which its label did."""
    if len(times) == 1:
        return "replaced"
    lengths = (len("2026-01-31T12:00"), len("2026-01-31T12:00:00"), len("2026-01-31T12:00:00.000"), len(time))
    length = next(each for each in lengths if len({other[:each] for other in times}) == len(times))
    return f"replaced {time[:length].replace('T', ' ')}"


def relabelled(frame: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return a frame in which the rows that ``labels`` knows have the labels that it says."""
    if not labels or frame.empty:
        return frame
    rows = variants(frame)[[*LABELLED, *VARIANT]].itertuples(index=False, name=None)
    return frame.assign(label=[labels.get(row, row[2]) for row in rows])


def told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose labels tell apart what must not be pooled; one that does so already stays as it is."""
    return relabelled(frame, apart(frame))


def variants(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what every row is, as texts; a frame that lacks a column has the empty text there."""
    found = {}
    for name in (*LABELLED, *VARIANT, "size"):
        column = frame[name] if name in frame else pd.Series("", index=frame.index)
        found[name] = column.astype(object).where(column.notna(), "").astype(str).astype(object)
    return pd.DataFrame(found, index=frame.index)


def differences(rows: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """Yield the columns in which rows differ, and of texts in JSON the entries: (column, entry)."""
    for column in VARIANT:
        texts = list(rows[column].unique())
        if len(texts) == 1:
            continue
        if column not in ("solver_settings", "evaluation"):
            yield column, ""
            continue
        tables = [table(column, text) for text in texts]
        for name in dict.fromkeys(name for each in tables for name in each):
            if any(each.get(name) != tables[0].get(name) for each in tables):
                yield column, name


def in_order(what: tuple[str, str]) -> tuple[int, str]:
    """Return the place of a difference in a label."""
    return VARIANT.index(what[0]), what[1]


def table(column: str, text: str) -> dict[str, Any]:
    """Return settings, or an evaluation, as a table."""
    value = json.loads(text) if text else {}
    if column == "evaluation":
        return dict(zip(("draws", "measures"), value, strict=True)) if value else {}
    found: dict[str, Any] = value
    return found


def said(row: Mapping[Any, Any], column: str, entry: str) -> str:
    """Return what a label says of a column of a row, or of one entry in it."""
    text = str(row[column])
    if column in ("solver_settings", "evaluation"):
        value = table(column, text).get(entry)
        if entry == "measures":
            return f"measures={','.join(value)}" if value else "measures of the problem"
        return f"{entry}={value if isinstance(value, str) else json.dumps(value)}"
    if column == "preset":
        return f"preset {text}" if text else "no preset"
    if column == "data":
        return f"data {text[:8]}" if text else "data as shipped"
    return text
