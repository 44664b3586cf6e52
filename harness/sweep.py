"""A sweep runs the planned cells that the store lacks, and keeps every outcome the moment it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

from harness.completion import Taken
from harness.outcome import FINE, Outcome
from harness.plan import Cell
from harness.provenance import provenance
from harness.schedule import Resources, dispatch
from harness.store import Store

Lacks = Callable[[Cell, Taken], bool]


def pending(cells: Sequence[Cell], store: Store, retry: bool) -> list[Cell]:
    """Return the cells to run: those without a row, and with ``retry`` those that ended as anything but fine."""
    statuses = store.statuses()
    done = FINE if retry else None
    return [cell for cell in cells if cell.key not in statuses or (done and statuses[cell.key] not in done)]


def incomplete(cells: Sequence[Cell], store: Store, lacks: Lacks) -> list[Cell]:
    """Return the cells that are ok and lack a measure that they are asked for, or have an older version of it.

    They are solved again, from the same random streams, and measured anew: all figures of a cell are of one run.
    """
    taken = store.taken()
    return [cell for cell in cells if cell.key in taken and lacks(cell, taken[cell.key])]


def sweep(
    cells: Sequence[Cell],
    store: Store,
    suite: str,
    preset: str,
    resources: Resources,
    lacks: Lacks,
    progress: Callable[[Cell, Outcome], None],
) -> Counter[str]:
    """Run cells, record each as it ends, and return how many ended with each status.

    A cell that another sweep on the same store has finished by then, with all that it ``lacks`` now, is left out.
    """
    counts: Counter[str] = Counter()
    run = store.begin(suite, preset, provenance(resources.limits.threads))

    def finished(cell: Cell) -> bool:
        taken = store.taken(cell.key).get(cell.key)
        return taken is not None and not lacks(cell, taken)

    results = dispatch(cells, resources, finished)
    with closing(results):
        for cell, outcome, beside in results:
            store.record(cell, outcome, run, beside)
            counts[outcome.status] += 1
            progress(cell, outcome)
    return counts
