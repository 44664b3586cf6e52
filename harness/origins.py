"""What a plan is made from: code, suites, data and whatever else is read meanwhile. The same again plans the same.

A plan depends on files, those of the modules that are loaded and those that are opened to be read while it is made,
plug-ins' own among them. Files that are not there yet may join: the names in the folders that modules are imported from
say which libraries there are, and those beside plug-ins and in the folder of data what could be found there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

PASSING = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES"})
"""Variables of the environment that say from where in a shell a command was given, and nothing of what it is to do."""
IMPORTABLE = (".py", ".so", ".pyd", ".pth", ".dist-info", ".egg-info", ".egg-link")
"""How names end, where they have a dot, that decide what can be imported from a folder."""
FLEETING = ("/proc/", "/sys/", "/dev/")


def surroundings() -> str:
    """Return as text what a plan may depend on beside files: Python, the folder of now, environment, processors."""
    environment = {name: value for name, value in os.environ.items() if name not in PASSING}
    here = [sys.version, sys.prefix, sys.path, os.getcwd(), os.cpu_count(), environment]
    return json.dumps(here, sort_keys=True)


class Ear:
    """Hears of all files that this process opens to read; there is one, since what listens so can never be removed."""

    def __init__(self) -> None:
        """Begin to listen, for nobody yet."""
        self.listeners: list[set[str]] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self.listeners:
            return
        path, _, flags = arguments
        if isinstance(path, str | bytes | os.PathLike) and flags & os.O_ACCMODE == os.O_RDONLY:
            for heard in self.listeners:
                heard.add(os.path.abspath(os.fsdecode(path)))


@cache
def ear() -> Ear:
    """Return the ear of this process."""
    return Ear()


@contextmanager
def hearing() -> Iterator[set[str]]:
    """Yield a set that takes in the paths of all files that are opened to be read inside."""
    heard: set[str] = set()
    listeners = ear().listeners
    listeners.append(heard)
    try:
        yield heard
    finally:
        listeners[:] = [each for each in listeners if each is not heard]


@dataclass(frozen=True)
class Origins:
    """The ``files`` that a plan was made from, and the ``folders`` whose names it may depend on.

    Of ``folders`` what can be imported counts, of those ``in_whole`` every name but those that begin with ``besides``.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    in_whole: tuple[str, ...] = ()
    besides: str = ""

    def digest(self) -> str:
        """Return a hash of what is in the files and which names are in the folders, now."""
        found = hashlib.sha256()
        libraries = library_folders()
        for path in self.files:
            found.update(f"{path}\n{state(path, in_content=not path.startswith(libraries))}\n".encode())
        for folder in self.folders:
            names = [name for name in listed(folder) if "." not in name or name.endswith(IMPORTABLE)]
            found.update(json.dumps([folder, names]).encode())
        for folder in self.in_whole:
            names = [name for name in listed(folder) if not (self.besides and name.startswith(self.besides))]
            found.update(json.dumps([folder, names]).encode())
        return found.hexdigest()

    def with_code_here(self) -> Origins:
        """Return these origins with the files of what is loaded in this process, where another one planned."""
        return replace(self, files=tuple(sorted({*self.files, *loaded()})))

    def packed(self) -> bytes:
        """Return the origins as they are stored."""
        return zlib.compress(json.dumps([self.files, self.folders, self.in_whole, self.besides]).encode())

    @classmethod
    def unpacked(cls, stored: bytes) -> Origins:
        """Return stored origins; raises ``ValueError`` or ``zlib.error`` for what is none."""
        files, folders, in_whole, besides = json.loads(zlib.decompress(stored))
        return cls(tuple(files), tuple(folders), tuple(in_whole), besides)


def origins(
    heard: Collection[str], plugins: Iterable[Path], data: str | None, store: Path, since: int
) -> Origins | None:
    """Return the origins of what was just planned, by the files ``heard`` of and all modules that are loaded.

    ``None`` where a file is younger than ``since`` (nanoseconds): it may have been another when it was read.
    """
    files = sorted({source(path) for path in {*heard, *loaded()} if not path.startswith(FLEETING)})
    if any(modified(path) >= since for path in files):
        return None
    folders = [path or "." for path in sys.path]
    beside = [str(plugin.resolve().parent) for plugin in plugins]
    unique = tuple(dict.fromkeys(os.path.abspath(path) for path in (*folders, *beside)))
    return Origins(tuple(files), unique, () if data is None else (data,), store.stem)


def loaded() -> set[str]:
    """Return the files of all modules that are loaded in this process."""
    return {os.path.abspath(file) for each in list(sys.modules.values()) if (file := getattr(each, "__file__", None))}


def source(path: str) -> str:
    """Return the file of a module's text for one that it was compiled to; any other as it is."""
    if not path.endswith(".pyc"):
        return path
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        return path


def modified(path: str) -> int:
    """Return when a file was last changed, in nanoseconds; 0 for one that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def state(path: str, in_content: bool) -> str:
    """Return what tells a file from others in its place: a hash of what it holds, or its size and when it changed."""
    try:
        if in_content:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        return type(error).__name__


def listed(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


@cache
def library_folders() -> tuple[str, ...]:
    """Return where Python and installed packages lie, whose files are known by their size and time."""
    paths = sysconfig.get_paths()
    return tuple({os.path.join(paths[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib")})
