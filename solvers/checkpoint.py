"""A folder in which a solver that works step by step keeps what it needs to go on after it was killed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STATE = "state.pt"


class ForeignCheckpoint(ValueError):
    """The error of a folder that holds the checkpoint of other settings, or of another version of the method."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint keeps in ``folder`` the steps done so far of the run that ``identity`` names.

    Every step adds a file with what it gave, and replaces the state to go on from, in this order: a run killed at any
    instant is found as it was after its last complete step. Files hold tensors and plain values only and are read as
    such (``weights_only``).
    """

    folder: Path
    identity: str

    def save(self, step: int, given: torch.Tensor, state: dict[str, Any]) -> None:
        """Keep what ``step`` = 1, 2, … gave, a tensor of any shape, and the ``state`` to go on from after it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(f"step-{step}.pt", given)
        self._write(STATE, {"identity": self.identity, "step": step, "state": state})

    def load(self) -> tuple[list[torch.Tensor], dict[str, Any]] | None:
        """Return what each step gave (tensors of the shapes that were saved) and the state after the last.

        ``None`` when there is nothing yet.

        Raises ``ForeignCheckpoint`` when the folder is another run's.
        """
        if not (self.folder / STATE).is_file():
            return None
        found = torch.load(self.folder / STATE, weights_only=True)
        if found["identity"] != self.identity:
            raise ForeignCheckpoint(f"{self.folder} holds the checkpoint of another run: {found['identity']}")
        steps = range(1, found["step"] + 1)
        return [torch.load(self.folder / f"step-{step}.pt", weights_only=True) for step in steps], found["state"]

    def _write(self, name: str, content: Any) -> None:
        unfinished = self.folder / f"{name}.unfinished"
        torch.save(content, unfinished)
        os.replace(unfinished, self.folder / name)
