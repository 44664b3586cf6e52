"""A sweep: what is planned and not yet there is run, and every outcome is kept the moment it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

from harness.cell import Outcome
from harness.plan import Cell
from harness.provenance import provenance
from harness.schedule import Resources, run_cells
from harness.store import Store

FINE = ("ok", "skipped")


def pending(cells: Sequence[Cell], store: Store, retry: bool) -> list[Cell]:
    """Return the cells to run: those without a row, and with ``retry`` those that ended as anything but fine."""
    statuses = store.statuses()
    done = FINE if retry else None
    return [cell for cell in cells if cell.key not in statuses or (done and statuses[cell.key] not in done)]


def sweep(
    cells: Sequence[Cell],
    store: Store,
    suite: str,
    preset: str,
    resources: Resources,
    progress: Callable[[Cell, Outcome], None],
) -> Counter[str]:
    """Run cells, record each as it ends, and return how many ended with each status."""
    counts: Counter[str] = Counter()
    run = store.begin(suite, preset, provenance(resources.limits.threads))
    results = run_cells(cells, resources, lambda cell: store.status(cell.key) == "ok")
    with closing(results):
        for cell, outcome, beside in results:
            store.record(cell, outcome, run, beside)
            counts[outcome.status] += 1
            progress(cell, outcome)
    return counts
