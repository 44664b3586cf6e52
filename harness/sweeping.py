"""A sweep runs the planned cells that the store lacks, and keeps every outcome the moment it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace

from harness.code_texts import changed, together
from harness.completion import Completion
from harness.components import Cell
from harness.course import Course
from harness.data_checksum import DATA_UNKNOWN
from harness.outcome import FINE, Outcome
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
    """Return the cells in the store that ran when a file of a plug-in of theirs was another, by which one.

    Cells of stores that kept no checksums are none of these: their code is not known.
    """
    if not any(cell.code for cell in cells):
        return {}
    codes = store.codes()
    known: dict[tuple[str, str], list[str]] = {}
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        pair = codes.get(cell.key, ""), cell.code
        if pair not in known:
            known[pair] = changed(*pair)
        for what in known[pair]:
            found.setdefault(what, []).append(cell)
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
    *,
    anew: bool = False,
) -> Counter[str]:
    """Run cells, record each as it ends, and return how many ended with each status.

    Their ``arithmetic`` is that of this process where it is not given.

    A cell that another sweep on the same store has finished by then, with all that it ``lacks`` now, is left out,
    unless its key is among those to run ``again``; so is what its ``course`` makes needless. ``anew`` keeps how cells
    end now, although they stand in the store as ok.
    """
    counts: Counter[str] = Counter()
    made = provenance(resources.limits.threads, computes=bool(cells), known=arithmetic)
    made = replace(made, code=together(cell.code for cell in cells))
    run = store.begin(suite, preset, made, resources.limits.data)
    others: dict[str, int] = {}

    def run_of(cell: Cell, outcome: Outcome) -> int:
        """Return the number of the run, or of one that has begun with a plug-in that was edited meanwhile."""
        code = outcome.code or cell.code
        if code == cell.code:
            return run
        if code not in others:
            others[code] = store.begin(suite, preset, replace(made, code=code), resources.limits.data)
        return others[code]

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
            store.record(cell, outcome, run_of(cell, outcome), beside, anew=anew)
            lacks.learn(outcome.measures)
            counts[outcome.status] += 1
            progress(cell, outcome)
    return counts
