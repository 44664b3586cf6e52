"""Checksums of the data files that a problem is made of: what they hold, not how well it is compressed."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

CHUNK = 2**20
DATA_UNKNOWN = "unknown"
"""Stands for the checksum of data in cells of stores that did not keep it."""


def data_checksum(files: Sequence[Path]) -> str | None:
    """Return the SHA-256, shortened to 32 digits, of the names and contents of files; ``None`` where there are none.

    A gzip file counts with what it unpacks to, and one that is damaged with its bytes.
    """
    if not files:
        return None
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\n{content_checksum(path)}\n".encode())
    return digest.hexdigest()[:32]


def content_checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content; raises ``OSError`` for one that cannot be read."""
    if path.suffix == ".gz":
        digest = hashlib.sha256()
        try:
            with gzip.open(path) as unpacked:
                while chunk := unpacked.read(CHUNK):
                    digest.update(chunk)
            return digest.hexdigest()
        except (EOFError, gzip.BadGzipFile, zlib.error):
            pass
    return hashlib.sha256(path.read_bytes()).hexdigest()
