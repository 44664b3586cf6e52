"""The code of the documents: blocks that are run in order, what they print, and files that they have in full."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A block of a document that is to be run, in Python or by a shell, and what is printed beneath it.

    ``needs`` is a package without which it is not to be run.
    """

    language: str
    code: str
    shown: str | None
    needs: str | None


def blocks(document: str) -> list[Block]:
    """Return the blocks of a document, at its place in the repository, that stand behind ``<!-- run -->``."""
    text = (ROOT / document).read_text()
    pattern = r"<!-- run(?: where ([\w.]+) is)? -->\n```(\w+)\n(.*?)```\n(?:\n```\n(.*?)```)?"
    found = re.findall(pattern, text, re.DOTALL)
    return [Block(language, code, shown or None, needs or None) for needs, language, code, shown in found]


def files(document: str) -> dict[str, str]:
    """Return the files that a document has in full, by the names that ``<!-- file: NAME -->`` gives them."""
    text = (ROOT / document).read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", text, re.DOTALL))
