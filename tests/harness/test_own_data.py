"""Data of one's own: any NAME.csv.gz is a posterior, told apart by its name, with a reference that a command makes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import load, measure, problem, solve
from harness.catalogue import catalogue
from harness.components import Cell
from harness.plan import Selection, plan
from harness.suite import Suite
from problems.data.data_folder import data_folder, data_in
from problems.data.datasets import load as load_data
from problems.logistic_regression import REFERENCE, LogisticRegression
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.problem import Problem
from seeding import generator, numpy_generator

Command = Callable[..., Any]
SUITE = """\
title = "own"
measures = ["accuracy", "bures-w2"]
draws = 200
[[problems]]
use = "logistic-regression"
grid = { data = ["mine", "yours"] }
settings = { prior_shape = 4.0, prior_rate = 4.0 }
[[problems]]
use = "double-well"
[[solvers]]
use = "laplace"
problems = ["logistic-regression"]
[[solvers]]
use = "chang-cooper"
problems = ["double-well"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two data sets, of two features and of three."""
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    path = tmp_path / "data"
    path.mkdir()
    for name, columns in (("mine", ("height", "weight")), ("yours", ("a", "b", "c"))):
        features = numpy_generator(0).normal(size=(120, len(columns)))
        labels = np.where(features[:, 0] + 0.2 * numpy_generator(1).logistic(size=120) > 0, 1, -1)
        with gzip.open(path / f"{name}.csv.gz", "wt") as file:
            file.write(",".join([*columns, "label"]) + "\n")
            file.writelines(
                ",".join(f"{value:.4f}" for value in row) + f",{label}\n"
                for row, label in zip(features, labels, strict=True)
            )
    (tmp_path / "own.toml").write_text(SUITE)
    return path


def planned(selection: Selection) -> list[Cell]:
    import tomllib

    return plan(Suite.model_validate(tomllib.loads(SUITE)), selection, catalogue())


def test_any_file_is_a_posterior(command: Command, folder: Path) -> None:
    printed = command("run", "own.toml", "--data", folder, "-j", "2")
    assert printed.code == 0, printed.err
    assert (
        "no reference yet for these settings and seed 0; make it by: wgfbench reference mine --seeds 0:0" in printed.err
    )
    frame = load("results/wgfbench.sqlite")
    found = frame[frame["label"].eq("laplace")]
    assert set(zip(found["size"], found["metric"], strict=True)) == {(3, "accuracy"), (4, "accuracy")}
    assert found["value"].between(0.5, 1.0).all()


def test_a_reference_that_is_made_counts(command: Command, folder: Path, tmp_path: Path) -> None:
    """Cells of before are solved and measured again, against it. The reference here is made without the sampler."""
    arguments = ["run", "own.toml", "--data", folder, "--problem", "logistic-regression:mine"]
    assert command(*arguments).code == 0
    family = {"data": "mine", "intercept": False, "prior_shape": 4.0, "prior_rate": 4.0}
    known = next(REFERENCE.glob("breast-cancer_gamma-4-4_seed-0.json"))
    summary = json.loads(known.read_text())
    summary |= {"problem": {**family, "seed": 0}, "checksum": load_data("mine", folder).split(0).checksum}
    stem = LogisticRegression(prior_shape=4.0, prior_rate=4.0).reference_stem(0).replace("breast-cancer", "mine")
    (folder / "reference").mkdir()
    (folder / "reference" / f"{stem}.json").write_text(json.dumps(summary))
    draws = numpy_generator(2).normal(size=(2000, 3))
    np.savez(folder / "reference" / f"{stem}.npz", draws=draws, mean=draws.mean(0), covariance=np.cov(draws.T))
    again = command(*arguments)
    assert "3 cells: 3 ok; 3 of them ran now" in again.err
    frame = load("results/wgfbench.sqlite")
    assert set(frame.loc[frame["label"].eq("laplace"), "metric"]) == {"accuracy", "bures-w2"}
    answer = solve(
        problem("logistic-regression", folder=folder, **{k: v for k, v in family.items() if k != "intercept"}),
        "laplace",
    )
    assert measure(answer, "bures-w2", draws=200)["floor"].notna().all()
    shutil.rmtree(folder / "reference")
    assert command(*arguments).code == 0


def test_reference_says_what_it_needs(command: Command, folder: Path) -> None:
    try:
        import numpyro  # noqa: F401
    except ImportError:
        printed = command("reference", "mine", "--data", folder)
        assert printed.code == 2
        assert "reference needs the extra: pip install 'wgfbench[reference]'" in printed.err
    printed = command("reference", "mien", "--data", folder, "--evidence-only")
    assert printed.code == 2
    assert "got 'mien'; did you mean 'mine'?" in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_problems_are_told_apart(command: Command, folder: Path) -> None:
    data = str(folder)
    labels = {"logistic-regression data=mine", "logistic-regression data=yours", "double-well"}
    assert {cell.problem.label for cell in planned(Selection(data=data))} == labels
    for names, kept in [
        (["logistic-regression:mine"], {"logistic-regression data=mine"}),
        (["logistic-regression:mine", "logistic-regression:yours"], labels - {"double-well"}),
        (["logistic-regression"], labels - {"double-well"}),
        (["double-well", "logistic-regression:yours"], {"double-well", "logistic-regression data=yours"}),
    ]:
        assert {cell.problem.label for cell in planned(Selection(problems=names, data=data))} == kept
    joined = planned(Selection(problems=["gaussian-mixture:fan2022"], dims="2", data=data))
    assert {(cell.problem.name, json.loads(cell.problem.settings)["instance"]) for cell in joined} == {
        ("gaussian-mixture", "fan2022")
    }
    shown = command("run", "own.toml", "--data", folder, "--dry-run")
    assert all(label in shown.out for label in labels)


def test_entries_of_one_name_are_told_apart_by_what_differs() -> None:
    entries = [{"use": "double-well", "settings": {"height": height}} for height in (1.0, 2.0)]
    suite = Suite.model_validate({"title": "t", "problems": entries, "solvers": [{"use": "chang-cooper"}]})
    cells = plan(suite, Selection(), catalogue())
    assert {cell.problem.label for cell in cells} == {"double-well height=1.0", "double-well height=2.0"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("logistic-regression:mien", "did you mean 'mine'?"),
        ("logistic:mine", "unknown problem 'logistic' (there are: "),
        ("double-well:mine", "problem 'double-well' has neither data sets nor instances to choose from"),
        ("gaussian-mixture:fan", "instance must be one of"),
    ],
)
def test_what_is_no_problem_is_refused(command: Command, folder: Path, name: str, said: str) -> None:
    printed = command("run", "own.toml", "--data", folder, "--problem", name)
    assert printed.code == 2
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("height,label\n1,1\n2,0\n", "labels must be -1 and +1, both present; got [0.0, 1.0]: write -1 for one class"),
        ("height,label\n1,1\nNA,-1\n", "column 'height' of"),
        ("height,label\n1,1\ntall,-1\n", "column 'height' has 'tall' in row 2"),
        ("height,label\n1,yes\n2,no\n", "column 'label' has 'yes' in row 1"),
        ("height,class\n1,1\n2,-1\n", "must have a header with the column 'label' and one for each feature"),
        ("height,Label\n1,1\n2,-1\n", "it has 'height', 'Label': call 'Label' label"),
        ("height;label\n1;1\n2;-1\n", "commas between; it has 'height;label'"),
        (",height,label\n0,1,1\n1,2,-1\n", "column 1 of"),
        (",height,label\n0,1,1\n1,2,-1\n", "has no name, as where pandas writes the numbers of rows"),
        ("height,label\n1,1\n2\n3,-1\n", "bad.csv.gz the label is missing"),
        ("label\n1\n-1\n", "must have a header with the column 'label' and one for each feature"),
        ("height,label\n" + "3,1\n3,-1\n" * 5, "never vary and cannot be standardised: 'height'"),
    ],
)
def test_bad_data_are_said_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    with gzip.open(tmp_path / "bad.csv.gz", "wt") as file:
        file.write(text)
    monkeypatch.setenv("WGFBENCH_DATA", str(tmp_path))

    def build() -> None:
        family = LogisticRegression(data="bad")
        family.build(family.dims()[0], 0, generator(0))

    with pytest.raises(ValueError, match="bad") as error:
        build()
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_would_not_be_read_is_refused(command: Command, folder: Path) -> None:
    """Its figures would be those of other data."""
    shutil.copy(folder / "mine.csv.gz", folder / "breast-cancer.csv.gz")
    printed = command("run", "own.toml", "--data", folder, "--problem", "logistic-regression:breast-cancer")
    assert printed.code == 2
    assert "data 'breast-cancer' comes with scikit-learn, and" in printed.err
    assert "breast-cancer.csv.gz would not be read: give that file another name" in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    with pytest.raises(ValueError, match="would not be read"):
        load_data("breast-cancer", folder)


@pytest.mark.parametrize("elsewhere", [None, "elsewhere"])
def test_threads_find_their_data_in_the_folder_that_each_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str | None
) -> None:
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    if elsewhere is not None:
        monkeypatch.setenv("WGFBENCH_DATA", elsewhere)
    sizes = {"small": 20, "large": 40}
    for name, rows in sizes.items():
        (tmp_path / name).mkdir()
        with gzip.open(tmp_path / name / "mine.csv.gz", "wt") as file:
            file.write("height,label\n" + "".join(f"{row},{(-1) ** row}\n" for row in range(rows)))
    meet, found = threading.Barrier(2, timeout=60), dict[str, list[int]]()

    build = LogisticRegression.build

    def waiting(family: LogisticRegression, dim: int, seed: int, draws: torch.Generator) -> Problem:
        meet.wait()  # both threads have said by now where theirs are
        return build(family, dim, seed, draws)

    monkeypatch.setattr(LogisticRegression, "build", waiting)

    def ask(name: str) -> None:
        found[name] = []
        for _ in range(3):
            posed = problem("logistic-regression", data="mine", folder=tmp_path / name)
            meet.wait()
            posterior = posed.problem.flow.potential
            assert isinstance(posterior, LogisticPosterior)
            found[name].append(len(posterior.signed_features))
            assert measure(solve(posed, "laplace"), "accuracy", draws=100)["value"].notna().all()

    threads = [threading.Thread(target=ask, args=(name,)) for name in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"small": [16] * 3, "large": [32] * 3}
    assert os.environ.get("WGFBENCH_DATA") == elsewhere
    assert data_folder() == (None if elsewhere is None else Path(elsewhere))


def test_a_folder_that_is_named_leaves_the_environment_as_it_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WGFBENCH_DATA", "before")
    with data_in(tmp_path):
        assert data_folder() == tmp_path
        assert os.environ["WGFBENCH_DATA"] == "before"
        with data_in(None):
            assert data_folder() == tmp_path
    assert data_folder() == Path("before")
