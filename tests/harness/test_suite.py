"""Suites: what ships is valid, presets replace keys, and what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalogue import catalogue
from harness.editing import retire_edited
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.store import Store
from harness.suite import load_presets, load_suite, shipped

GOOD = """
title = "good"
dims = "1:2"
[[problems]]
use = "ornstein-uhlenbeck"
[[solvers]]
use = "gaussian-jko"
"""
BAD_PAPER = "[presets.quick]\nseeds = 2\n[presets.paper]\nseeds = 'x'\n"
OTHER = """
[[solvers]]
use = "svgd"
problems = ["ornstein-uhlenbeck"]
[presets.first]
[presets.other]
problems = [{ use = "double-well" }]
"""
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def suite(text: str) -> str:
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return str(path)

    return suite


@pytest.mark.parametrize("name", shipped())
def test_every_preset_that_ships_can_be_planned(name: str) -> None:
    import tomllib

    for preset in tomllib.loads(shipped()[name].read_text()).get("presets", {"": {}}):
        suite, chosen = load_suite(name, preset or None)
        assert chosen == preset
        assert suite.title
        assert suite.description
        assert plan(suite, Selection(), catalogue())


def test_demo_and_ou_ship() -> None:
    assert {"demo", "ou"} <= set(shipped())


def test_preset_replaces_keys_and_quick_is_taken_first(write: Write) -> None:
    path = write(GOOD + '[presets.full]\nseeds = 15\n[presets.quick]\nseeds = 2\ndims = "3"\n')
    quick, name = load_suite(path, None)
    assert (name, quick.seeds, quick.dims) == ("quick", 2, "3")
    full, name = load_suite(path, "full")
    assert (name, full.seeds, full.dims) == ("full", 15, "1:2")


def test_first_preset_is_taken_without_a_quick_one(write: Write) -> None:
    assert load_suite(write(GOOD + "[presets.b]\nseeds = 4\n[presets.a]\nseeds = 5\n"), None)[1] == "b"
    assert load_suite(write(GOOD), None)[1] == ""


@pytest.mark.parametrize(
    ("text", "preset", "said"),
    [
        (GOOD, "quick", "has no presets, got 'quick'"),
        (GOOD + "[presets.paper]\nseeds = 2\n", "papr", "'papr'; did you mean 'paper'?"),
        ("sedes = 3\n" + GOOD, None, "'sedes'; did you mean 'seeds'?"),
        (GOOD.replace("use = ", "usee = "), None, "at problems.0.usee: 'usee'; did you mean 'use'?"),
        (GOOD + "setings = {}\n", None, "at solvers.0.setings: 'setings'; did you mean 'settings'?"),
        (GOOD + "seeds = '2'\n", None, "unknown key of suite"),
        (GOOD + "dims = '0'\n", None, "dims must be whole numbers >= 1"),
        (GOOD.replace("title", "description"), None, "title is missing"),
        ("draws = 'many'\n" + GOOD, None, "draws = 'many'"),
        ("draws = 1\n" + GOOD, None, "draws = 1"),
        ("draws = 100.0\n" + GOOD, None, "draws = 100.0"),
        ("timeout = 10\n" + GOOD, None, "timeout = 10"),
        ("timeout = '10'\n" + GOOD, None, "timeout must be a duration > 0"),
        ("memory = '4'\n" + GOOD, None, "memory must be a size > 0"),
        ("seeds = 0\n" + GOOD, None, "seeds must be a count >= 1"),
        ("seeds = '-1,2'\n" + GOOD, None, "seeds must be whole numbers >= 0"),
        ("seeds = true\n" + GOOD, None, "= True"),
        (GOOD.replace('"1:2"', "0"), None, "dims must be whole numbers >= 1"),
        (GOOD.replace('"1:2"', '"a:b"'), None, "dims must be numbers such as 2,6 or 1:12, got 'a:b'"),
        (GOOD.replace("[[solvers]]", "dims = '0'\n[[solvers]]"), None, "dims must be whole numbers >= 1"),
        (GOOD.replace("[[solvers]]", "seeds = -2\n[[solvers]]"), None, "seeds must be a count >= 1"),
        ("measures = ['symlk']\n" + GOOD, None, "unknown measure 'symlk'; did you mean 'symkl'?"),
        (GOOD + "problems = ['double-well']\n", None, "unknown problem of solver 'gaussian-jko' 'double-well'"),
        (GOOD + "grid = { step_size = 0.1 }\n", None, "grid.step_size = 0.1"),
        ("presets = 3\n" + GOOD, None, "presets must be tables such as [presets.quick], got 3"),
        (GOOD + "[presets]\nquick = 3\n", None, "presets must be tables such as [presets.quick]"),
        (GOOD + BAD_PAPER, "paper", "preset 'paper': seeds must be numbers such as"),
        (GOOD + "[presets.paper]\nsedes = 2\n", None, "preset 'paper': unknown key of suite"),
        (GOOD + OTHER, "other", "preset 'other': unknown problem of solver 'svgd' 'ornstein-uhlenbeck'"),
        ("title = ", None, "is not TOML"),
    ],
)
def test_what_is_wrong_is_one_line(write: Write, text: str, preset: str | None, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_suite(write(text), preset)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_fault_of_the_whole_suite_is_not_one_of_its_presets(write: Write) -> None:
    with pytest.raises(UsageError, match=r"^seeds must be a count"):
        load_suite(write("seeds = 0\n" + GOOD + "[presets.paper]\ndims = '1'\n"), None)


@pytest.mark.parametrize(("text", "preset"), [(GOOD + BAD_PAPER, "paper"), (GOOD + OTHER, "other")])
def test_a_preset_with_a_fault_leaves_the_others_alone(
    write: Write, text: str, preset: str, command: Callable[..., Any]
) -> None:
    path = write(text)
    found = load_presets(path, None)
    assert list(found.faults) == [preset] != list(found.suites) == [found.preset]
    ran = command("run", path, "--store", "s.sqlite", "--solver", "gaussian-jko", "--dry-run")
    assert ran.code == 0, ran.err
    assert f"preset {preset!r} of this suite cannot be run: " in ran.err
    with Store(Path("s.sqlite")) as store:
        # What it once ran stays its own.
        for name in (preset, found.preset):
            store.record_plan("t", name, plan(found.suites[found.preset], Selection(), catalogue()), "wgfbench run t")
        keys = {cell.key for cell in plan(found.suites[found.preset], Selection(), catalogue())}
        assert retire_edited(store, "t", found.suites, catalogue(), None, keys, found.faults) == 0
        assert {*store.presets("t")} == {preset, found.preset}
        assert retire_edited(store, "t", found.suites, catalogue(), None, ()) > 0


def test_suite_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown suite 'dmeo'; did you mean 'demo'"):
        load_suite("dmeo", None)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_suite(str(tmp_path / "absent.toml"), None)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_suite(str(tmp_path / "folder.toml"), None)
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"\n')
    with pytest.raises(UsageError, match="is not text in UTF-8"):
        load_suite(str(tmp_path / "latin.toml"), None)
