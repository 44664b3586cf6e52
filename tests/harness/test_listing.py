"""The list says everything there is, and why something is not available."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

import problems
import solvers
from harness.errors import UsageError
from harness.listing import listed, print_listing, settings, summary, support
from harness.measure import CATALOGUE
from harness.suite import shipped
from problems.flow import InternalEnergy, PowerEntropy
from solvers.solver import Solver


@dataclass
class Component:
    """Follows ``particles`` in
    any potential. And more.

    A second paragraph.
    """

    particles: int
    step_size: float = 0.1
    domain: tuple[float, ...] = field(default_factory=lambda: (0.0, 1.0))
    hidden: int = field(default=3, init=False)


def test_everything_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(())
    lines = capsys.readouterr().out.splitlines()
    for name in (*shipped(), *problems.BUILTIN, *solvers.BUILTIN, *CATALOGUE):
        assert any(line.split()[:1] == [name] for line in lines), name
    line, _ = (line for line in lines if line.split()[:1] == ["euler-maruyama"])
    assert "particles=10000, step_size=0.001, order=1, preconditioner='identity', dtype='float32'" in line
    (line,) = (line for line in lines if line.split()[:1] == ["ou"])
    assert "quick, paper" in line
    (line,) = (line for line in lines if line.split()[:1] == ["accuracy"])
    assert "higher" in line
    assert not any("not available" in line for line in lines)


def test_what_each_solver_solves(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(())
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("What each solver solves"))
    rows = {line.split()[0]: line.split()[1:] for line in lines[start:] if line.split()[:1] and line.startswith(" ")}
    assert set(solvers.BUILTIN) <= set(rows)
    assert rows["oracle"] == ["yes", "yes", "yes", "yes", "yes", "any"]
    assert rows["mala"] == ["yes", "yes", "any"]
    # of every free energy, on the line, at order 1 or 2
    assert rows["quantile-jko"] == ["yes", "yes", "yes", "yes", "yes", "at", "most", "1", "1", "or", "2", "(order)"]
    assert rows["gaussian-jko"] == ["yes", "yes", "any", "1", "or", "2", "(order)"]
    assert rows["gaussian-variational"] == ["yes", "any", "1", "or", "2", "(order)"]


@dataclass(frozen=True, kw_only=True)
class Declaring(Solver):
    """Declares every kind of thing."""

    name: ClassVar[str] = "declaring"
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (PowerEntropy, None)
    interacts: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (2,)


def test_support_is_what_a_solver_declares() -> None:
    assert support(Declaring) == ("", "yes", "yes", "yes", "", "", "any", "2")
    assert support(Solver) == ("yes", "", "", "", "", "", "any", "")


def test_plain_text_has_no_escapes_and_no_folded_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_listing(())
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) > 100


def test_plugins_are_listed(plugin: Path) -> None:
    found = {each.name: each for each in listed("solver", [plugin])}
    assert found["shifted"].settings == ("scale=0.1",)
    assert found["shifted"].summary == "The initial law moved by a random shift: an answer that depends on the stream."
    assert "standing" in {each.name for each in listed("problem", [plugin])}


def test_plugin_that_does_not_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not import"):
        print_listing([tmp_path / "absent.py"])


def test_what_cannot_be_imported_has_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(solvers.BUILTIN, "elsewhere", "package_that_is_not_there.solver:Elsewhere")
    print_listing(())
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["elsewhere"])
    assert "not available: needs No module named 'package_that_is_not_there'" in line


def test_summary_is_the_first_sentence() -> None:
    assert summary(Component) == "Follows particles in any potential."


def test_settings_have_their_defaults() -> None:
    assert settings(Component) == ("particles=(required)", "step_size=0.1", "domain=(0.0, 1.0)")
