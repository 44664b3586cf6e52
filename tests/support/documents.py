"""The code of the documents: blocks that are run, and beneath each what it prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A block of a document that is to be run, and what is printed beneath it; ``None`` where nothing is."""

    code: str
    shown: str | None


def python_blocks(document: str) -> list[Block]:
    """Return the Python blocks of a document, at its place in the repository, that stand behind ``<!-- run -->``."""
    text = (ROOT / document).read_text()
    found = re.findall(r"<!-- run -->\n```python\n(.*?)```\n(?:\n```\n(.*?)```)?", text, re.DOTALL)
    return [Block(code, shown or None) for code, shown in found]


def files(document: str) -> dict[str, str]:
    """Return the files that a document has in full, by the names that ``<!-- file: NAME -->`` gives them."""
    text = (ROOT / document).read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", text, re.DOTALL))
