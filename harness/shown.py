"""The part of a store that a command shows: the frame of a suite and a preset, some solvers of it, and its heading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import unknown
from harness.parsing import parse_names

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Chosen:
    """What a command shows of a store: the frame of a suite and a preset, what they are called, and their data folder.

    ``preset`` is ``None`` where all of them are shown; ``others`` are presets that are not.
    """

    frame: pandas.DataFrame
    suite: str
    preset: str | None
    name: str
    title: str | None
    description: str
    others: tuple[str, ...]
    data: str | None


def choose(
    store: Path,
    suite: str | None,
    preset: str | None,
    everything: bool,
    read: Callable[..., pandas.DataFrame] | None = None,
) -> Chosen:
    """Return the frame of a suite in a store, the one last run if none is named, with the preset that was last run.

    ``read`` takes it from the store; :func:`harness.frame.load` if left out.

    Raises ``UsageError`` for a file that is not a store, and a suite or a preset that it does not hold.
    """
    from harness.frame import load
    from harness.store import Store

    with Store(store, create=False, reading=True) as opened:
        key = opened.last_suite() if suite is None else opened.named(suite)
        presets = opened.presets(key)
        if preset is None and not everything:
            preset = opened.last_preset(key)
            if preset not in presets and presets:
                preset = presets[0]
        name, title, description = opened.called(key)
        data = opened.last_data(key)
    frame = (read or load)(store, key, preset, everything=everything)
    others = tuple(each for each in presets if preset is not None and each != preset)
    return Chosen(frame, key, preset, name, title, description, others, data)


def print_heading(chosen: Chosen) -> None:
    """Print what is shown, and what the store has of the suite beside that."""
    shown = f"preset {chosen.preset}" if chosen.preset else ""
    words = ", ".join(filter(None, [chosen.title or chosen.name, shown]))
    if chosen.others:
        names = ", ".join(each or "none" for each in chosen.others)
        words += f" (there are also, by --preset or --all: {names})"
    print(words + "\n")


def of_solvers(frame: pandas.DataFrame, names: list[str] | None) -> pandas.DataFrame:
    """Return the rows of solvers of these names or labels, and those of the bounds; all where ``names`` is ``None``.

    Names may be several in a text, with commas between. Raises ``UsageError`` for a solver that the frame does not
    have.
    """
    if names is None:
        return frame
    known = {*frame["solver"], *frame["label"]}
    names = parse_names(names, known)
    for name in names:
        if name not in known:
            raise unknown("solver of this suite", name, known)
    kept = frame["solver"].isin([*names, "oracle", "initial"]) | frame["label"].isin(names)
    return frame[kept].reset_index(drop=True)
