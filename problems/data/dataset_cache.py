"""Downloaded data kept on this machine, each file with the SHA-256 of its content, verified at every read.

The folder is ``$XDG_CACHE_HOME/wgfbench`` or ``~/.cache/wgfbench``. Of each data set it holds ``<name>.npz`` and
``<name>.sha256``; both are written under another name and moved into place, so that a process which is killed leaves
no half of a file. What is read is verified against the SHA-256 pinned in the project, or, where none is, against the
one recorded at the first download.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from problems.arrays import Reals


def folder() -> Path:
    """Return the folder of the cache, which need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wgfbench"


def content_hash(features: Reals, labels: Reals) -> str:
    """Return the SHA-256, in hexadecimal, of the shape and little-endian float64 of features (n, d) and labels (n,)."""
    digest = hashlib.sha256(f"{features.shape[0]} {features.shape[1]}\n".encode())
    for part in (features, labels):
        digest.update(np.ascontiguousarray(part, dtype="<f8").tobytes())
    return digest.hexdigest()


def read(name: str, pinned: str | None) -> tuple[Reals, Reals] | None:
    """Return features (n, d) and labels (n,) of ``name``, or ``None`` when the cache does not hold it.

    Raises ``ValueError`` for a file that is not what was put there (both hashes are named) and for a symbolic link
    that leads out of the cache.
    """
    path = _inside(f"{name}.npz")
    expected = pinned or recorded(name)
    if not path.is_file() or expected is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, labels = arrays["features"], arrays["labels"]
        found = content_hash(features, labels)
    except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
        found = f"no readable table ({type(error).__name__})"
    if found != expected:
        raise ValueError(
            f"data {name!r}: the cached {path} is damaged: expected SHA-256 {expected}, found {found}; "
            "delete it, and it is fetched again"
        )
    return features, labels


def recorded(name: str) -> str | None:
    """Return the SHA-256 that was recorded when ``name`` was first downloaded, or ``None``.

    Raises ``ValueError`` for a symbolic link that leads out of the cache.
    """
    path = _inside(f"{name}.sha256")
    return path.read_text().strip() or None if path.is_file() else None


def write(name: str, features: Reals, labels: Reals) -> None:
    """Keep a verified data set, features (n, d) and labels (n,).

    Where the folder cannot be written it warns and keeps nothing. Raises ``ValueError`` for a symbolic link that leads
    out of the cache.
    """
    archive, record = _inside(f"{name}.npz"), _inside(f"{name}.sha256")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        _replace(archive, lambda file: np.savez_compressed(file, features=features, labels=labels))
        _replace(record, lambda file: file.write(f"{content_hash(features, labels)}\n".encode()))
    except OSError as error:
        warnings.warn(
            f"data {name!r} was fetched but not kept: {archive.parent} cannot be written ({error.strerror or error})",
            stacklevel=2,
        )


def _replace(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside ``path`` and move it there; nothing is left behind when that fails."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _inside(file: str) -> Path:
    """Return the path of a file of the cache; raises ``ValueError`` when a link takes it, or the cache, elsewhere."""
    cache = folder()
    for path in (cache, cache / file):
        if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError(f"cache: {path} is a symbolic link to {path.resolve()}, outside {path.parent}: refused")
    return cache / file
