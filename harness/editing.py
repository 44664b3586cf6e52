"""What an edited suite no longer says: rows of its plans that give way, once, when it is first run after the edit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from harness.catalogue import Catalogue
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.store import Store
from harness.suite import Suite, contents


def retire_edited(
    store: Store,
    suite: str,
    suites: Mapping[str, Suite],
    components: Catalogue,
    data: str | None,
    keys: Collection[str],
    unread: Collection[str] = (),
) -> int:
    """Mark as replaced what the store holds of a suite and no preset of it plans any more; return how many rows.

    ``suites`` is the suite under each preset, as it is now. Kept are what it plans in whole, and the cells of ``keys``,
    which are planned now. A preset that has not changed since it was last run keeps all, what was asked for on the
    command line included, and so does one that is ``unread``, because it cannot be planned as it is now.
    """
    now = contents(suites)
    before = store.contents(suite)
    gone = 0
    for preset in {*store.presets(suite), *now} - {*unread}:
        content = now.get(preset)
        if content is not None and before.get(preset) == content:
            continue
        kept = set(keys)
        if content is not None:
            for device in store.planned_devices(suite, preset):
                kept |= planned_keys(suites[preset], Selection(device=device, data=data), components)
        gone += store.retire(suite, preset, content, kept)
    return gone


def planned_keys(suite: Suite, selection: Selection, components: Catalogue) -> set[str]:
    """Return the keys of all that a suite plans, with and without its data; none where it cannot be planned in whole.

    A suite that was only ever run in parts may name what is not there.
    """
    try:
        cells = plan(suite, selection, components)
    except UsageError:
        return set()
    return {key for cell in cells for key in (cell.key, replace(cell, data=None).key)}
