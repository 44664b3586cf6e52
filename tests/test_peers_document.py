"""``docs/peers.md`` names every peer with the version that is pinned, and its table is filled in by the script."""

from __future__ import annotations

import re

import pytest

import peers as script
from harness.catalogue import catalogue, import_target, make
from harness.suite import load_suite
from solvers.peers import BUILTIN

TEXT = script.DOCUMENT.read_text()
TARGETS = catalogue().targets


def test_every_peer_is_in_the_document_and_in_the_suite():
    listed = [line for line in TEXT.splitlines() if re.match(r"\| `", line)]
    assert set(re.findall(r"`([^`]+)`", " ".join(line.split("|")[1] for line in listed))) == set(BUILTIN)
    for preset in ("quick", "paper"):
        suite, _ = load_suite("peers", preset)
        assert {entry.use for entry in suite.solvers} >= set(BUILTIN)


def test_versions_are_those_that_are_pinned():
    pinned = (script.DOCUMENT.parents[1] / "constraints.txt").read_text().lower().splitlines()
    rows = "\n".join(line for line in TEXT.splitlines() if re.match(r"\| `", line))
    named = re.findall(r"([A-Za-z][\w-]+) (\d+(?:\.\d+)+)", rows)
    assert len(named) >= len(BUILTIN) - 2
    for library, version in named:
        assert f"{library.lower()}=={version}" in pinned


@pytest.mark.parametrize("sizes", ["quick", "paper"])
def test_every_task_can_be_taken_on(sizes):
    for task in script.tasks(sizes):
        assert task.contestants[0].label == script.OURS
        assert len({each.label for each in task.contestants}) == len(task.contestants)
        if task.problem == "kernel-density":
            continue
        family = make("problem", import_target(TARGETS["problem"][task.problem]), dict(task.settings))
        assert family.dims() is None or task.dim in family.dims()
        assert set(task.measures) <= set(TARGETS["measure"])
        for each in task.contestants:
            solver = make("solver", import_target(TARGETS["solver"][each.use]), dict(each.settings))
            solver.check_times(family.times)
            assert each.label.startswith(script.OURS) != (each.use in BUILTIN)


def test_quick_tasks_are_those_of_the_paper_in_small():
    """A contestant solves the quick task of its place before the one that counts."""
    for one, other in zip(script.tasks("quick"), script.tasks("paper"), strict=True):
        assert one.problem == other.problem
        assert [each.use for each in one.contestants] == [each.use for each in other.contestants]


def test_a_turn_gives_seconds_and_an_error():
    task = script.Task(
        "small", "ornstein-uhlenbeck", {"times": (0.1,)}, 1, ("bures-w2", "energy-distance"), ()
    )  # fmt: skip
    found = script.solves(task, script.Contestant("ours", "gaussian-jko"), 1)
    assert set(found) == {"seconds", "startup", "compile", "error"}
    assert found["seconds"] > 0
    few = script.Task("few", "kernel-density", {"points": 30, "queries": 10}, 2, (), ())
    assert script.densities(few, script.Contestant("ours", "ours"), 1)["error"] < 1e-12
    assert script.densities(few, script.Contestant("its", "scikit-learn"), 1)["error"] > 1e-3


def test_rows_say_who_is_faster_and_who_is_missing():
    contestants = (script.Contestant("ours", "mine"), script.Contestant("Its", "its"), script.Contestant("Gone", "no"))
    task = script.Task("task", "problem", {}, 1, (), contestants)

    def turn(seconds, error):
        return {"seconds": seconds, "error": error, "startup": 1.0, "compile": 2.0}

    rows = script.rows_of(
        task,
        {
            "ours": [turn(2.0, 0.5), turn(4.0, 0.7)],
            "Its": [turn(1.0, 0.4), turn(3.0, 0.3)],
            "Gone": [{"missing": "the package no"}] * 2,
        },
    )
    assert rows == [
        "| task | **mine** | 0.6 | 3 [2, 4] | 1 | 2 |  |",
        "|  | Its | 0.35 | 2 [1, 3] | 1 | 2 | 0.62 [0.5, 0.75], **faster**, **more accurate** |",
        "|  | Gone | not run: the package no | | | | |",
    ]


def test_the_table_is_filled_in_where_it_is():
    again = script.filled(TEXT, "paper", "Said.", ["| a | b |"])
    assert again.count("| a | b |") == 1
    assert script.filled(again, "paper", "Said.", ["| a | b |"]) == again
    assert "## Error and seconds" in again
