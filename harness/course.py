"""The course of a sweep so far, which decides about cells whose turn has not come.

Exact draws, as many as a solver has particles, are its floor: where every such solver was skipped on an instance there
is nothing to lay them beside, and they are left out. With ``stop_hopeless`` a solver that failed on the first seeds of
a problem, all of them, by divergence or at its time limit, is not asked the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from harness.components import Cell

FIRST_SEEDS = 2
HOPELESS = ("diverged", "timeout")
NOT_ANSWERED = ("skipped", "unavailable")


class Course:
    """How the planned ``cells`` have ended so far, by key; ``statuses`` are those that ended before."""

    def __init__(self, cells: Sequence[Cell], statuses: Mapping[str, str], stop_hopeless: bool = False) -> None:
        """Begin with what is known of ``cells`` from before."""
        self._lock = threading.Lock()
        self._stop_hopeless = stop_hopeless
        self._ended = {cell.key: statuses[cell.key] for cell in cells if cell.key in statuses}
        self._seeds: dict[tuple[object, ...], list[Cell]] = {}
        self._solvers: dict[tuple[object, ...], list[str]] = {}
        solvers = {cell.solver.identity: cell.solver for cell in cells}
        self._sizes = {identity: solver.sample_size for identity, solver in solvers.items()}
        for cell in cells:
            self._seeds.setdefault(population(cell), []).append(cell)
            if cell.solver.name != "oracle":
                self._solvers.setdefault(self._floor(cell), []).append(cell.key)

    @classmethod
    def of(cls, cells: Sequence[Cell], statuses: Mapping[str, str], stop_hopeless: bool, retry: bool) -> Course:
        """Return the course of a sweep of these cells, cheaply where all of them have ended and none is tried again."""
        return cls(cells if retry or any(cell.key not in statuses for cell in cells) else (), statuses, stop_hopeless)

    def note(self, cell: Cell, status: str) -> None:
        """Take down how a cell ended."""
        with self._lock:
            self._ended[cell.key] = status

    def again(self, cells: Sequence[Cell]) -> None:
        """Forget how cells ended before that are to be run now."""
        with self._lock:
            for cell in cells:
                self._ended.pop(cell.key, None)

    def needless(self, cell: Cell) -> bool:
        """Return whether a cell is a floor of solvers that were all skipped."""
        if not self.is_floor(cell):
            return False
        with self._lock:
            beside = [self._ended.get(key) for key in self._solvers.get(self._floor(cell), [])]
        return bool(beside) and all(status in NOT_ANSWERED for status in beside)

    def waits_for(self, cell: Cell) -> list[str]:
        """Return the keys of the solvers that decide whether a floor is needless, as long as that is not known."""
        if not self.is_floor(cell):
            return []
        with self._lock:
            beside = {key: self._ended.get(key) for key in self._solvers.get(self._floor(cell), [])}
        if any(status is not None and status not in NOT_ANSWERED for status in beside.values()):
            return []
        return [key for key, status in beside.items() if status is None]

    def is_floor(self, cell: Cell) -> bool:
        """Return whether a cell is of exact draws, as many as particles of solvers."""
        return cell.solver.name == "oracle" and self._sizes.get(cell.solver.identity) is not None

    def hopeless(self, cell: Cell) -> str | None:
        """Return why a cell is not to be tried, after what became of its first seeds; ``None`` where it is."""
        if not self._stop_hopeless or cell.solver.name in ("oracle", "initial"):
            return None
        with self._lock:
            ended = [(other.seed, self._ended.get(other.key)) for other in self._seeds.get(population(cell), [])]
        known = [(seed, status) for seed, status in ended if status is not None and status != "hopeless"]
        if len(known) < FIRST_SEEDS or any(status not in HOPELESS for _, status in known):
            return None
        said = ", ".join(f"seed {seed} {status}" for seed, status in known)
        return f"not tried, since all seeds before it failed: {said}"

    def _floor(self, cell: Cell) -> tuple[object, ...]:
        return (cell.problem.identity, cell.dim, cell.seed, cell.device, self._sizes[cell.solver.identity])


def population(cell: Cell) -> tuple[object, ...]:
    """Return what a cell has in common with the other seeds of its solver on its problem."""
    return (cell.problem.identity, cell.solver.identity, cell.dim, cell.device, cell.evaluation.identity)
