"""A solver whose package is not here is listed with the reason, and its cells say so until it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import harness.catalogue
from harness.catalogue import catalogue, missing
from harness.cell import run_in_child
from harness.doctor import peers
from harness.listing import listed, print_listing
from harness.plan import Selection, plan
from harness.suite import Suite

WANTING = '''"""A method that wants a package."""

from dataclasses import dataclass
from typing import ClassVar

from solvers.bounds import Initial


@dataclass(frozen=True, kw_only=True)
class Wanting(Initial):
    """Does nothing, with a package."""

    name: ClassVar[str] = "wanting"
    needs: ClassVar = {"package_that_is_not_there": "pip install it"}
    particles: int = 7
'''
REASON = "wanting needs the package package_that_is_not_there: pip install it"


@pytest.fixture
def wanting(tmp_path: Path) -> Path:
    file = tmp_path / "wanting.py"
    file.write_text(WANTING)
    return file


def cells(plugin: Path):
    suite = Suite.model_validate(
        {"title": "test", "draws": 50, "problems": [{"use": "ornstein-uhlenbeck"}], "solvers": [{"use": "wanting"}]}
    )
    return [cell for cell in plan(suite, Selection(dims="2"), catalogue([plugin])) if cell.solver.name == "wanting"]


def test_it_is_listed_with_its_settings_and_what_it_needs(wanting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = (each for each in listed("solver", [wanting]) if each.name == "wanting")
    assert found.missing is None
    assert found.needs == "the package package_that_is_not_there: pip install it"
    assert found.settings == ("particles=7",)
    print_listing([wanting])
    (line, _) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["wanting"])
    assert "Does nothing, with a package. Needs the package package_that_is_not_there: pip install it" in line


def test_its_cells_are_those_that_they_will_be(wanting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (without,) = cells(wanting)
    assert without.solver.missing == REASON
    monkeypatch.setattr(harness.catalogue.importlib.util, "find_spec", lambda name: object())
    (with_it,) = cells(wanting)
    assert with_it.solver.missing is None
    assert with_it.key == without.key


def test_a_machine_that_lacks_it_says_so(wanting: Path) -> None:
    (outcome,) = run_in_child(cells(wanting))
    assert (outcome.status, outcome.reason) == ("unavailable", REASON)


def test_the_sweep_goes_on_without_it(wanting: Path, wgfbench: Callable, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'title = "test"\ndims = "2"\ndraws = 50\n[[problems]]\nuse = "ornstein-uhlenbeck"\n'
        '[[solvers]]\nuse = "wanting"\n[[solvers]]\nuse = "gaussian-jko"\n'
    )
    done = wgfbench("run", suite, "--plugin", wanting)
    assert done.returncode == 1
    assert "1 unavailable" in done.stdout + done.stderr
    assert REASON in done.stdout + done.stderr
    assert "3 ok" in done.stdout + done.stderr


def test_every_need_of_ours_is_found_or_named() -> None:
    for target in catalogue().targets["solver"].values():
        why = missing(harness.catalogue.import_target(target))
        assert why is None or why.startswith("the package ")


def test_the_doctor_names_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.doctor.find_spec", lambda module: None)
    said = peers()
    assert said.startswith("none; pip install 'wgfbench[peers]' brings torchsde, jax, diffrax")
    assert "pip install --no-deps particles==0.4 brings particles" in said
    monkeypatch.setattr("harness.doctor.find_spec", lambda module: object() if module == "pde" else None)
    monkeypatch.setattr("harness.doctor.version_of", lambda name: {"py-pde": "1.2"}[name])
    assert peers().startswith("pde 1.2; ")
