"""What the documents show is what comes out: their code is run in order, as printed."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest

from documents import python_blocks


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return an empty main module, as a script has it: classes of a document are defined there."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


@pytest.mark.parametrize("document", ["docs/python.md"])
def test_python_prints_what_is_shown(
    document: str, main: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(document)
    assert len([each for each in blocks if each.shown is not None]) >= 4
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, document, "exec"), main.__dict__)
        if shown is not None:
            assert printed.getvalue() == shown, code
