"""The workers of a dask cluster, which take cells as they become free and supervise them as this machine would.

All cells are handed to the scheduler at once, so that workers that join later get their share. What a task is called
says all that it is: two commands that fill one store share the cells that both ask for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.components import Cell
from harness.errors import ClusterLost, UsageError
from harness.outcome import Outcome
from harness.supervise import Limits, supervise

ANSWERING = 10
"""Seconds in which a scheduler has to answer."""
JOINING = 60
"""Seconds that the first worker has to join, if none is there."""
CLOSING = 2
"""Seconds that a cluster is given to take its leave."""


def on_cluster(
    groups: Sequence[Sequence[Cell]], limits: Limits, scheduler: str | None
) -> Iterator[tuple[Cell, Outcome, None]]:
    """Yield each cell of some groups, each in one process, with its outcome, as the workers of a scheduler end them.

    A cell that takes down every worker that it is given to has crashed.

    Raises ``UsageError`` for a scheduler that is not given or does not answer, that no worker joins, and whose workers
    cannot run any cell, and ``ClusterLost`` for one that is lost.
    """
    with connected(scheduler) as client:
        from distributed import KilledWorker, as_completed

        by_key = {task_key(group, limits): group for group in groups}
        try:
            client.wait_for_workers(1, timeout=JOINING)
        except TimeoutError as error:
            raise UsageError(
                f"no worker has joined the dask scheduler at {scheduler!r} in {JOINING} s: start some, by `dask worker`"
            ) from error
        run = unpacked()
        ended = as_completed(
            [client.submit(run, packed(group, limits), key=key, pure=False) for key, group in by_key.items()]
        )
        for future in ended:
            group = by_key[future.key]
            if future.status not in ("finished", "error"):  # nobody says any more how it ended
                raise CancelledError
            try:
                outcomes = future.result()
            except KilledWorker as error:
                times = error.allowed_failures + 1
                died = Outcome("crashed", f"its worker died {times} times while it ran: of its memory, or killed by it")
                outcomes = [died] * len(group)
            except Exception as error:  # whatever a cell does is its outcome: this is of the worker
                if future.status != "error":
                    raise CancelledError from error
                said = " ".join(str(error).split())
                raise UsageError(f"a dask worker cannot run cells: {type(error).__name__}: {said}") from error
            yield from zip(group, outcomes, [None] * len(group), strict=True)


def task_key(group: Sequence[Cell], limits: Limits) -> str:
    """Return the name of a task, the same wherever the same cells are asked for in the same way."""
    return f"cells-{hashlib.sha256(repr((list(group), limits)).encode()).hexdigest()[:32]}"


def packed(group: Sequence[Cell], limits: Limits) -> bytes:
    """Return cells as they travel: a worker that does not have this project says so, where it would end otherwise."""
    return pickle.dumps((there, group, limits))


def unpacked() -> Callable[[bytes], list[Outcome]]:
    """Return what runs cells that have travelled; as it is no function of a module, it travels itself."""

    def run(cells: bytes) -> list[Outcome]:
        import pickle

        function, group, limits = pickle.loads(cells)
        outcomes: list[Outcome] = function(group, limits)
        return outcomes

    return run


def there(group: Sequence[Cell], limits: Limits) -> list[Outcome]:
    """Run cells on a worker of a cluster, and return their outcomes."""
    # dask marks its workers as daemons, which may have no children lest they be orphaned; ours end by themselves.
    multiprocessing.current_process().daemon = False
    return supervise(group, limits)


@contextmanager
def connected(scheduler: str | None) -> Iterator[Any]:
    """Yield a client of the dask scheduler at an address, or of a file that holds it.

    What dask says of a connection that breaks is left to the error: it is no news of a cell. Raises ``UsageError``
    without that address, without dask, and where no scheduler answers, and ``ClusterLost`` where one is lost.
    """
    if scheduler is None:
        raise UsageError("--backend dask needs --scheduler ADDRESS, such as tcp://10.0.0.1:8786")
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--backend dask needs the extra: pip install 'wgfbench[dask]'") from error
    with silent("distributed", "tornado.application"):
        try:
            client = Client(address_of(scheduler), timeout=ANSWERING)
        # Of a protocol that takes keys or a library dask raises whatever it comes to.
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            raise UsageError(f"no dask scheduler answers at {scheduler!r}: {error}") from error
        try:
            yield client
        except (CancelledError, OSError) as error:
            if client.status == "running" and not isinstance(error, CancelledError):
                raise
            raise ClusterLost(
                f"the dask scheduler at {scheduler!r} was lost: what had finished is kept, and the same command "
                "goes on from there"
            ) from error
        finally:
            client.close(timeout=CLOSING)


def address_of(scheduler: str) -> str:
    """Return the address that a scheduler's file holds, or an address as it is.

    Raises ``OSError`` or ``ValueError`` for another file.
    """
    if not (scheduler.endswith(".json") or Path(scheduler).is_file()):
        return scheduler
    found = json.loads(Path(scheduler).read_text())
    if not isinstance(found, dict) or not isinstance(found.get("address"), str):
        raise ValueError("the file holds no 'address', as that of `dask scheduler --scheduler-file` does")
    return str(found["address"])


@contextmanager
def silent(*packages: str) -> Iterator[None]:
    """Let the loggers of packages say nothing for a while."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(packages)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
