"""Every built-in solver and problem keeps its contract, one test a check."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import problems
import solvers
from harness.catalogue import catalogue
from harness.conformance import CHECKS, exhibits, print_verdict, trial, verdicts
from harness.conformance.contract import verdict
from harness.errors import UsageError
from harness.measure import CATALOGUE

# Methods that train are too slow with their defaults for a test: small networks, on these problems only.
TRAINED = {
    "icnn-jko": '{"iterations": 300, "width": 16, "batch_size": 256, "pool_size": 4096, "step_size": 0.1}',
    "primal-dual-jko": (
        '{"iterations": 20, "width": 8, "dual_width": 8, "batch_size": 64, "pool_size": 1024, "step_size": 0.1, '
        '"learning_rate": 0.02, "dual_learning_rate": 0.04}'
    ),
    "proximal-recursion": '{"particles": 300, "step_size": 0.005}',
    "dual-jko": '{"basis": "gaussian", "kernels": 100, "kernel_variance": 1.0, "samples": 4000}',
}
# Methods that take longer over the gallery than a test may: small settings, on all problems.
SHORT = {
    "barenblatt-jko": '{"step_size": 0.02}',
    "euler-maruyama": '{"particles": 500, "step_size": 0.01}',
    "quantile-jko": '{"nodes": 600}',
    "finite-volume": '{"cells": 48}',
    "svgd": '{"particles": 600, "iterations": 150}',
    "blob": '{"particles": 300, "tolerance": 0.2}',
    "mala": '{"particles": 1000, "chains": 100, "warmup": 200, "thinning": 5}',
}
SHOWN_TO_TRAINED = {
    "double-well D=1",
    "gaussian-mixture D=2",
    "ornstein-uhlenbeck instance=random initial_components=2 D=2",
}
SHOWN_TO_MEASURES = {
    "gaussian-mixture D=2",
    "linear-filtering observation_times=(0.05, 0.05, 0.15) D=1",
    "logistic-regression D=31",
}
SETTINGS = [(name, (TRAINED | SHORT).get(name, "{}")) for name in solvers.BUILTIN] + [
    ("oracle", '{"particles": 500}'),
    ("gaussian-jko", '{"order": 2}'),
    ("gaussian-jko", '{"step_size": "auto", "tolerance": 0.001}'),
    ("quantile-jko", '{"step_size": 0.1, "nodes": 1200, "order": 2, "second_order": "fitted"}'),
    ("barenblatt-jko", '{"step_size": 0.02, "order": 2}'),
    ("chang-cooper", '{"cells": 500, "step_size": 0.002}'),
    ("euler-maruyama", '{"particles": 1000, "step_size": 0.01, "dtype": "float64"}'),
]


@cache
def subject(kind: Any, name: str, settings: str = "{}") -> Any:
    made = trial(kind, name, catalogue(), json.loads(settings))
    if name not in TRAINED:
        return made
    shown = [exhibit for exhibit in made.exhibits if exhibit.title in SHOWN_TO_TRAINED]
    assert len(shown) == len(SHOWN_TO_TRAINED)
    return replace(made, exhibits=shown)


@pytest.mark.parametrize("check", CHECKS["problem"])
@pytest.mark.parametrize("name", problems.BUILTIN)
def test_problem(name: str, check: str) -> None:
    found = verdict(check, CHECKS["problem"][check], subject("problem", name))
    assert found.passed, found.detail


@pytest.mark.parametrize("check", CHECKS["solver"])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_solver(name: str, settings: str, check: str) -> None:
    found = verdict(check, CHECKS["solver"][check], subject("solver", name, settings))
    assert found.passed, found.detail


@pytest.mark.parametrize("name", CATALOGUE)
def test_measure(name: str) -> None:
    made = trial("measure", name, catalogue())
    shown = [exhibit for exhibit in made.exhibits if exhibit.title in SHOWN_TO_MEASURES]
    assert len(shown) == len(SHOWN_TO_MEASURES)
    for check, run in CHECKS["measure"].items():
        found = verdict(check, run, replace(made, exhibits=shown))
        assert found.passed, f"{check}: {found.detail}"


def test_gallery_holds_every_problem() -> None:
    shown = exhibits(tuple(sorted(problems.BUILTIN.items())))
    assert {exhibit.title.partition(" ")[0] for exhibit in shown} == set(problems.BUILTIN)
    assert {exhibit.problem.flow.dim for exhibit in shown} >= {1, 2}


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown solver, problem or measure 'orcale'; did you mean 'oracle'"):
        verdicts("orcale")


def test_verdict_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_verdict("initial")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS["solver"]) + 1
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == "initial keeps its contract"


def test_plugin_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        '"""A method of my own."""\n'
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from solvers.solver import Solver\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(Solver):\n"
        '    """Fails."""\n\n'
        '    name: ClassVar[str] = "mine"\n\n'
        "    def solve(self, problem, generator, device):\n"
        '        raise KeyError("nothing there")\n'
    )
    assert not print_verdict("mine", [plugin])
    out = capsys.readouterr().out
    assert "FAIL  solves" in out
    assert "KeyError: 'nothing there'" in out
    assert "mine breaks its contract" in out


def test_missing_package_is_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(solvers.BUILTIN, "elsewhere", "package_that_is_not_there.solver:Elsewhere")
    (found,) = verdicts("elsewhere")
    assert not found.passed
    assert "package_that_is_not_there" in found.detail
