"""The bench from Python: the words of the package, the figures of a sweep, and errors as on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, KeysView
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import harness
from harness import load, measure, problem, solve, sweep
from harness.arguments import numbers
from harness.errors import UsageError
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.symkl import SymKL
from harness.parsing import parse_seeds
from problems.double_well import DoubleWell
from problems.problem import Problem
from solvers.estimates import Particles
from solvers.one_dimensional.chang_cooper import ChangCooper
from solvers.particles.euler_maruyama import EulerMaruyama
from solvers.solver import Diverged, Solution, Solver

WORDS = ("problem", "solve", "measure", "sweep", "load")


@dataclass(frozen=True, kw_only=True)
class Infinite(Solver):
    """Answers with what is not finite."""

    name: ClassVar[str] = "infinite"

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        points = torch.full((10, problem.flow.dim), torch.inf, dtype=torch.float64)
        return Solution(problem.flow.times, tuple(Particles(points) for _ in problem.flow.times))


@dataclass(frozen=True)
class FarthestMean(Measure):
    """How far the mean is from 0."""

    name: ClassVar[str] = "farthest-mean"

    def unsuited(self, subject: Subject) -> str | None:
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        return Figure(float(subject.estimate.moments(generator)[0].abs().max()), 0.0, "mean")


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import harness.measure",
        "from harness.measure.measure import Measure",
        "from harness import measure, sweep; import harness.measure.sides",
        "import harness.sweeping, harness.cli, harness.in_python",
    ],
)
def test_the_words_are_functions_whatever_was_imported(before: str) -> None:
    script = (
        f"{before}\nfrom types import FunctionType\nfrom harness import problem, solve, measure, sweep, load\n"
        "import harness.measure.symkl\n"
        "from harness.measure.sides import two_sides\n"
        "import harness\n"
        "for each in (problem, solve, measure, sweep, load, harness.measure, harness.sweep):\n"
        "    assert isinstance(each, FunctionType), each\n"
        "assert harness.measure is measure\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    for word in WORDS:
        assert isinstance(getattr(harness, word), FunctionType)
        assert word in dir(harness)


def test_importing_the_words_imports_nothing_heavy() -> None:
    script = "import sys, harness; print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_figures_are_those_of_a_sweep(tmp_path: Path) -> None:
    """Bit for bit, with the floor: of particles, of a density, and of a filter."""
    settings = {"euler-maruyama.particles": 500, "bootstrap-filter.particles": 500}
    store = tmp_path / "s.sqlite"
    suite = tmp_path / "s.toml"
    suite.write_text(
        'title = "t"\ndraws = 512\nseeds = "1:1"\ndims = 1\n'
        '[[problems]]\nuse = "double-well"\n[[problems]]\nuse = "linear-filtering"\n'
        '[[solvers]]\nuse = "euler-maruyama"\nproblems = ["double-well"]\n'
        '[[solvers]]\nuse = "chang-cooper"\nproblems = ["double-well"]\n'
        '[[solvers]]\nuse = "bootstrap-filter"\nproblems = ["linear-filtering"]\n'
    )
    frame = sweep(suite, settings=settings, jobs=2, store=store)
    assert frame["status"].eq("ok").all()
    assert load(store).equals(frame)
    cases = [("double-well", "euler-maruyama", {"particles": 500}), ("double-well", "chang-cooper", {})]
    for family, solver, given in [*cases, ("linear-filtering", "bootstrap-filter", {"particles": np.int64(500)})]:
        table = measure(solve(problem(family, dim=1, seed=1), solver, **given), draws=512)
        rows = frame[frame["problem"].eq(family) & frame["solver"].eq(solver)].sort_values(["t", "metric"])
        found = table.sort_values(["t", "measure"])
        assert found["measure"].tolist() == rows["metric"].tolist()
        for column in ("t", "value", "standard_error", "floor"):
            np.testing.assert_array_equal(found[column].to_numpy(), rows[column].to_numpy())


def test_names_classes_and_objects_are_alike() -> None:
    posed = [problem("double-well", height=2.0), problem(DoubleWell, height=2), problem(DoubleWell(height=2.0))]
    given = [solve(posed[0], "chang-cooper"), solve(posed[1], ChangCooper), solve(posed[2], ChangCooper())]
    tables = [measure(each, "symkl", draws=64) for each in given]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert repr(posed[0]) == "double-well, D = 1, seed 0, t = 0.25, 1, 4"
    assert repr(given[0]).startswith("chang-cooper on double-well, D = 1, seed 0, t = 0.25, 1, 4: ")
    assert problem("ornstein-uhlenbeck", times=np.array([0.5])).problem.flow.times == (0.5,)


def test_measures_and_numbers_may_be_objects() -> None:
    one = solve(problem("double-well", seed=1), "chang-cooper", cells=np.int64(200), device="cpu")
    same = solve(
        problem("double-well", np.int64(1), np.int64(1)), "chang-cooper", cells=200, device=torch.device("cpu")
    )
    asked = measure(same, SymKL, draws=np.int64(100))
    pd.testing.assert_frame_equal(measure(one, "symkl", draws=100), asked)
    pd.testing.assert_frame_equal(measure(one, SymKL(), draws=100), asked)


@pytest.mark.parametrize(
    "times",
    [
        (0.5, 0.9),
        np.array([0.5, 0.9]),
        np.array([0.5, 0.9], dtype=np.float32),
        torch.tensor([0.5, 0.9]),
        [np.float32(0.5), torch.tensor(0.9)],
        pd.Series([0.5, 0.9], dtype="float32"),
        (each / 10 for each in (5, 9)),
        {0.5: "a", 0.9: "b"}.keys(),
    ],
    ids=lambda times: type(times).__name__,
)
def test_numbers_are_what_they_are_written_as_whatever_holds_them(times: Any) -> None:
    if isinstance(times, KeysView):  # a set by its class, whose order means nothing
        with pytest.raises(UsageError, match="setting times"):
            problem("ornstein-uhlenbeck", times=times)
        return
    assert problem("ornstein-uhlenbeck", times=times).problem.flow.times == (0.5, 0.9)


def test_settings_in_single_precision_are_their_shortest_decimals() -> None:
    posed = problem("ornstein-uhlenbeck", times=range(1, 3))
    assert posed.problem.flow.times == (1.0, 2.0)
    plain = solve(posed, "euler-maruyama", particles=20, step_size=0.01, dtype="float64")
    for step_size, dtype in (
        (np.float32(0.01), np.float64), (torch.tensor(0.01), torch.float64), (np.float16(0.01), np.dtype("float64")),
        (torch.tensor(0.01, dtype=torch.float64), "float64"),
    ):  # fmt: skip
        same = solve(posed, "euler-maruyama", particles=20, step_size=step_size, dtype=dtype)
        assert same.component == plain.component
    an_object = EulerMaruyama(particles=20, step_size=np.float32(0.01), dtype="float64")  # type: ignore[arg-type]
    assert solve(posed, an_object).component == plain.component
    matrix = torch.tensor([[0.3, 0.1], [0.1, 0.7]])
    given = problem("ornstein-uhlenbeck", instance="given", precision=matrix, centre=np.zeros(2, dtype=np.float32))
    assert json.loads(given.component.settings)["precision"] == [[0.3, 0.1], [0.1, 0.7]]


@pytest.mark.parametrize(
    "seeds", [[0, 1], range(2), np.array([0, 1]), torch.tensor([0, 1]), (each for each in (0, 1)), np.int64(2), "2"],
    ids=lambda seeds: type(seeds).__name__,
)  # fmt: skip
def test_seeds_and_dims_come_in_whatever_holds_numbers(seeds: Any, tmp_path: Path) -> None:
    found = numbers(seeds)
    assert found is not None
    assert parse_seeds(found) == parse_seeds("2")
    assert numbers(np.array([1])) == numbers([1]) == numbers(torch.tensor([1])) == "1:1"


def test_classes_of_this_file_need_no_plugin() -> None:
    flow = problem("double-well", times=[0.5])
    found = measure(solve(flow, "euler-maruyama", particles=200), FarthestMean, "bures-w2", draws=64)
    assert found["measure"].tolist() == ["farthest-mean", "bures-w2"]
    assert (found["floor"] > 0).all()
    with pytest.raises(Diverged, match=r"at t = 0\.5"):
        solve(flow, Infinite)


def test_plugins_are_named_as_on_the_command_line(plugin: Path) -> None:
    answer = solve(problem("standing", plugin=plugin), "shifted", plugin=[plugin], scale=0.5)
    assert measure(answer, "symkl-gaussian")["value"].gt(0).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: problem("double-wel"), "unknown problem 'double-wel'; did you mean 'double-well'?"),
        (lambda: problem("double-well", 2), "double-well has no dimension 2 (there are: 1)"),
        (lambda: problem("double-well", dim=1.0), "dim must be a whole number >= 1, got 1.0"),
        (lambda: problem("double-well", seed=-1), "seed must be a whole number >= 0, got -1"),
        (lambda: problem("double-well", hight=1.0), "has no setting 'hight', did you mean 'height'?"),
        (lambda: problem("double-well", times="1"), "setting times = '1'"),
        (lambda: problem("double-well", times={0.5}), "setting times = {0.5}: a number, a text, true, false or a list"),
        (lambda: problem("double-well", height=timedelta(1)), "a list of such is meant; not a timedelta"),
        (lambda: problem(ChangCooper), "a problem is meant, by its name, its class or an object of it"),
        (lambda: problem("logistic-regression", folder="nowhere"), "'nowhere' is not a folder"),
        (lambda: solve("double-well", "chang-cooper"), "solve takes an instance that `problem` returns, got str"),
        (lambda: solve(problem("double-well"), "chang-coper"), "did you mean 'chang-cooper'?"),
        (lambda: solve(problem("double-well"), "mala"), "mala does not apply to double-well: stationary problems only"),
        (lambda: solve(problem("double-well"), "euler-maruyama", step_size=0.3), "euler-maruyama on double-well: time"),
        (lambda: solve(problem("double-well"), "euler-maruyama", step_size=float(np.float32(0.01))),
         "time 0.25 is not a multiple of step_size 0.009999999776482582 (which is 0.01 in float32)"),
        (lambda: solve(problem("double-well"), "euler-maruyama", step_size=0.25000001),
         "time 0.25 is not a multiple of step_size 0.25000001"),
        (lambda: solve(problem("double-well"), "euler-maruyama", dtype=float), "dtype"),
        (lambda: solve(problem("double-well"), "euler-maruyama", dtype=np.float16), "got 'float16'"),
        (lambda: solve(problem("double-well"), "chang-cooper", device="tpu"), "device must be cpu, cuda, cuda:N"),
        (lambda: measure(problem("double-well")), "measure takes an answer that `solve` returns, got Instance"),
        (lambda: measure(solve(problem("double-well"), "initial"), "symlk"), "did you mean 'symkl'?"),
        (lambda: measure(solve(problem("double-well"), "initial"), "mode-weights"), "mode-weights does not suit"),
        (lambda: measure(solve(problem("double-well"), "initial"), draws=1), "draws must be a whole number >= 2"),
        (lambda: measure(solve(problem("double-well"), "initial"), ["symkl"]), "a measure is meant, by its name, its"),
        (lambda: measure(solve(problem("double-well"), "initial"), None), "an object of it; got None"),
        (lambda: measure(solve(problem("ornstein-uhlenbeck", 2), "euler-maruyama", particles=1)),
         "no measure suits euler-maruyama on ornstein-uhlenbeck (symkl: "),
        (lambda: problem("nonlinear-filtering", seed=99), "the published instances are 0 to 14, got 99"),
        (lambda: problem("nonlinear-filtering", instance="given", observation_times=[1.0], values=[[None]]), "is NaN"),
        (lambda: problem("gaussian-mixture", instance="given", centres=[[0.0] * 3], truth="marginal"), "dimension 3"),
        (lambda: sweep("ou", timeout=60), "timeout must be a duration > 0 such as 30s, 10m or 1.5h; got '60'"),
        (lambda: sweep("ou", memory=4), "memory must be a size > 0 such as 500M or 4G; got '4'"),
        (lambda: sweep("ou", solver=dict), "solver must be a name or a list of names, got <class 'dict'>"),
        (lambda: sweep("ouu"), "unknown suite 'ouu'; did you mean 'ou'?"),
        (lambda: sweep("ou", jobs=0), "jobs must be a whole number >= 1, got 0"),
        (lambda: sweep("ou", seeds=0), "seeds must be a count >= 1"),
        (lambda: sweep("ou", settings={"step_size": 0.1}), "settings must be named NAME.SETTING such as"),
        (lambda: sweep("ou", settings={"euler-maruyama.stepsize": 0.1}), "did you mean 'step_size'?"),
        (lambda: sweep("ou", backend="slurm"), "unknown backend 'slurm'"),
        (lambda: load("nowhere.sqlite"), "there is no store at 'nowhere.sqlite'"),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_command_line(
    call: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        call()
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_sweeps_needs_no_guard(tmp_path: Path) -> None:
    """Its cells are processes of their own, which must not run the script again."""
    script = tmp_path / "study.py"
    script.write_text(
        "print('once', flush=True)\nfrom harness import sweep\n"
        "frame = sweep('demo', problem='double-well', solver='chang-cooper', seeds=1)\n"
        "print(sorted(set(frame['label'])))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "once\n['chang-cooper', 'initial', 'oracle']\n"


def test_an_answer_plots_itself() -> None:
    on_the_line = solve(problem("double-well"), "chang-cooper").plot()
    titles = [axes.get_title() for axes in on_the_line.axes]
    assert titles == ["t = 0.25", "t = 1", "t = 4", ""]
    assert on_the_line.axes[0].get_legend_handles_labels()[1] == ["exact", "chang-cooper"]
    assert (on_the_line.axes[-1].get_xlabel(), on_the_line.axes[-1].get_ylabel()) == ("time t", "symkl")
    line = on_the_line.axes[0].lines[0].get_xydata()
    assert np.trapezoid(line[:, 1], line[:, 0]) == pytest.approx(1.0, abs=1e-3)
    in_the_plane = solve(problem("ornstein-uhlenbeck", dim=4, times=[0.5]), "euler-maruyama", particles=300).plot()
    assert [axes.get_xlabel() for axes in in_the_plane.axes] == ["first principal axis"]
    exact, draws = (each.get_offsets() for each in in_the_plane.axes[0].collections)
    assert len(draws) == 300
    assert len(exact) == 500
    assert solve(problem("double-well"), "initial").plot("bures-w2").axes[-1].get_ylabel() == "bures-w2"
    at_one_time = solve(problem("double-well", times=[1.0]), "initial")
    assert len(at_one_time.plot().axes) == 1
    assert at_one_time.plot("bures-w2").axes[-1].get_ylabel() == "bures-w2"
    with pytest.raises(UsageError, match="did you mean 'symkl'"):
        at_one_time.plot("symkll")


def test_a_truth_that_is_not_known_leaves_no_floor_and_a_plot() -> None:
    times, values = [0.5, 1.0], [[0.1, 0.2], [0.3, 0.1]]
    settings = {"potential": "ring", "times": [1.0], "observation_times": times, "values": values}
    flow = problem("nonlinear-filtering", dim=2, instance="given", **settings)
    answer = solve(flow, "bootstrap-filter", particles=400)
    table = measure(answer)
    assert table["floor"].isna().all()
    assert len(answer.plot().axes[0].collections) == 1


def test_a_notebook_shows_progress_and_gets_the_frame(tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    shown: list[tuple[str, str]] = []

    def note(message: dict) -> None:
        if message["msg_type"] in ("display_data", "update_display_data"):
            shown.append((message["msg_type"], message["content"]["data"].get("text/html", "")))

    try:
        code = (
            "from harness import sweep\n"
            "frame = sweep('demo', problem='double-well', solver='chang-cooper', seeds=2)\n"
            "assert set(frame['seed']) == {0, 1}"
        )
        reply = client.execute_interactive(code, timeout=240, output_hook=note)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    bars = [(kind, text) for kind, text in shown if "<progress" in text]
    assert bars[0][0] == "display_data"
    assert {kind for kind, _ in bars[1:]} == {"update_display_data"}
    # Two seeds of the solver, of exact draws and of the initial law.
    assert 'max="6" value="6"' in bars[-1][1]
    assert "6 of 6 cells, 0 failed" in bars[-1][1]
