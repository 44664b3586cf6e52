"""Measures of one's own: used by suites and problems, refused with one clear line where something is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import load
from harness.catalogue import catalogue
from harness.conformance import verdicts
from harness.errors import UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]
MEASURE = '''"""A measure of mine."""
from dataclasses import dataclass
from typing import ClassVar
from harness.measure.measure import Figure, Measure


@dataclass(frozen=True)
class Mine(Measure):
    """How far the mean is from the true one."""

    name: ClassVar[str] = "{name}"

    def unsuited(self, subject):
        return "the true law is not known" if subject.truth is None else None

    def __call__(self, subject, draws, generator):
        {body}
'''
RIGHT = "return Figure(float(subject.estimate.sample(draws, generator).double().mean() ** 2), 1.0, 'mean')"
SUITE = """
title = "mine"
measures = ["{measure}", "bures-w2"]
[[problems]]
use = "standing"
[[solvers]]
use = "shifted"
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "mine", body: str = RIGHT) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(MEASURE.format(name=name, body=body))
        return path

    return write


def sweep(wgfbench: Run, tmp_path: Path, plugin: Path, mine: Path, measure: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "suite.toml").write_text(SUITE.format(measure=measure))
    return wgfbench("run", "suite.toml", "--plugin", plugin, "--plugin", mine, "--store", "store.sqlite")


def test_a_suite_asks_for_a_measure_of_a_plugin(
    tmp_path: Path, plugin: Path, wgfbench: Run, written: Callable[..., Path]
) -> None:
    mine = written()
    done = sweep(wgfbench, tmp_path, plugin, mine, "mine")
    assert done.returncode == 0, done.stderr
    assert set(load(tmp_path / "store.sqlite")["metric"]) == {"mine", "bures-w2"}
    mine.write_text(mine.read_text().replace("    name: Class", "    version: ClassVar[int] = 2\n    name: Class"))
    assert (
        "3 cells in the store lack a measure or have an older one"
        in sweep(wgfbench, tmp_path, plugin, mine, "mine").stderr
    )
    listed = wgfbench("list", "--plugin", mine).stdout
    (line,) = (line for line in listed.splitlines() if line.strip().startswith("mine"))
    assert line.split() == ["mine", "2", "lower", *["How", "far", "the", "mean", "is", "from", "the", "true", "one."]]


def test_a_name_that_is_near(tmp_path: Path, plugin: Path, wgfbench: Run, written: Callable[..., Path]) -> None:
    refused = sweep(wgfbench, tmp_path, plugin, written(), "mnie")
    assert refused.returncode == 2
    assert "unknown measure 'mnie'; did you mean 'mine'?" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_measure_that_gives_nan_is_named(
    tmp_path: Path, plugin: Path, wgfbench: Run, written: Callable[..., Path]
) -> None:
    assert (
        sweep(wgfbench, tmp_path, plugin, written(body="return Figure(float('nan'), 0.0, 'x')"), "mine").returncode == 1
    )
    frame = load(tmp_path / "store.sqlite")
    assert set(frame["status"]) == {"error"}
    assert set(frame["reason"]) == {
        "ValueError: measure 'mine' gives NaN at t = 1: it must say why it is unsuited instead"
    }


def test_a_name_that_is_taken(written: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"are both measures named 'symkl': choose another name") as refused:
        catalogue([written("symkl")])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "check", "detail"),
    [
        ("return Figure(float('nan'), 0.0, 'x')", "gives a figure or a reason", "gives NaN"),
        ("return 1.0", "gives a figure or a reason", "gives no Figure"),
        ("return Figure(1.0, -1.0, 'x')", "gives a figure or a reason", "standard error of -1"),
        ("import torch; return Figure(float(torch.rand(())), 1.0, 'x')", "touches nothing", "torch's global random"),
        ("import torch; return Figure(float(torch.rand(())), 1.0, 'x')", "repeats", "another figure"),
        ("return Figure(float(generator.initial_seed()), 0.0, 'x')", "states its error", "states 0"),
        ("points = getattr(subject.estimate, 'points', None); points is None or points.zero_(); "
         "return Figure(0.0, 0.0, 'x')", "touches nothing", "changes "),
        ("import torch; x = subject.estimate.sample(draws, generator).double(); "
         "y = subject.truth.sample(draws, generator).double(); "
         "return Figure(float(torch.cdist(x, y).min(1).values.mean()), 1.0, 'x')", "knows the floor", "two_sides"),
        ("x = subject.estimate.sample(draws, generator).double().norm(dim=1); n = len(x); "
         "return Figure(float(x.mean()), float(x.std() / n**0.5 / 2**0.5), 'x')", "states its error", "and states 0."),
        ("apart = subject.estimate.moments(generator)[0] - subject.truth.moments()[0]; "
         "return Figure(-float(apart.norm()), 0.0, 'x')", "knows better", "where lower is better, as higher_is_better"),
        ("x = getattr(subject.estimate, 'points', subject.truth.moments()[0][None]); "
         "return Figure(float((x.double().mean(0) - subject.truth.moments()[0]).norm()), 0.0, 'x')",
         "counts weights", "it must count particles by weight"),
    ],
)  # fmt: skip
def test_what_breaks_the_contract(written: Callable[..., Path], body: str, check: str, detail: str) -> None:
    found = {each.check: each for each in verdicts("mine", [written(body=body)])}
    assert not found[check].passed
    assert detail in found[check].detail


def test_what_keeps_the_contract(written: Callable[..., Path]) -> None:
    assert all(each.passed for each in verdicts("mine", [written()]))
