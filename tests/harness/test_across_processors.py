"""What a cell keeps under the plainest instructions is what it keeps under this processor's best.

The bounds are those of docs/reproducibility.md. Cells have streams of their own, which RESEED leaves alone.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.compare import ROUNDING
from processors import available

Figures = dict[str, tuple[float, float]]

OU = {"use": "ornstein-uhlenbeck", "dims": "1,3"}
POSTERIOR = {"use": "logistic-regression", "settings": {"prior_shape": 4.0, "prior_rate": 4.0}}
MIXTURE = {"use": "gaussian-mixture", "dims": "2", "settings": {"times": [1.0]}}
OBSERVED = {"instance": "random", "times": [1.0], "observation_times": [0.5, 1.0]}
PATH = {"use": "nonlinear-filtering", "dims": "1", "settings": OBSERVED}
TRAINED = {"iterations": 30, "width": 8, "batch_size": 128, "pool_size": 512}
DETERMINISTIC = [
    {
        "problems": [OU, {"use": "double-well", "settings": {"times": [0.25, 1.0]}}],
        "solvers": [
            {"use": "chang-cooper", "settings": {"cells": 300}},
            {"use": "quantile-jko", "settings": {"nodes": 100}},
            {"use": "gaussian-jko", "grid": {"order": [1, 2]}},
            {"use": "euler-maruyama", "settings": {"particles": 500}},
        ],
    },
    {"problems": [POSTERIOR], "solvers": [{"use": "laplace"}]},
    {"problems": [PATH], "solvers": [{"use": "chang-cooper", "settings": {"cells": 300}}]},
]
RANDOM = [
    {
        "problems": [OU],
        "solvers": [
            {"use": "icnn-jko", "settings": {"step_size": 0.1, **TRAINED}},
            {"use": "proximal-recursion", "settings": {"particles": 500, "step_size": 0.1, "regularisation": 0.05}},
        ],
    },
    {
        "problems": [MIXTURE],
        "solvers": [
            {"use": "mala", "settings": {"chains": 500, "warmup": 50}},
            {"use": "svgd", "settings": {"particles": 500, "iterations": 10}},
        ],
    },
    {"problems": [PATH], "solvers": [{"use": "bootstrap-filter", "settings": {"particles": 500}}]},
]
PROGRAM = """
import json, sys
from pathlib import Path
from solvers.reproducibility import hold
hold()
import torch
torch.set_num_threads(1)
from harness.catalogue import catalogue
from harness.cell import run_in_child
from harness.plan import Selection, plan
from harness.suite import Suite
figures = {}
for table in json.loads(sys.argv[1]):
    for cell in plan(Suite.model_validate(table), Selection(), catalogue()):
        (outcome,) = run_in_child([cell])
        assert outcome.status in ("ok", "skipped"), (cell, outcome.traceback)
        for one in outcome.measurements:
            key = f"{cell.problem.name} {cell.dim}: {cell.solver.label}, {one.metric} at {one.t}"
            figures[key] = one.value, one.standard_error
Path(sys.argv[2]).write_text(json.dumps(figures))
"""


def start(tables: Sequence[dict[str, Any]], environment: dict[str, str], path: Path) -> subprocess.Popen[str]:
    suites = [{"title": "", "seeds": 1, "draws": 1000, "dims": "1"} | table for table in tables]
    command = [sys.executable, "-c", PROGRAM, json.dumps(suites), str(path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Figures, Figures]:
    """Return the figures of all cells under the plainest instructions that there are, and as they come."""
    settings, _ = available()
    if len(settings) < 2:
        pytest.skip("this processor has one set of instructions alone")
    folder = tmp_path_factory.mktemp("sides")
    paths = folder / "plain.json", folder / "own.json"
    children = [
        start(DETERMINISTIC + RANDOM, setting.applied(), path)
        for setting, path in zip((settings[1], settings[0]), paths, strict=True)
    ]
    for child in children:
        _, errors = child.communicate(timeout=600)
        assert child.returncode == 0, errors
    plain, own = (json.loads(path.read_text()) for path in paths)
    assert plain.keys() == own.keys()
    return plain, own


def names(solvers: set[str], figures: Figures) -> list[str]:
    return [name for name in figures if name.split(": ")[1].split(",")[0].split()[0] in solvers]


def test_what_is_worked_out_in_float64_agrees_to_the_bound(sides: tuple[Figures, Figures]) -> None:
    plain, own = sides
    exact = {"oracle", "initial", "chang-cooper", "quantile-jko", "gaussian-jko", "gaussian-variational", "laplace"}
    kept = names(exact, own)
    assert len({name.split(", ")[1].split()[0] for name in kept}) > 15, "measures are missing"
    for name in kept:
        assert abs(plain[name][0] - own[name][0]) <= ROUNDING * max(1.0, abs(own[name][0])), name
    # Whoever gets this far has run two sets of instructions, not one twice.
    assert any(plain[name] != own[name] for name in kept)


@pytest.mark.parametrize(
    "solvers",
    [
        {"euler-maruyama", "bootstrap-filter"},  # noise in float32
        {"icnn-jko", "proximal-recursion", "svgd", "mala"},
    ],
)
def test_the_rest_agrees_within_the_monte_carlo_error(sides: tuple[Figures, Figures], solvers: set[str]) -> None:
    plain, own = sides
    kept = [name for name in names(solvers, own) if own[name][1] > 0]
    assert len(kept) > 10
    for name in kept:
        error = math.hypot(plain[name][1], own[name][1])
        assert abs(plain[name][0] - own[name][0]) <= max(ROUNDING, error), name
