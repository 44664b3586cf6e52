"""Plans: which cells a suite means, what their keys depend on, and the bounds that are always there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import solvers
from harness.catalogue import catalogue
from harness.components import Cell
from harness.errors import UsageError
from harness.plan import Selection, one_cell, plan
from harness.suite import Suite
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from solvers.particles.euler_maruyama import EulerMaruyama

EM = {"use": "euler-maruyama", "settings": {"particles": 100}}


def suite(**keys: Any) -> Suite:
    table = {"title": "test", "problems": [{"use": "ornstein-uhlenbeck"}], "solvers": [EM]}
    made = Suite.model_validate(table | keys)
    made.check()
    return made


def planned(selection: Selection | None = None, plugins: tuple[Path, ...] = (), **keys: Any) -> list[Cell]:
    return plan(suite(**keys), selection or Selection(), catalogue(plugins))


def labels(cells: list[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.solver.label for cell in cells))


def em_key(**keys: Any) -> str:
    (cell,) = (cell for cell in planned(**keys) if cell.solver.name == "euler-maruyama")
    return cell.key


def refusal(**keys: Any) -> str:
    with pytest.raises(UsageError) as refused:
        planned(**keys)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_plan_is_the_grid_of_problems_dimensions_seeds_and_solvers() -> None:
    cells = planned(dims="1:3", seeds=2, solvers=[{"use": "euler-maruyama", "grid": {"particles": [10, 20]}}])
    assert labels(cells) == [
        "initial", "oracle", "oracle particles=10", "oracle particles=20",
        "euler-maruyama particles=10", "euler-maruyama particles=20",
    ]  # fmt: skip
    assert [(cell.dim, cell.seed) for cell in cells[::6]] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert len(cells) == 36 == len({cell.key for cell in cells})


FAN = {"use": "gaussian-mixture", "settings": {"instance": "fan2022"}}


def test_a_suite_runs_in_no_dimension_that_it_does_not_name() -> None:
    """A problem that is known in eight dimensions ran in all of them, whatever the suite said."""
    assert {cell.dim for cell in planned(problems=[FAN])} == {2, 4, 8, 17, 24, 32, 64, 128}
    assert {cell.dim for cell in planned(problems=[FAN], dims="4,8")} == {4, 8}
    assert {cell.dim for cell in planned(problems=[FAN], dims="1:8")} == {2, 4, 8}
    assert {cell.dim for cell in planned(problems=[FAN], dims=4)} == {4}
    assert {cell.dim for cell in planned(Selection(dims="2"), problems=[FAN], dims="4,8")} == {2}
    assert {cell.dim for cell in planned(problems=[{"use": "double-well"}], dims="4,8")} == {1}
    mixed = planned(problems=[FAN, {"use": "ornstein-uhlenbeck"}], dims="4,5")
    assert {(cell.problem.name, cell.dim) for cell in mixed} == {
        ("gaussian-mixture", 4), ("ornstein-uhlenbeck", 4), ("ornstein-uhlenbeck", 5),
    }  # fmt: skip


def test_bounds_are_planned_whatever_is_selected() -> None:
    cells = planned(Selection(solvers=["gaussian-jko"]))
    assert labels(cells) == ["initial", "oracle", "gaussian-jko"]
    cells = planned(Selection(solvers=["euler-maruyama"]))
    assert labels(cells) == ["initial", "oracle", "oracle particles=100", "euler-maruyama"]
    oracle = next(cell for cell in cells if cell.solver.label == "oracle particles=100")
    assert json.loads(oracle.solver.settings) == {"particles": 100}


def test_each_cell_is_planned_once() -> None:
    both = planned(solvers=[EM, EM, {"use": "initial"}, {"use": "oracle", "settings": {"particles": 100}}])
    assert max(Counter(cell.key for cell in both).values()) == 1
    assert labels(both) == ["initial", "oracle", "oracle particles=100", "euler-maruyama"]


def test_keys_and_order_are_the_same_in_every_process() -> None:
    here = [cell.key for cell in planned(dims="1:2", seeds=2)]
    script = (
        "from harness.plan import Selection, plan\nfrom harness.suite import Suite\n"
        "from harness.catalogue import catalogue\n"
        "suite = Suite.model_validate({'title': 'test', 'problems': [{'use': 'ornstein-uhlenbeck'}],"
        f" 'solvers': [{EM!r}], 'dims': '1:2', 'seeds': 2}})\n"
        "print(*(cell.key for cell in plan(suite, Selection(), catalogue())))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == here


@pytest.mark.parametrize(
    "keys",
    [
        {"solvers": [{"use": "euler-maruyama", "settings": {"particles": 101}}]},
        {"solvers": [{"use": "euler-maruyama", "settings": {"particles": 100, "step_size": 0.002}}]},
        {"problems": [{"use": "ornstein-uhlenbeck", "settings": {"inverse_temperature": 2.0}}]},
        {"problems": [{"use": "ornstein-uhlenbeck", "settings": {"times": [0.5]}}]},
        {"seeds": "1:1"},
        {"dims": 2},
        {"draws": 100},
        {"measures": ["symkl"]},
        {"selection": Selection(device="cuda")},
    ],
)
def test_keys_change_with_what_figures_depend_on(keys: dict[str, Any]) -> None:
    assert em_key(**keys) != em_key()


@pytest.mark.parametrize(
    "keys",
    [
        {"solvers": [{**EM, "label": "EM"}]},
        {"solvers": [{"use": "euler-maruyama", "grid": {"particles": [100]}}]},
        {"solvers": [{"use": "euler-maruyama", "settings": {"particles": 100, "step_size": 0.001}}]},
        {"problems": [{"use": "ornstein-uhlenbeck", "label": "OU"}]},
        {"problems": [{"use": "ornstein-uhlenbeck", "settings": {"times": [0.5, 0.9]}}]},
        {"title": "another", "timeout": "1m", "memory": "1G"},
        {"seeds": "0:0"},
    ],
)
def test_keys_do_not_change_with_names_limits_or_defaults_spelt_out(keys: dict[str, Any]) -> None:
    assert em_key(**keys) == em_key()


@pytest.mark.parametrize("component", [EulerMaruyama, OrnsteinUhlenbeck])
def test_keys_change_with_versions(monkeypatch: pytest.MonkeyPatch, component: Any) -> None:
    before = em_key()
    monkeypatch.setattr(component, "version", component.version + 1)
    assert em_key() != before


def test_a_solver_draws_the_same_whatever_is_measured_on_whatever_device() -> None:
    identities = {
        cell.run_identity
        for keys in ({}, {"draws": 100}, {"measures": ["symkl"]}, {"selection": Selection(device="cuda")})
        for cell in planned(**keys)  # type: ignore[arg-type]
        if cell.solver.name == "euler-maruyama"
    }
    assert len(identities) == 1


def test_selection_replaces_dimensions_and_seeds() -> None:
    cells = planned(Selection(dims="2,4", seeds="3,5"), dims="1:12", seeds=15)
    assert {(cell.dim, cell.seed) for cell in cells} == {(2, 3), (2, 5), (4, 3), (4, 5)}


def test_selected_names_outside_the_suite_join_with_their_defaults() -> None:
    cells = planned(Selection(problems=["double-well"], solvers=["chang-cooper"]))
    assert {cell.problem.name for cell in cells} == {"double-well"}
    assert labels(cells) == ["initial", "oracle", "chang-cooper"]
    assert {cell.dim for cell in cells} == {1}


def test_labels_with_commas_are_selected() -> None:
    small, large = {**EM, "label": "few, fast"}, {"use": "euler-maruyama", "label": "many=7"}
    for names in (["few, fast"], ["few, fast,many=7"], ["many=7, few, fast", "gaussian-jko"]):
        found = labels(planned(Selection(solvers=names), solvers=[small, large]))
        assert ("few, fast" in found, "many=7" in found) == (True, any("many" in name for name in names))
        assert ("gaussian-jko" in found) == ("gaussian-jko" in names)
    said = refusal(selection=Selection(solvers=["few, slow"]), solvers=[small])
    assert said.startswith("unknown solver 'few'")


def test_a_problem_under_two_labels_is_refused() -> None:
    fine, coarse = ({"use": "ornstein-uhlenbeck", "label": label} for label in ("fine", "coarse"))
    said = "'fine' and 'coarse' are one problem with the same settings, and would be one row: leave one out"
    assert refusal(problems=[fine, coarse]) == said
    assert refusal(problems=[{**fine, "dims": "1:2"}, {**coarse, "dims": "2:3"}]) == said
    assert refusal(problems=[fine, {**coarse, "settings": {"instance": "mokrov2021"}}]) == said
    for other in ({"dims": "2"}, {"seeds": "3:3"}, {"settings": {"instance": "random"}}, {"label": "fine"}):
        found = planned(
            problems=[{**fine, "dims": "1", "seeds": "0:0"}, {**coarse, "dims": "1", "seeds": "0:0", **other}]
        )
        assert len({cell.problem.label for cell in found}) == (1 if "label" in other else 2)


def test_labels_that_a_plan_prints_are_selected() -> None:
    grid = {"use": "euler-maruyama", "grid": {"particles": [50, 100], "order": [1, 2]}}
    given = {"use": "ornstein-uhlenbeck", "label": "a, b"}
    drawn = {"use": "ornstein-uhlenbeck", "grid": {"instance": ["random", "mokrov2021"]}, "settings": {"times": [0.5]}}
    suite: dict[str, Any] = {"solvers": [grid, {"use": "gaussian-jko"}], "problems": [given, drawn]}
    everything = planned(**suite)
    names = {cell.solver.label for cell in everything if cell.solver.name == "euler-maruyama"}
    assert len(names) == 4
    for label in names:
        found = {cell.key for cell in planned(Selection(solvers=[label]), **suite) if cell.solver.name != "oracle"}
        assert found == {cell.key for cell in everything if cell.solver.label in (label, "initial")} - {
            cell.key for cell in everything if cell.solver.name == "oracle"
        }
    for label in {cell.problem.label for cell in everything}:
        found = {cell.key for cell in planned(Selection(problems=[label]), **suite)}
        assert found == {cell.key for cell in everything if cell.problem.label == label}
    two = "euler-maruyama particles=50 order=1,gaussian-jko,euler-maruyama particles=100 order=2"
    for asked in ([two], [two, two], [*two.split(",")]):
        assert [label for label in labels(planned(Selection(solvers=asked), **suite)) if "oracle" not in label] == [
            "initial", *(two.split(",")[place] for place in (0, 2, 1)),
        ]  # fmt: skip
    for asked in ([two, "euler-maruyama"], ["euler-maruyama", two]):
        assert set(labels(planned(Selection(solvers=asked), **suite))) == set(labels(everything))
    said = refusal(selection=Selection(solvers=["euler-maruyama particles=50 order=3"]), **suite)
    assert "did you mean 'euler-maruyama particles=50 order=" in said


def test_an_instance_of_a_label_that_has_none_such_joins_with_defaults() -> None:
    labelled = {"use": "ornstein-uhlenbeck", "label": "ou", "settings": {"instance": "random"}}
    for name in ("ou:mokrov2021", "ornstein-uhlenbeck:mokrov2021"):
        (problem,) = {cell.problem for cell in planned(Selection(problems=[name]), problems=[labelled])}
        assert (problem.name, problem.settings) == ("ornstein-uhlenbeck", planned()[0].problem.settings)


def test_dimensions_that_entries_of_a_problem_name_are_for_these_alone():
    first = {"use": "ornstein-uhlenbeck", "dims": "1", "settings": {"times": [0.5]}}
    second = {"use": "ornstein-uhlenbeck", "dims": "2,3", "settings": {"times": [0.75]}}
    for dims, meant in {"1": {(1, "first")}, "2": {(2, "second")}, "1,3": {(1, "first"), (3, "second")}}.items():
        cells = planned(Selection(dims=dims), problems=[first, second], solvers=[EM])
        assert {(cell.dim, "first" if "0.5" in cell.problem.label else "second") for cell in cells} == meant
    cells = planned(Selection(dims="4"), problems=[first, second], solvers=[EM])  # one that neither names
    assert {cell.problem.label for cell in cells} == {
        cell.problem.label for cell in planned(problems=[first, second], solvers=[EM])
    }


def test_selected_dimensions_that_a_problem_lacks_are_left_out() -> None:
    both = [{"use": "ornstein-uhlenbeck"}, {"use": "double-well"}]
    cells = planned(Selection(dims="1:2"), problems=both)
    assert {(cell.problem.name, cell.dim) for cell in cells} == {
        ("ornstein-uhlenbeck", 1), ("ornstein-uhlenbeck", 2), ("double-well", 1),
    }  # fmt: skip
    assert "leaves nothing to run" in refusal(selection=Selection(dims="7"), problems=[{"use": "double-well"}])


def test_a_solver_is_kept_to_its_problems() -> None:
    both = [{"use": "ornstein-uhlenbeck"}, {"use": "double-well"}]
    cells = planned(problems=both, solvers=[{**EM, "problems": ["double-well"]}])
    assert {cell.problem.name for cell in cells if cell.solver.name == "euler-maruyama"} == {"double-well"}
    assert {cell.problem.name for cell in cells if cell.solver.name == "initial"} == {
        "ornstein-uhlenbeck", "double-well",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"selection": Selection(solvers=["euler-maruyma"])}, "did you mean 'euler-maruyama'?"),
        ({"selection": Selection(problems=["ornstein"])}, "unknown problem 'ornstein'"),
        ({"selection": Selection(dims="0")}, "dims must be whole numbers >= 1"),
        ({"selection": Selection(dims="a:b")}, "dims must be numbers such as 2,6 or 1:12, got 'a:b'"),
        ({"selection": Selection(seeds="-1")}, "seeds must be a count >= 1"),
        ({"solvers": [{"use": "oracel"}]}, "unknown solver 'oracel'; did you mean 'oracle'?"),
        ({"solvers": [{"use": "euler-maruyama", "settings": {"stepsize": 0.1}}]}, "did you mean 'step_size'?"),
        ({"solvers": [{"use": "euler-maruyama", "settings": {"step_size": 0.0}}]}, "must be a finite number > 0"),
        ({"solvers": [{"use": "euler-maruyama", "grid": {"step_size": [0.1, -0.1]}}]}, "must be a finite number > 0"),
        ({"solvers": [{"use": "euler-maruyama", "settings": {"step_size": 1.0}}]}, "larger than the horizon 0.9"),
        ({"solvers": [{"use": "gaussian-jko", "settings": {"step_size": 0.2}}]}, "0.5 is not a multiple of step_size"),
        ({"solvers": [{"use": "euler-maruyama", "grid": {"particles": []}}]}, "the grid of particles is empty"),
        ({"problems": [{"use": "double-well", "dims": 2}]}, "double-well has no dimension 2 (there are: 1)"),
        ({"problems": [FAN], "dims": "3,5"}, "gaussian-mixture has none of the suite's dims 3,5 (there are: 2, 4, 8,"),
        ({"problems": [{"use": "ornstein-uhlenbeck", "settings": {"inverse_temperature": 0.0}}]}, "got 0.0"),
        (
            {"solvers": [EM, {"use": "euler-maruyama", "settings": {"particles": 7}}]},
            "two solvers of the suite are both labelled 'euler-maruyama'",
        ),
        (
            {"solvers": [EM, {**EM, "label": "twin"}]},
            "'euler-maruyama' and 'twin' are one solver with the same settings on the same problem",
        ),
        ({"solvers": [{**EM, "label": "oracle"}]}, "both labelled 'oracle'"),
        ({"solvers": [{"use": "gaussian-jko", "label": "initial"}]}, "both labelled 'initial'"),
    ],
)
def test_what_cannot_be_planned(keys: dict[str, Any], said: str) -> None:
    assert said in refusal(**keys)


def test_a_missing_package_disables_one_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(solvers.BUILTIN, "elsewhere", "package_that_is_not_there.solver:Elsewhere")
    cells = planned(solvers=[EM, {"use": "elsewhere", "settings": {"particles": 3}}])
    assert labels(cells) == ["initial", "oracle", "oracle particles=100", "euler-maruyama", "elsewhere"]
    (missing,) = (cell.solver for cell in cells if cell.solver.missing is not None)
    assert missing.name == "elsewhere"
    assert missing.missing is not None
    assert "package_that_is_not_there" in missing.missing


def test_a_component_travels_as_text() -> None:
    cell = next(cell for cell in planned() if cell.solver.name == "euler-maruyama")
    assert cell.solver.make() == EulerMaruyama(particles=100)
    assert cell.problem.make() == OrnsteinUhlenbeck()


def test_one_cell_is_found_by_the_start_of_its_key() -> None:
    cells = planned(seeds=3)
    assert one_cell(cells, cells[4].key[:10]) is cells[4]
    with pytest.raises(UsageError, match="12 of the 12 planned cells have a key that starts with ''"):
        one_cell(cells, "")
    with pytest.raises(UsageError, match="0 of the 12 planned cells"):
        one_cell(cells, "nonsense")


def test_a_solver_can_have_its_own_dimensions() -> None:
    small = {**EM, "dims": "1,2"}
    large = {"use": "euler-maruyama", "settings": {"particles": 7}, "dims": 3}
    cells = planned(dims="1:4", solvers=[small, large])
    assert [(cell.dim, cell.solver.label, json.loads(cell.solver.settings)["particles"]) for cell in cells
            if cell.solver.name == "euler-maruyama"] == [
        (1, "euler-maruyama", 100), (2, "euler-maruyama", 100), (3, "euler-maruyama", 7),
    ]  # fmt: skip
    assert [cell.solver.label for cell in cells if cell.dim == 3] == [
        "initial", "oracle", "oracle particles=7", "euler-maruyama",
    ]  # fmt: skip
    assert [cell.solver.label for cell in cells if cell.dim == 4] == ["initial", "oracle"]
    assert "both labelled 'euler-maruyama'" in refusal(solvers=[small, {**large, "dims": "2:3"}])
    assert "both labelled 'euler-maruyama'" in refusal(solvers=[{**EM}, large])


def test_steps_matter_only_in_the_dimensions_that_a_solver_runs_in() -> None:
    long = {"use": "euler-maruyama", "settings": {"step_size": 3.0}, "dims": "5"}
    assert "euler-maruyama" not in labels(planned(dims="1:3", solvers=[long]))
    assert "larger than the horizon" in refusal(dims="1:5", solvers=[long])
