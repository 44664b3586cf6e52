"""Runs that are known to have nothing to do: asked for again, with everything as it was, they plan nothing.

When a run ends and all that it planned stands in the store, the store keeps what was asked for, what the plan was made
from (``harness.origins``) and what there is to say. It forgets that with the first change to a cell or a plan in it.
The same command finds its words there, and need not import what solves, which takes many times as long as all else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass

from harness.origins import Origins, surroundings
from harness.progress import in_the_store, say
from harness.provenance import provenance
from harness.request import Request
from harness.store import Store
from harness.suite_identity import Identity


@dataclass(frozen=True)
class Finished:
    """A run that has nothing left to do: the suite and preset, the folder of its data, and the threads of a cell.

    ``planned`` cells are in the store, ``lines`` say how they stand, and ``fine`` whether that is well.
    """

    suite: Identity
    preset: str
    data: str | None
    threads: int
    planned: int
    lines: tuple[str, ...]
    fine: bool

    def packed(self) -> str:
        """Return the run as it is stored."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def unpacked(cls, stored: str) -> Finished:
        """Return a stored run."""
        values = json.loads(stored)
        return cls(**values | {"suite": Identity(**values["suite"]), "lines": tuple(values["lines"])})


def asked(request: Request) -> str:
    """Return a hash of what is asked for, and of where and how this process was started."""
    text = json.dumps(dataclasses.asdict(request), sort_keys=True, default=str)
    return hashlib.sha256(f"{text}\n{surroundings()}".encode()).hexdigest()


def recalled(request: Request, asked: str) -> Finished | None:
    """Return the finished run that a request asks for again, if the store has it and nothing has changed since."""
    if not request.store.is_file():
        return None
    query = "SELECT files, digest, told FROM finished WHERE asked = ?"
    try:
        with closing(sqlite3.connect(request.store, timeout=60)) as connection:
            row = connection.execute(query, (asked,)).fetchone()
        if row is None or Origins.unpacked(row[0]).digest() != row[1]:
            return None
        return Finished.unpacked(row[2])
    except (sqlite3.Error, ValueError, zlib.error):  # a file of another kind, or of before: whoever plans says so
        return None


def repeat(request: Request, run: Finished) -> None:
    """Say how a finished run stands, and record in the store that it was asked for again."""
    with Store(request.store) as store:
        store.register(run.suite)
        store.begin(run.suite.key, run.preset, provenance(run.threads, computes=False), run.data)
    say([in_the_store(run.planned, run.planned), *run.lines])
