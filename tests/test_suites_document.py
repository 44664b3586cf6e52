"""docs/suites.md says what the code has: keys, entry points, settings and their defaults."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

import problems
from documents import ROOT
from harness.catalogue import BASES, BUILTIN, import_target
from harness.suite import Entry, ProblemEntry, SolverEntry, Suite

TEXT = (ROOT / "docs" / "suites.md").read_text()


def table(text: str, heading: str) -> dict[str, str]:
    """Return the second column of the table whose first one has this heading, by the first, without code marks."""
    rows = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows is not None, heading
    cells = [[each.strip() for each in re.split(r"(?<!\\)\|", line.strip("|\n"))] for line in rows[1].splitlines()]
    return {row[0].strip("`"): row[1].strip("`") for row in cells}


def said(default: Any) -> str:
    """Return a default as the document writes it."""
    if default is PydanticUndefined:
        return "(required)"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    return str(list(default)) if isinstance(default, tuple) else str(default)


def keys(model: Any, without: Any = None) -> dict[str, str]:
    fields = {name: field for name, field in model.model_fields.items() if without is None or name not in without}
    return {
        name: said(field.default_factory() if field.default_factory else field.default)
        for name, field in fields.items()
    }


def test_keys_of_a_suite() -> None:
    first, both = TEXT.split("Both kinds of table")
    assert table(first, "key") == keys(Suite)
    assert table(both, "key") == keys(Entry)
    assert table(TEXT, "key of problems") == keys(ProblemEntry, Entry.model_fields)
    assert table(TEXT, "key of solvers") == keys(SolverEntry, Entry.model_fields)


def test_entry_points() -> None:
    groups = table(TEXT, "group")
    assert set(groups) == {f"wgfbench.{kind}s" for kind in BUILTIN}
    for kind, (module, name) in BASES.items():
        assert f"`{module}:{name}" in groups[f"wgfbench.{kind}s"]


@pytest.mark.parametrize("name", problems.BUILTIN)
def test_settings_of_a_problem(name: str) -> None:
    section = TEXT.split(f"\n### `{name}`\n")[1].split("\n### ")[0]
    fields = dataclasses.fields(import_target(problems.BUILTIN[name]))
    assert table(section, "setting") == {field.name: said(field.default) for field in fields}
    for default in table(section, "setting").values():
        if default != "none":
            tomllib.loads(f"value = {default}")


def test_no_problem_is_left_over() -> None:
    assert set(re.findall(r"^### `(.*)`$", TEXT, re.MULTILINE)) == set(problems.BUILTIN)
