"""README: its example runs as printed, and its tables say what the code declares."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import problems
import solvers
from harness.catalogue import import_target
from problems.linear_filtering import LinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from seeding import fixed_generator
from solvers.solver import Solver

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
Row = Mapping[str, str]


def table(first: str) -> list[Row]:
    """Return the rows of the table whose first column has this heading, by the headings."""
    lines = TEXT.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {first} |"))
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


METHODS = {name: row for row in table("method") for name in re.findall(r"`([^`]+)`", row["method"])}


def test_the_example_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = re.findall(r"<!-- example: .*? -->\n```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line]) <= 10
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == shown


def test_it_is_short_and_its_hook_is_among_the_results() -> None:
    assert len(TEXT.splitlines()) <= 130
    results = (ROOT / "docs" / "results.md").read_text()
    hook = [line for line in TEXT.splitlines() if re.match(r"\| \d+ \| [\d,]+ \|", line)]
    assert len(hook) == 4
    assert all(line in results for line in hook)


def test_every_problem_and_every_method_is_there() -> None:
    assert set(METHODS) == set(solvers.BUILTIN)
    assert {name for row in table("problem") for name in re.findall(r"`([^`]+)`", row["problem"])} == set(
        problems.BUILTIN
    )


def instances(dim: int) -> dict[str, Problem]:
    """Return an Ornstein-Uhlenbeck flow, the same as a stationary problem, and one with observations."""
    flow = OrnsteinUhlenbeck(instance="random").build(dim, 0, fixed_generator(0))
    return {
        "flow": flow,
        "stationary": replace(flow, stationary=True),
        "filter": LinearFiltering().build(dim, 0, fixed_generator(0)),
    }


@pytest.mark.parametrize("name", solvers.BUILTIN)
def test_a_method_solves_what_its_row_says(name: str) -> None:
    row, solver = METHODS[name], import_target(solvers.BUILTIN[name])()
    assert isinstance(solver, Solver)
    for kind, problem in instances(1).items():
        assert row[kind].startswith("yes") == (solver.refusal(problem) is None), kind
    plane = instances(2)
    solved = [solver.refusal(plane[kind]) is None for kind in plane if row[kind]]
    assert row["D"] in ("1", "1, 2", "any")
    assert solved == [row["D"] != "1"] * len(solved)
    if row["answer"] != "either":
        assert (row["answer"] == "particles") == (solver.sample_size is not None)


def test_the_exact_steps_are_for_quadratic_potentials() -> None:
    assert METHODS["gaussian-jko"]["flow"] == METHODS["gaussian-jko"]["stationary"] == "yes, V quadratic"
    solver = import_target(solvers.BUILTIN["gaussian-jko"])()
    well = import_target(problems.BUILTIN["double-well"])().build(1, 0, torch.Generator())
    assert "must be quadratic" in str(solver.refusal(well))
