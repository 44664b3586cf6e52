"""A run from what was asked for to what the store then holds: the command `run`, and the function `sweep` of Python."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import DEFAULT_STORE
from harness.catalogue import catalogue
from harness.completion import Completion
from harness.components import Cell
from harness.course import Course
from harness.editing import retire_edited
from harness.finished import Finished
from harness.origins import Origins, hearing, origins
from harness.outcome import FINE
from harness.parsing import parse_bytes, parse_seconds
from harness.plan import Selection, one_cell, plan
from harness.progress import outcome_lines, watching
from harness.request import Request
from harness.schedule import Resources, check_backend, shares
from harness.store import Store
from harness.suite import load_presets, with_measures
from harness.suite_identity import identity_of
from harness.supervise import Limits, check_data, check_device
from harness.sweeping import incomplete, of_changed_code, pending, sweep, with_known_data


@dataclass(frozen=True)
class Ran:
    """What a run came to: its planned ``cells``, with their status and reason by key, and how many ran now.

    ``incomplete`` of them lack a measure still. ``suite`` and ``preset`` name it in the store.
    """

    suite: str
    preset: str
    cells: Sequence[Cell]
    ended: Mapping[str, tuple[str, str | None]]
    counts: Counter[str]
    incomplete: int

    @property
    def fine(self) -> bool:
        """Whether every cell is ok, or was skipped, and has all its measures."""
        return not self.incomplete and all(self.ended[cell.key][0] in FINE for cell in self.cells)


class PlannedRun:
    """A run that is planned: its cells, and means to run them.

    Raises ``UsageError`` for whatever is asked that is not allowed.
    """

    def __init__(self, request: Request, asked: str | None = None) -> None:
        """Plan what is asked for; nothing runs yet, and nothing is written.

        Once nothing is left to do, the store keeps that for who asks the same again, known by ``asked``.
        """
        self.request, self.asked = request, asked
        self.origins: Origins | None = None
        self.arithmetic: str | None = None
        if asked is None:
            self._plan()
            return
        began = time.time_ns()
        with hearing() as heard:
            self._plan()
        self.origins = origins(heard, request.plugin, self.folder, request.store, began)

    def _plan(self) -> None:
        request = self.request
        self.components = catalogue(request.plugin)
        measures = self.components.targets["measure"]
        self.suites, self.preset, self.faults = load_presets(request.suite, request.preset, measures)
        wanted = None if request.measures is None else list(request.measures)
        chosen = with_measures(self.suites[self.preset], wanted, measures)
        self.identity = identity_of(request.suite, chosen.id, chosen.title, chosen.description)
        self.folder = check_data(request.data)
        self.device = check_device(request.device)
        selection = Selection(
            request.problem, request.solver, request.dims, request.seeds, self.device, self.folder, request.changes
        )
        self.cells = plan(chosen, selection, self.components)
        if request.cell is not None:
            self.cells = [one_cell(self.cells, request.cell)]
        on_gpu = self.device.startswith("cuda")
        jobs = 1 if request.timing else request.jobs
        jobs, threads = shares(os.cpu_count() or 1, jobs, request.threads, on_gpu)
        limits = Limits(
            seconds=parse_seconds("timeout", request.timeout or chosen.timeout),
            memory=parse_bytes("memory", request.memory or chosen.memory),
            threads=threads,
            checkpoints=str(request.store.with_suffix(".checkpoints").absolute()),
            data=self.folder,
        )
        # A process with one thread gains nothing from several seeds; fair seconds are those of a seed alone.
        together = not request.timing and (threads > 1 or on_gpu)
        backend = check_backend(
            request.backend, request.scheduler, request.jobs, request.timing, in_order=request.stop_hopeless
        )
        self.resources = Resources(limits, jobs, together, backend, request.scheduler)
        self.lacks = Completion(self.components)

    def waiting(self) -> tuple[list[Cell], list[Cell]]:
        """Return the planned cells, and those of them that would run now; say what `run` would say of them."""
        self._warn_of_presets()
        if not self.request.store.exists():
            return self.cells, self.cells
        with Store(self.request.store, reading=True) as store:
            asked = self._asked(store)
            self._warn_of_cells(asked)
            return asked.cells, asked.waiting

    def _warn_of_cells(self, asked: Asked) -> None:
        """Say which cells are left as they are though their data or their plug-in's files may be others now."""
        if any(each.key not in asked.again for each in asked.of_unknown):
            note(f"{len(asked.of_unknown)} cells are of data unknown: --rerun-unknown-data runs them again")
        for name, count in asked.stale.items():
            note(
                f"{name}: its files have changed since {count} of these cells ran, its version has not: "
                f"raise that, or run them again with --rerun-changed-code"
            )

    def _warn_of_presets(self) -> None:
        """Say which presets of the suite, none of which is asked for, could not be planned, and why."""
        for preset, fault in self.faults.items():
            note(f"preset {preset!r} of this suite cannot be run: {fault}")

    def run(self) -> Ran:
        """Run what the store lacks, with progress on standard error, and return how all of it then stands.

        What has finished when a ``KeyboardInterrupt`` comes is kept.
        """
        self._warn_of_presets()
        made_from = None if self.origins is None else self.origins.with_code_here()
        digest = None if made_from is None else made_from.digest()
        with Store(self.request.store) as store:
            asked = self._asked(store)
            suite, kept = self.identity.key, {each.key for each in asked.cells}
            store.register(self.identity)
            retired = retire_edited(store, suite, self.suites, self.components, self.folder, kept, self.faults)
            store.record_plan(suite, self.preset, asked.cells, self._again())
            if retired:
                note(f"the suite has changed: {retired} rows of before are kept, `wgfbench show --all`")
            self._warn_of_cells(asked)
            try:
                with watching(len(asked.cells), len(asked.waiting), len(asked.completing)) as progress:
                    counts = sweep(
                        asked.waiting, store, suite, self.preset, self.resources, self.lacks, progress,
                        asked.again, asked.course, self.arithmetic, anew=self.request.cell is not None,
                    )  # fmt: skip
            except KeyboardInterrupt:
                note("stopped: what had finished is kept, and the same command goes on from there")
                raise
            changes = store.changes()
            ended = store.reasons()
            left = incomplete(asked.cells, store, self.lacks)
            needless = [each.key for each in asked.cells if each.key not in ended and asked.course.needless(each)]
            store.forget(suite, self.preset, needless)
            cells = [each for each in asked.cells if each.key not in needless and each.key in ended]
            ran = Ran(suite, self.preset, cells, ended, counts, len(left))
            all_there = len(cells) + len(needless) == len(asked.cells) and not (left or asked.of_unknown or asked.stale)
            if made_from is not None and digest is not None and all_there:
                self._keep(store, ran, made_from.packed(), digest, changes)
            return ran

    def _keep(self, store: Store, ran: Ran, files: bytes, digest: str, changes: int) -> None:
        """Have the store keep that nothing is left to do, where that may be told without planning."""
        request = self.request
        tried_again = request.cell is not None or (request.retry and not ran.fine)
        if self.asked is None or request.device != "cpu" or tried_again or self.faults:
            return
        lines = tuple(outcome_lines(ran.cells, ran.ended, Counter(), request.store))
        limits = self.resources.limits
        count = len(ran.cells)
        told = Finished(self.identity, self.preset, self.folder, limits.threads, count, lines, ran.fine)
        store.keep_finished(self.asked, files, digest, told.packed(), changes)

    def _asked(self, store: Store) -> Asked:
        """Return which of the planned cells the store lacks in part or in whole."""
        request = self.request
        of_data_here = request.unknown_data or request.cell is not None
        cells, of_unknown = with_known_data(self.cells, store, self.lacks, of_data_here)
        changed = of_changed_code(cells, store)
        again = {each.key: each for each in of_unknown} if request.unknown_data else {}
        if request.changed_code:
            again |= {each.key: each for of_one in changed.values() for each in of_one}
        if request.cell is not None:
            again |= {each.key: each for each in cells}
        course = Course.of(cells, store.statuses(), request.stop_hopeless, request.retry or bool(again))
        cells = [each for each in cells if not course.needless(each)]
        completing = [each for each in incomplete(cells, store, self.lacks) if each.key not in again]
        waiting = pending([each for each in cells if each.key not in again], store, request.retry) + completing
        there = {each.key for each in waiting}
        waiting += [each for key, each in again.items() if key not in there]
        there |= again.keys()
        changed = {name: [each for each in of_one if each.key not in there] for name, of_one in changed.items()}
        stale = {name: len(of_one) for name, of_one in changed.items() if of_one}
        return Asked(cells, waiting, completing, of_unknown, stale, again, course)

    def _again(self) -> str:
        """Return the command that plans the same cells again, with the options that differ from their defaults."""
        request = self.request
        changes = [f"{each.component}.{each.setting}={toml(each.value)}" for each in request.changes]
        options: dict[str, Any] = {"preset": self.preset, "problem": request.problem, "solver": request.solver}
        options |= {"dims": request.dims, "seeds": request.seeds, "measures": request.measures, "set": changes}
        options |= {"device": self.device, "data": request.data, "plugin": request.plugin, "store": request.store}
        defaults = {"device": "cpu", "store": DEFAULT_STORE}
        words = ["wgfbench", "run", request.suite]
        for name, value in options.items():
            if value and value != defaults.get(name):
                for each in value if isinstance(value, list | tuple) else [value]:
                    words += [f"--{name}", str(each)]
        return shlex.join(words)


@dataclass(frozen=True)
class Asked:
    """The cells of a run as a store knows them: all, those to run, and of these the ones that only lack a measure.

    Those ``of_unknown`` data are of a store that did not keep what the data were, and ``stale`` counts, by the name of
    a plug-in, those that stand and ran with other files of it. ``again`` has the keys of what is to be run again
    although it stands.
    """

    cells: list[Cell]
    waiting: list[Cell]
    completing: list[Cell]
    of_unknown: list[Cell]
    stale: dict[str, int]
    again: Collection[str]
    course: Course


def toml(value: Any) -> str:
    """Return a setting's value as it would be written behind ``--set NAME.SETTING=``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def note(words: str) -> None:
    """Say something of a run, beside its progress."""
    print(words, file=sys.stderr)
