"""What a suite is known by: its name or its file, and in a store its ``id``.

Cheap to import: what only reads a store needs no more of suites.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError, unknown

SHIPPED = Path(__file__).parent / "suites"
OTHER_FORMATS = (".yaml", ".yml", ".json", ".ini", ".cfg", ".txt", ".py")


def shipped() -> dict[str, Path]:
    """Return the suites that come with the project, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def heading(name: str) -> tuple[str | None, str]:
    """Return the title and the description of a shipped suite; nothing for one whose file is not known here."""
    path = shipped().get(name)
    table = tomllib.loads(path.read_text()) if path else {}
    return table.get("title"), table.get("description", "")


def suite_path(name: str) -> Path:
    """Return the file of a suite, by shipped name or path; raises ``UsageError`` for what can be neither."""
    if name.endswith(".toml"):
        return Path(name)
    found = shipped().get(name)
    if found is not None:
        return found
    ending = Path(name).suffix
    if ending.lower() in OTHER_FORMATS or Path(name).is_file():
        raise UsageError(f"suites are TOML files whose names end in .toml, got {name!r}")
    raise unknown("suite", name, shipped())


@dataclass(frozen=True)
class Identity:
    """What a suite is known by in a store: its ``id`` and what it is called, its file, and its description.

    ``key`` is the ``id`` that a suite gives itself, the name of a shipped one, and else the file's name with a hash of
    its place and title: two files of one name, or two titles in turn in one file, are two suites.
    """

    key: str
    name: str
    title: str
    description: str
    path: str


def identity_of(name: str, own: str | None, title: str, description: str) -> Identity:
    """Return what the suite of this name or path, with its ``own`` id if it has one, is known by."""
    path = suite_path(name).resolve()
    ours = shipped().get(path.stem)
    if ours is not None and path == ours.resolve():
        return Identity(path.stem, path.stem, title, description, "")
    digest = hashlib.sha256(f"{path}\n{title}".encode()).hexdigest()[:8]
    key = own or f"{path.stem}-{digest}"
    return Identity(key, own or path.stem, title, description, str(path))
