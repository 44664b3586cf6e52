"""All that a store says of one cell: how it ended, where it comes from, and what it printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.errors import UsageError
from harness.store import Store

CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would move the cursor or change the terminal: left out of what is shown of a cell's own words."""
QUERY = """
SELECT plans.key, coalesce(status, 'planned'), problem, problem_settings, label, solver_settings, size, seed, device,
    reason, traceback, unsuited, diagnostics, cells.data, rerun, printed
FROM plans LEFT JOIN cells ON cells.key = plans.key
WHERE substr(plans.key, 1, ?) = ? GROUP BY plans.key ORDER BY plans.key
"""


def print_cell(path: Path, start: str) -> None:
    """Print what the store at ``path`` says of the cell whose key starts so.

    Raises ``UsageError`` for none or several.
    """
    with Store(path, create=False, reading=True) as store, store.guarded():
        rows = store.connection.execute(QUERY, (len(start), start)).fetchall()
    if len(rows) != 1:
        raise UsageError(f"{len(rows)} cells of the store {str(path)!r} have a key that starts with {start!r}")
    key, status, problem, settings, label, solved, size, seed, device, *more = rows[0]
    reason, traceback, unsuited, diagnostics, data, rerun, printed = more
    print(f"{key}: {label} on {problem}, D = {size}, seed {seed}, {device}: {status}")
    for what, text in (("problem", settings), ("solver", solved), ("diagnostics", diagnostics), ("data", data)):
        if text and text != "{}":
            print(f"{what}: {text}")
    for name, why in json.loads(unsuited or "{}").items():
        print(f"no {name}: {why}")
    for text in (reason, traceback):
        if text:
            print(plain(text))
    print(f"again by: {rerun}")
    if printed:
        print(f"printed:\n{plain(printed)}")


def plain(text: str) -> str:
    """Return a text without what would change the terminal."""
    return CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
