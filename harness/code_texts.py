"""Checksums of the code of plug-ins (``harness.plugin_code``) as texts, such as a store keeps with its runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def as_text(checksums: Mapping[str, str]) -> str:
    """Return checksums by what they are of as a store keeps them, the empty text where there are none."""
    return json.dumps(checksums, sort_keys=True) if checksums else ""


def together(texts: Iterable[str]) -> str:
    """Return all checksums of several such texts as one."""
    return as_text({what: each for text in set(texts) - {""} for what, each in json.loads(text).items()})


def changed(then: str | None, now: str) -> list[str]:
    """Return of what the checksums were others ``then``, when more plug-ins may have been known; none if unknown."""
    if not then or not now or then == now:
        return []
    before = json.loads(then)
    return [what for what, each in json.loads(now).items() if before.get(what, each) != each]
