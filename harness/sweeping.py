"""A sweep runs the planned cells that the store lacks, and keeps every outcome the moment it comes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace

from harness.completion import Completion
from harness.course import Course
from harness.data_checksum import DATA_UNKNOWN
from harness.outcome import FINE, Outcome
from harness.plan import Cell
from harness.provenance import provenance
from harness.schedule import Resources, dispatch
from harness.store import Store


def pending(cells: Sequence[Cell], store: Store, retry: bool) -> list[Cell]:
    """Return the cells to run: those without a row, and with ``retry`` those that ended as anything but fine."""
    statuses = store.statuses()
    done = FINE if retry else None
    return [cell for cell in cells if cell.key not in statuses or (done and statuses[cell.key] not in done)]


def incomplete(cells: Sequence[Cell], store: Store, lacks: Completion) -> list[Cell]:
    """Return the cells that are ok and lack a measure that they are asked for, or have an older version of it.

    They are solved again, from the same random streams, and measured anew: all figures of a cell are of one run.
    """
    taken = store.taken()
    return [cell for cell in cells if cell.key in taken and lacks(cell, taken[cell.key])]


def with_known_data(
    cells: Sequence[Cell], store: Store, lacks: Completion, rerun: bool
) -> tuple[list[Cell], list[Cell]]:
    """Return the cells as the store knows them, and those of which it does not know what their data files held.

    A cell that is ok in a store of then, under a key without its data, stands for the one of today and is marked as of
    unknown data, unless it is to be completed anyhow, or all such are to be run again: ``rerun``.
    """
    unknown = store.of_unknown_data()
    if not unknown:
        return list(cells), []
    statuses, taken = store.statuses(), store.taken()
    standing, of_unknown = [], []
    for cell in cells:
        old = replace(cell, data=DATA_UNKNOWN)
        is_old = old.key in unknown and (cell.data is None or statuses.get(cell.key) != "ok")
        if is_old and (rerun or not lacks(old, taken[old.key])):
            of_unknown.append(cell if rerun else old)
            standing.append(of_unknown[-1])
        else:
            standing.append(cell)
    return standing, of_unknown


def of_changed_code(cells: Sequence[Cell], store: Store) -> dict[str, list[Cell]]:
    """Return the cells in the store that ran when a file of a plug-in of theirs was another, by the plug-in's name.

    Cells of stores that kept no checksums are none of these: their code is not known.
    """
    if not any(cell.code for cell in cells):
        return {}
    codes = store.codes()
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        then = codes.get(cell.key, cell.code)
        if then != cell.code:
            before, now = json.loads(then), json.loads(cell.code or "{}")
            for name in now:
                if before.get(name, now[name]) != now[name]:
                    found.setdefault(name, []).append(cell)
    return found


def sweep(
    cells: Sequence[Cell],
    store: Store,
    suite: str,
    preset: str,
    resources: Resources,
    lacks: Completion,
    progress: Callable[[Cell, Outcome], None],
    again: Collection[str] = (),
    course: Course | None = None,
    arithmetic: str | None = None,
) -> Counter[str]:
    """Run cells, record each as it ends, and return how many ended with each status.

    Their ``arithmetic`` is that of this process where it is not given.

    A cell that another sweep on the same store has finished by then, with all that it ``lacks`` now, is left out,
    unless its key is among those to run ``again``; so is what its ``course`` makes needless.
    """
    counts: Counter[str] = Counter()
    made = provenance(resources.limits.threads, computes=bool(cells), known=arithmetic)
    run = store.begin(suite, preset, made, resources.limits.data)

    def finished(cell: Cell) -> bool:
        if cell.key in again:
            return False
        taken = store.taken(cell.key).get(cell.key)
        return taken is not None and not lacks(cell, taken)

    if course is not None:  # floors last: by then it is known what stands on them
        cells = sorted(cells, key=course.is_floor)
        course.again(cells)
    results = dispatch(cells, resources, finished, course)
    with closing(results):
        for cell, outcome, beside in results:
            store.record(cell, outcome, run, beside)
            lacks.learn(outcome.measures)
            counts[outcome.status] += 1
            progress(cell, outcome)
    return counts
