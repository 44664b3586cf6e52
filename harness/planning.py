"""Planning in a process that is forked from the server of cells, which has imported what a plan is made with.

To plan is to make every problem and solver of a suite once, and takes their classes. The server imports those anyhow; a
command that does not, too, is there in a fraction of the time. What it gets is all that it need know of them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from harness import server
from harness.errors import UsageError
from harness.request import Request
from harness.running import PlannedRun
from harness.store import Store
from harness.supervise import die_with_parent, kill
from solvers.reproducibility import arithmetic


def planned_by_server(request: Request, asked: str) -> PlannedRun:
    """Return the run that is planned for a request; raises ``UsageError`` as :class:`PlannedRun` does.

    What else can go wrong there goes wrong here as well, and is raised where it can be seen.
    """
    server.start()
    forkserver = server.context()
    receiver, sender = forkserver.Pipe(duplex=False)
    child = forkserver.Process(target=plan_in_child, args=(sender, request, asked))
    pid = server.launch(child)
    sender.close()
    try:
        found: PlannedRun | UsageError = receiver.recv()
    except EOFError:
        found = PlannedRun(request, asked)
    finally:
        receiver.close()
        kill(pid)
        child.join()
    if isinstance(found, UsageError):
        raise found
    return found


def plan_in_child(sender: Connection, request: Request, asked: str) -> None:
    """Plan, and send the run, or the error of use that came of it."""
    os.setpgid(0, 0)  # a Ctrl-C is for the command, which ends this process
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        planned = PlannedRun(request, asked)
        prepare(planned)
    except UsageError as error:
        sender.send(error)
    except Exception:  # to be raised by the command, which plans then
        return
    else:
        sender.send(planned)


def prepare(planned: PlannedRun) -> None:
    """Work out all that a sweep will ask of classes, which the one who sweeps need not import then."""
    planned.arithmetic = arithmetic()
    for problem in {id(cell.problem): cell.problem for cell in planned.cells}.values():
        problem.declared  # noqa: B018 - kept by the component
    for solver in {id(cell.solver): cell.solver for cell in planned.cells}.values():
        solver.sample_size  # noqa: B018
    measures = {name for cell in planned.cells for name in cell.evaluation.measures or cell.problem.declared}
    if planned.request.store.is_file():
        with suppress(UsageError), Store(planned.request.store, reading=True) as store:
            measures |= {name for text in store.asked() for name in json.loads(text or "{}")}
    for name in measures:
        planned.lacks.version(name)
