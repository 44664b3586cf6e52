"""Cells solved in this process: what a checkpoint that is there before them does to them."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.catalogue import catalogue
from harness.cell import run_in_child
from harness.plan import Selection, plan
from harness.suite import Suite
from solvers.checkpoint import Checkpoint

SMALL = {"step_size": 0.1, "iterations": 3, "batch_size": 32, "width": 4, "pool_size": 64}


def test_the_checkpoint_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    suite = Suite.model_validate(
        {
            "title": "test",
            "draws": 100,
            "problems": [{"use": "ornstein-uhlenbeck", "settings": {"instance": "random", "times": [0.1, 0.2]}}],
            "solvers": [{"use": "icnn-jko", "settings": SMALL}],
        }
    )
    (cell,) = [each for each in plan(suite, Selection(dims="2"), catalogue()) if each.solver.name == "icnn-jko"]
    (plain,) = run_in_child([cell])
    folder = tmp_path / "kept"
    Checkpoint(folder, "ICNNJKO(step_length=0.1)").save(1, torch.zeros(3), {"unknown": 1})
    (begun,) = run_in_child([cell], folder)
    assert (begun.status, begun.reason) == ("ok", None)
    assert begun.measurements == plain.measurements
    assert not folder.exists()
