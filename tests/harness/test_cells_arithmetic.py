"""Cells are held to one code path of matrix products, whatever started them, and their run says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness import load
from solvers.reproducibility import BEST_CODE_PATH, VARIABLE

PLUGIN = f"""
import os
from solvers.bounds import Oracle

class Asking(Oracle):
    name = "asking"

    def solve(self, problem, generator, device):
        assert os.environ.get("{VARIABLE}") == "{BEST_CODE_PATH}", "not held"
        return super().solve(problem, generator, device)
"""
SUITE = """
title = "held"
dims = "1"
draws = 100
[[problems]]
use = "ornstein-uhlenbeck"
[[solvers]]
use = "asking"
"""


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_cells_are_held(
    wgfbench: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "asking.py").write_text(PLUGIN)
    (tmp_path / "held.toml").write_text(SUITE)
    done = wgfbench("run", "held.toml", "--plugin", "asking.py")
    assert done.returncode == 0, done.stdout + done.stderr
    frame = load(tmp_path / "results" / "wgfbench.sqlite")
    assert frame["arithmetic"].nunique() == 1
    capability = torch.backends.cpu.get_cpu_capability()
    assert frame["arithmetic"].iloc[0].startswith(f"{capability} instructions, {VARIABLE}={BEST_CODE_PATH}")
