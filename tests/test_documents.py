"""What the documents show is what comes out: their code is run in order, as printed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from documents import Block, blocks, files

BIN = Path(sys.executable).parent


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return an empty main module, as a script has it: classes of a document are defined there."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder that documents are tried in; what they install is put there, too."""
    site = tmp_path / "site"
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    for name, value in {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(paths),
        "PIP_TARGET": str(site),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip spells that there is to be none
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: Block, main: ModuleType, document: str) -> str:
    """Run a block, and return what it prints."""
    if block.language == "sh":
        done = subprocess.run(["bash", "-e", "-c", block.code], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, block.code + done.stdout + done.stderr
        return done.stdout
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, document, "exec"), main.__dict__)
    return printed.getvalue()


@pytest.mark.parametrize("document", ["docs/python.md", "docs/tutorial.md"])
def test_documents_do_what_they_say(document: str, main: ModuleType, folder: Path) -> None:
    for name, text in files(document).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found = blocks(document)
    assert len(found) >= 5
    for block in found:
        if block.needs is not None and importlib.util.find_spec(block.needs) is None:
            continue
        printed = run(block, main, document)
        if block.shown is not None:
            assert printed == block.shown, block.code


def test_suites_that_documents_have_in_full_run(main: ModuleType, folder: Path) -> None:
    """Those of docs/data.md, but for the one on data that are the reader's."""
    (folder / "given.toml").write_text(files("docs/data.md")["given.toml"])
    run(Block("sh", "wgfbench run given.toml", None, None), main, "docs/data.md")
