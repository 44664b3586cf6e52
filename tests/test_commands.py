"""Every command that README and docs show can be given as it stands there; every file that they link to is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from harness.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def in_blocks(document: Path) -> list[str]:
    """Return the lines of the code blocks of a document, joined where they go on."""
    return [
        line.strip()
        for block in FENCED.findall(document.read_text())
        for line in block.replace("\\\n", " ").splitlines()
    ]


def in_sentences(document: Path) -> list[str]:
    """Return what stands between backticks, outside code blocks."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCED.sub("", document.read_text()))]


def commands(found: list[str], program: str) -> list[list[str]]:
    """Return the arguments of each use of a program, with comments left out."""
    return [shlex.split(line, comments=True)[1:] for line in found if line.startswith(f"{program} ")]


def parse(arguments: list[str]) -> None:
    """Parse a command line and run nothing; raises an error for one that does not parse."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    context = group.make_context("wgfbench", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))
    assert command is not None
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_parses(document: Path) -> None:
    found = commands(in_blocks(document) + in_sentences(document), "wgfbench")
    assert found or document.name not in ("README.md", "results.md")
    for arguments in found:
        parse(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, id=" ".join(arguments))
        for document in DOCUMENTS
        for arguments in commands(in_blocks(document), "wgfbench")
        if arguments[0] == "run" and "--plugin" not in arguments and not arguments[1].endswith(".toml")
    ],
)
def test_every_sweep_of_a_shipped_suite_has_cells(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR").mkdir()
    planned = CliRunner().invoke(app, [*arguments, "--dry-run"], catch_exceptions=False)
    assert planned.exit_code == 0
    assert "cells" in planned.output


def test_a_command_that_does_not_parse_is_found() -> None:
    for wrong in (["run"], ["run", "ou", "--dim", "2"], ["sow", "ou"], ["run", "ou", "-j", "many"]):
        with pytest.raises(Exception, match=r"Missing|No such|valid"):
            parse(wrong)


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        arguments[0]
        for document in DOCUMENTS
        for arguments in commands(in_blocks(document) + in_sentences(document), "make")
    }
    assert {"demo", "test"} <= used
    assert used <= targets


def test_every_linked_file_is_there() -> None:
    links = [
        document.parent / link
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
        if "://" not in link
    ]
    assert ROOT / "docs" / "report.png" in links
    assert [str(path.relative_to(ROOT)) for path in links if not path.exists()] == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"].startswith(project["name"])
    assert citation["type"] == "software"
    assert citation["message"]
    assert citation["authors"] == [{"name": "wgfbench maintainers"}]
