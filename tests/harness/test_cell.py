"""Cells solved in this process: what a checkpoint that is there before them does to them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.catalogue import catalogue
from harness.cell import run_in_child
from harness.checkpoint_claim import claim, claimed, place
from harness.components import Cell
from harness.plan import Selection, plan
from harness.suite import Suite
from solvers.checkpoint import Checkpoint

SMALL = {"step_size": 0.1, "iterations": 3, "batch_size": 32, "width": 4, "pool_size": 64}


def trained() -> Cell:
    """Return a cell whose solver keeps its steps."""
    suite = Suite.model_validate(
        {
            "title": "test",
            "draws": 100,
            "problems": [{"use": "ornstein-uhlenbeck", "settings": {"instance": "random", "times": [0.1, 0.2]}}],
            "solvers": [{"use": "icnn-jko", "settings": SMALL}],
        }
    )
    (cell,) = [each for each in plan(suite, Selection(dims="2"), catalogue()) if each.solver.name == "icnn-jko"]
    return cell


def test_the_checkpoint_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    cell = trained()
    (plain,) = run_in_child([cell])
    folder = tmp_path / "kept"
    Checkpoint(folder, "ICNNJKO(step_length=0.1)").save(1, torch.zeros(3), {"unknown": 1})
    (begun,) = run_in_child([cell], folder)
    assert (begun.status, begun.reason) == ("ok", None)
    assert begun.measurements == plain.measurements
    assert not folder.exists()


def test_two_processes_that_run_one_cell_keep_out_of_each_others_way(tmp_path: Path) -> None:
    cell, folder = trained(), tmp_path / "kept"
    with claimed(folder) as own:
        assert own == folder
        Checkpoint(folder, "another process").save(1, torch.zeros(3), {})
        kept = sorted(path.name for path in folder.iterdir())
        (outcome,) = run_in_child([cell], folder)
        assert (outcome.status, outcome.reason) == ("ok", None)
        assert sorted(path.name for path in folder.iterdir()) == kept
    assert not folder.exists()
    (alone,) = run_in_child([cell], folder)
    assert outcome.measurements == alone.measurements
    assert not folder.exists()


def test_a_claim_that_was_removed_is_none_on_the_folder_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = claim(folder)
    assert first is not None
    assert claim(folder) is None
    place(folder).unlink()
    second = claim(folder)
    assert second is not None
    assert claim(folder) is None
    os.close(second)
    third = claim(folder)
    assert third is not None
    os.close(third)
    os.close(first)


def test_what_an_interrupted_process_kept_is_there_for_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()

    def interrupted() -> None:
        with claimed(folder):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert folder.exists()
    with claimed(folder) as own:
        assert own is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["problem", "solver"])
def test_a_component_of_another_version_than_planned_gives_no_figures(kind: str) -> None:
    """As on a node of a cluster whose code is older: its figures would stand under another version's key."""
    cell = trained()
    (outcome,) = run_in_child([replace(cell, **{kind: replace(getattr(cell, kind), version=99)})])
    assert outcome.status == "error"
    assert outcome.reason is not None
    assert f"{kind} {getattr(cell, kind).name!r} is version" in outcome.reason
    assert "and was planned as version 99: plan again" in outcome.reason
