"""Small things, each with its whole kind: times, steps, numbers of other libraries, outliers, helper files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.catalogue import catalogue, import_file
from harness.cell import plain_value, run_in_child
from harness.errors import UsageError
from harness.plan import Selection, plan
from harness.suite import Suite
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.validation import TIMES_APART, require_times
from solvers.solver import STEP_ROUNDING, step_counts

Command = Callable[..., Any]


@pytest.mark.parametrize(
    "times", [(0.3, 0.1 + 0.2), (0.1, 1.0, 1.0 + 1e-15), (0.7, 0.7 * (1 + 1e-9)), (1e-9, 1e-9 + 1e-24)]
)
def test_times_that_differ_by_rounding_are_refused(times: tuple[float, ...]) -> None:
    one = torch.eye(1, dtype=torch.float64)
    law = Gaussian(torch.zeros(1, dtype=torch.float64), one)
    for make in (
        lambda: require_times("owner", times),
        lambda: GradientFlow(law, FreeEnergy(Quadratic(one, law.mean), Entropy()), times),
    ):
        with pytest.raises(ValueError, match=r"are one, written differently"):
            make()


def test_times_that_are_apart_are_reached_one_after_the_other() -> None:
    require_times("owner", (1.0, 1.0 + 2 * TIMES_APART, 2.0))
    assert step_counts((0.1, 0.2, 0.3), 0.1) == (1, 2, 3)
    # Two times may not be within the reach of one step, from both its sides.
    assert 2 * STEP_ROUNDING < TIMES_APART
    with pytest.raises(ValueError, match="are one for step_size 1"):
        step_counts((1 - 0.9e-9, 1 + 0.9e-9), 1.0)


@pytest.mark.parametrize(("times", "step"), [((0.3,), 0.1 + 0.2), ((0.1 + 0.2,), 0.3), ((0.7,), 0.7 * (1 + 5e-10))])
def test_a_step_as_long_as_the_horizon_but_for_rounding(times: tuple[float, ...], step: float) -> None:
    assert step_counts(times, step) == (1,)
    with pytest.raises(ValueError, match="larger than the horizon"):
        step_counts(times, step * 1.001)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(3), 3),
        (np.int32(-3), -3),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array(4), 4),
        (torch.tensor(2), 2),
        (torch.tensor(0.25, dtype=torch.float64), 0.25),
        (7, 7),
        (0.5, 0.5),
        ("text", "text"),
    ],
)
def test_diagnostics_are_plain_numbers(value: Any, plain: float | int | str) -> None:
    found = plain_value(value)
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize("value", [None, [1, 2], {}, object()])
def test_what_is_no_diagnostic(value: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        plain_value(value)


NUMBERS = '''
"""A solver that gives its numbers as NumPy has them."""
from dataclasses import dataclass
import numpy as np
from solvers.estimates import Exact
from solvers.solver import Cost, Solution, Solver

@dataclass(frozen=True, kw_only=True)
class Numbers(Solver):
    """The initial law."""
    name = "numbers"
    def solve(self, problem, generator, device):
        estimates = tuple(Exact(problem.flow.initial) for _ in problem.flow.times)
        cost = Cost(np.float64(0.5), np.int64(12), np.float32(0.0))
        found = {"count": np.int64(3), "residual": np.float64(0.25), "single": np.float32(0.5)}
        return Solution(problem.flow.times, estimates, cost, found, {"residual": np.ones(3, dtype=np.float32)})
'''


def test_a_solver_may_give_its_numbers_as_numpy_has_them(command: Command, tmp_path: Path, plugin: Path) -> None:
    from harness import load

    (tmp_path / "numbers.py").write_text(NUMBERS)
    (tmp_path / "s.toml").write_text('title = "t"\n[[problems]]\nuse = "standing"\n[[solvers]]\nuse = "numbers"\n')
    ran = command("run", "s.toml", "--plugin", plugin, "--plugin", "numbers.py", "--store", "s.sqlite")
    assert ran.code == 0, ran.err
    row = load("s.sqlite").set_index("label").loc["numbers"]
    assert row["diagnostics"] == '{"count": 3, "residual": 0.25, "single": 0.5}'
    assert (row["gradient_evaluations"], row["setup_seconds"]) == (12, 0.5)


@pytest.mark.parametrize("outlier", [40.0, -400.0])
def test_an_outlier_many_deviations_away_is_no_error_of_the_oracle(outlier: float) -> None:
    suite = Suite.model_validate(
        {
            "title": "t",
            "draws": 200,
            "problems": [
                {
                    "use": "nonlinear-filtering",
                    "settings": {
                        "instance": "given",
                        "times": [1.0],
                        "observation_times": [0.5],
                        "values": [[outlier]],
                    },
                }
            ],
            "solvers": [{"use": "bootstrap-filter", "settings": {"particles": 50, "step_size": 0.1}}],
        }
    )
    ended = {}
    for cell in plan(suite, Selection(dims="1"), catalogue()):
        (ended[cell.solver.label],) = run_in_child([cell])
    assert {label: outcome.status for label, outcome in ended.items()} == {
        "oracle": "skipped",
        "oracle particles=50": "skipped",
        "initial": "ok",
        "bootstrap-filter": "diverged",
    }
    assert "lies where the grid has no mass" in str(ended["oracle"].reason)
    assert ended["initial"].measurements == ()


HELPED = """
import helper, helpers.deep
from helper import STEP
from problems.problem import ProblemFamily
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Helped(ProblemFamily):
    name = "helped"
    step: float = STEP + helpers.deep.MORE
    def build(self, dim, seed, generator):
        import late
        return late.X
"""


def test_a_plugin_imports_the_files_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "mine"
    (folder / "helpers").mkdir(parents=True)
    for name, text in (
        ("helped.py", HELPED),
        ("helper.py", "STEP = 1"),
        ("late.py", "X = 3"),
        ("helpers/__init__.py", ""),
        ("helpers/deep.py", "MORE = 2"),
    ):
        (folder / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for name in ("helper", "helpers", "helpers.deep", "late"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = import_file(Path("mine/helped.py"))
    assert module.Helped().step == 3
    assert module.Helped().build(1, 0, None) == 3
    for name in ("helper", "helpers", "helpers.deep", "late"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_helpers_of_two_plugins_do_not_take_each_others_place(tmp_path: Path) -> None:
    """In a process of its own: what is imported once stays."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text(
            HELPED.replace(", helpers.deep", "").replace(" + helpers.deep.MORE", "")
        )
        (tmp_path / folder / "helper.py").write_text("STEP = 1")
    script = (
        "from pathlib import Path; from harness.catalogue import plugin_components\n"
        "from harness.errors import UsageError\n"
        "plugin_components(Path('a/plugin.py'))\n"
        "try: plugin_components(Path('b/plugin.py'))\n"
        "except UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "helper.py beside it is hidden by another module 'helper'" in done.stdout


def test_a_plugin_that_hides_behind_a_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")
    (tmp_path / "plugin.py").write_text("import json")
    before = list(sys.path)
    with pytest.raises(UsageError, match=r"json\.py beside it is hidden by another module 'json'"):
        catalogue([tmp_path / "plugin.py"])
    assert sys.path == before
