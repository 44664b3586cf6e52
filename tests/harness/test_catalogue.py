"""Components by name: built in, from installed packages, from plugin files; and settings as suites give them."""

from __future__ import annotations

import datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import harness.catalogue
import problems
import solvers
from harness.catalogue import all_settings, catalogue, import_target, make
from harness.errors import UsageError
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.particles.euler_maruyama import EulerMaruyama
from solvers.solver import Solver

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from solvers.solver import Solver
"""
SOLVER = """
@dataclass(frozen=True, kw_only=True)
class {title}(Solver):
    name: ClassVar[str] = {name!r}
    {field}

    def solve(self, problem, generator, device):
        raise NotImplementedError
"""


def write_plugin(path: Path, name: str = "mine", field: str = "", title: str = "Mine") -> Path:
    path.write_text(HEAD + SOLVER.format(name=name, field=field, title=title))
    return path


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def test_every_built_in_imports_and_has_its_name() -> None:
    for kind, builtin in (("problem", problems.BUILTIN), ("solver", solvers.BUILTIN)):
        assert set(builtin) <= set(catalogue().targets[kind])  # type: ignore[index]
        for name, target in builtin.items():
            assert import_target(target).name == name  # type: ignore[attr-defined]


def test_unknown_name_gets_the_nearest_and_all_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        catalogue().target("solver", "euler-maruyma")
    text = one_line(refused.value)
    assert text.startswith("unknown solver 'euler-maruyma'; did you mean 'euler-maruyama'? (there are: ")
    assert "gaussian-jko" in text
    with pytest.raises(UsageError, match=r"unknown problem 'zzz' \(there are"):
        catalogue().target("problem", "zzz")


def test_plugin_is_found_imported_once_and_named_by_its_path(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugin.py")
    target = catalogue([plugin, plugin]).target("solver", "mine")
    assert target == f"{plugin.resolve()}:Mine"
    assert import_target(target) is import_target(target)
    assert issubclass(import_target(target), Solver)


def test_plugin_brings_what_it_defines_not_what_it_imports(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugin.py")
    plugin.write_text("from solvers.bounds import Oracle\n" + plugin.read_text())
    assert set(catalogue([plugin]).targets["solver"]) == {*catalogue().targets["solver"], "mine"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import package_that_is_not_there", "does not import: ModuleNotFoundError: No module named"),
        ("1 / 0", "does not import: ZeroDivisionError"),
        ("def broken(:", "does not import: SyntaxError"),
        ("answer = 42", "holds no solver, no problem family and no measure with a name"),
    ],
)
def test_plugin_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(text)
    with pytest.raises(UsageError) as refused:
        catalogue([plugin])
    assert said in one_line(refused.value)
    assert str(plugin) in str(refused.value)


@pytest.mark.parametrize("name", ["absent.py", "folder", "notes.txt"])
def test_plugin_that_is_no_python_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x = 1")
    with pytest.raises(UsageError, match="does not import"):
        catalogue([tmp_path / name])


def test_names_are_taken_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both solvers named 'oracle'"):
        catalogue([write_plugin(tmp_path / "one.py", name="oracle")])
    first, second = (write_plugin(tmp_path / file) for file in ("two.py", "three.py"))
    with pytest.raises(UsageError, match="both solvers named 'mine'"):
        catalogue([first, second])


def test_entry_points_join(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[EntryPoint]:
        target = {"wgfbench.solvers": "theirs.solver:Theirs", "wgfbench.problems": "theirs.problem:Posed"}.get(group)
        return [EntryPoint("theirs", target, group)] if target else []

    monkeypatch.setattr(harness.catalogue, "entry_points", installed)
    targets = catalogue().targets
    assert targets["solver"]["theirs"] == "theirs.solver:Theirs"
    assert targets["problem"]["theirs"] == "theirs.problem:Posed"


def test_settings_go_through_json_and_back() -> None:
    made = make(
        "problem",
        OrnsteinUhlenbeck,
        {"instance": "given", "precision": [[2, 0.5], [0.5, 1.0]], "centre": [0, 1.0], "times": [1, 2.5]},
    )
    assert made.precision == ((2.0, 0.5), (0.5, 1.0))
    assert made.times == (1.0, 2.5)
    assert make("problem", OrnsteinUhlenbeck, all_settings(made)) == made


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"particels": 5},
            "has no setting 'particels', did you mean 'particles'? "
            "(there are: dtype, order, particles, preconditioner, step_size)",
        ),
        ({"metric": "hessian"}, "solver 'euler-maruyama': setting 'metric' is called 'preconditioner' now"),
        ({"name": "other"}, "has no setting 'name'"),
        ({"particles": 10.5}, "setting particles = 10.5"),
        ({"particles": "10"}, "setting particles = '10'"),
        ({"particles": True}, "setting particles = True"),
        ({"particles": None}, "setting particles = None"),
        ({"step_size": "small"}, "setting step_size = 'small'"),
        ({"step_size": False}, "setting step_size = False"),
        ({"step_size": datetime.date(2020, 1, 1)}, "setting step_size = datetime.date(2020, 1, 1)"),
        ({"particles": 0}, "particles must be a whole number >= 1, got 0"),
        ({"step_size": -0.1}, "step_size must be a finite number > 0, got -0.1"),
        ({"step_size": float("nan")}, "step_size must be a finite number > 0, got nan"),
        ({"step_size": float("inf")}, "step_size must be a finite number > 0, got inf"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64'; got 'float16'"),
    ],
)
def test_bad_solver_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        make("solver", EulerMaruyama, settings)
    assert said in one_line(refused.value)
    assert "euler-maruyama" in str(refused.value)


@pytest.mark.parametrize("setting", ["scheme", "nodes", "until_rest"])
def test_a_setting_of_a_method_that_came_to_be_two(setting: str) -> None:
    with pytest.raises(UsageError) as refused:
        make("solver", GaussianJKO, {setting: 0})
    said = f"solver 'gaussian-jko': setting {setting!r} is one of solver 'gaussian-variational' now"
    assert one_line(refused.value) == said


EYE = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": [[1.0, 2.0], [2.0, 1.0]], "centre": [0.0, 0.0]}, "A must be positive definite"),
        ({"precision": [[1.0, 0.1], [0.2, 1.0]], "centre": [0.0, 0.0]}, "A must be symmetric"),
        ({"precision": [[1.0, 0.0]], "centre": [0.0]}, "(A) must have shape (1, 1), got shape (1, 2)"),
        ({"precision": [[1.0, 0.0], [0.0]], "centre": [0.0, 0.0]}, "rows of equal length"),
        ({"precision": EYE, "centre": [0.0, 0.0, 0.0]}, "centre (b) must have shape (2,), got shape (3,)"),
        ({"precision": EYE, "centre": [0.0, float("nan")]}, "not finite"),
        ({"precision": [[1.0, 0.0], [0.0, float("inf")]], "centre": [0.0, 0.0]}, "not finite"),
        ({"precision": EYE, "centre": [0.0, 0.0], "inverse_temperature": 0.0}, "must be a finite number > 0, got 0.0"),
        ({"precision": EYE, "centre": [0.0, 0.0], "inverse_temperature": -1.0}, "must be a finite number > 0, got -1"),
        ({"precision": EYE, "centre": [0.0, 0.0], "times": []}, "at least one time"),
        ({"precision": EYE, "centre": [0.0, 0.0], "times": [1.0, 0.5]}, "times must increase"),
        ({"precision": EYE}, "needs precision (A) and centre (b)"),
    ],
)
def test_bad_problem_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        make("problem", OrnsteinUhlenbeck, {"instance": "given"} | settings)
    assert said in one_line(refused.value)


def test_a_setting_without_default_is_asked_for(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "plugin.py", field="scale: float")
    component = import_target(catalogue([plugin]).target("solver", "mine"))
    with pytest.raises(UsageError, match=r"solver 'mine' cannot be made: .* 'scale'"):
        make("solver", component, {})
    assert make("solver", component, {"scale": 2}).scale == 2.0
