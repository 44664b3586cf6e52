"""What a sweep is made of: problems and solvers with their settings, how they are measured, and the cells of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.catalogue import Kind, import_target, make
from harness.code_texts import as_text
from harness.data_checksum import DATA_UNKNOWN
from harness.identity import former
from harness.plugin_code import code_checksum


@dataclass(frozen=True)
class Component:
    """A problem or a solver with all its settings, as text, so that it travels and is hashed.

    ``missing`` says why the component cannot be used here. One that cannot be imported has the suite's settings alone.
    ``code`` is the checksum of a plug-in's files, ``None`` of what is no plug-in.
    """

    kind: Kind
    name: str
    label: str
    target: str
    version: int
    settings: str
    missing: str | None = None
    code: str | None = None

    def make(self) -> Any:
        """Import the class and return it with its settings."""
        return make(self.kind, import_target(self.target), json.loads(self.settings))

    @cached_property
    def identity(self) -> str:
        """Text that differs from that of any other component of today."""
        return json.dumps([self.name, self.version, self.settings])

    @cached_property
    def _counting(self) -> dict[str | None, tuple[str, str, str]]:
        """What was worked out of ``counting`` so far: a component is asked once for every cell of a suite."""
        return {}

    @cached_property
    def sample_size(self) -> int | None:
        """The particles of a solver's answers, ``None`` for one that has none."""
        if self.missing is not None:
            found = json.loads(self.settings).get("particles")
            return found if isinstance(found, int) else None
        size: int | None = self.make().sample_size
        return size

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The measures that a problem's family says that its instances name; none where it says nothing."""
        return () if self.missing is not None else tuple(import_target(self.target).measures)

    def counting(self, problem: str | None = None) -> tuple[str, str, str]:
        """Return the name and the settings, as text, that count on a problem of that old name, and both with version.

        They decide keys and streams; the third is the text that stands for the component in them.
        """
        if problem not in self._counting:
            name, settings = self.name, self.settings
            if self.missing is None:
                name, counted = former(self.kind, name, json.loads(settings), self.target, problem)
                settings = json.dumps(counted, sort_keys=True)
            self._counting[problem] = name, settings, json.dumps([name, self.version, settings])
        return self._counting[problem]

    def formerly(self, problem: str | None = None) -> tuple[str, str]:
        """Return the name and the settings, as text, that count for keys and streams, on a problem of that old name."""
        name, settings, _ = self.counting(problem)
        return name, settings


@dataclass(frozen=True)
class Evaluation:
    """How answers are measured: evaluation draws a side, and the measures (``None``: those that the problem names).

    ``added`` says where measures live that are no built-in ones, by name and target, and ``codes`` the checksums of
    their files, by name.
    """

    draws: int
    measures: tuple[str, ...] | None = None
    added: tuple[tuple[str, str], ...] = ()
    codes: tuple[tuple[str, str | None], ...] = ()

    @cached_property
    def identity(self) -> str:
        """What the evaluation contributes to the key of a cell."""
        return json.dumps([self.draws, self.measures])


@dataclass(frozen=True)
class Cell:
    """One run of one solver on one instance in dimension ``dim``, and how it is measured.

    ``data`` is the checksum of the data files that the instance is made of, ``None`` where there are none, and
    ``DATA_UNKNOWN`` for a cell of a store that did not say so.
    """

    problem: Component
    solver: Component
    dim: int
    seed: int
    evaluation: Evaluation
    device: str
    data: str | None = None

    @cached_property
    def place(self) -> tuple[str, str, str, str]:
        """Problem, its settings, solver and its settings by the names that count, whatever they are called today."""
        problem, problem_settings = self.problem.formerly()
        return problem, problem_settings, *self.solver.formerly(problem)

    @property
    def problem_stream(self) -> str:
        """The name of the problem that its random streams go by."""
        return self.place[0]

    @cached_property
    def run_identity(self) -> str:
        """Text of everything that the solver's random stream depends on."""
        problem, _, solved = self.problem.counting()
        return f"{solved} {self.solver.counting(problem)[2]} {self.dim} {self.seed}"

    @cached_property
    def _plugins(self) -> dict[str, tuple[str, str]]:
        """The targets of its plug-ins and the checksums of their files, by kind and name."""
        found = {f"{each.kind} {each.name}": (each.target, each.code) for each in (self.problem, self.solver)}
        if self.evaluation.codes:
            asked, targets = self.evaluation.measures or self.problem.declared, dict(self.evaluation.added)
            found |= {f"measure {name}": (targets[name], code) for name, code in self.evaluation.codes if name in asked}
        return {what: (target, code) for what, (target, code) in found.items() if code is not None}

    @cached_property
    def code(self) -> str:
        """The checksums of the files of its plug-ins, by kind and name (JSON); the empty text where it has none."""
        return as_text({what: code for what, (_, code) in self._plugins.items()})

    def code_here(self) -> str:
        """Return the same as the plug-in files are now: one may have been edited since the cell was planned."""
        return as_text(
            {
                what: (code_checksum(target) or code) if ".py:" in target else code
                for what, (target, code) in self._plugins.items()
            }
        )

    @cached_property
    def key(self) -> str:
        """Hash of everything that the cell's figures depend on."""
        text = f"{self.run_identity} {self.evaluation.identity} {self.device}"
        if self.data not in (None, DATA_UNKNOWN):
            text += f" data {self.data}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]
