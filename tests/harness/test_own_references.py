"""References that were made for data of one's own: which files they are, and what becomes of damaged ones."""

from __future__ import annotations

import gzip
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.reference.posterior import write
from problems.data.data_folder import data_in
from problems.data.datasets import load
from problems.logistic_regression import OWN_REFERENCES, LogisticRegression
from problems.problem import Problem
from seeding import generator, numpy_generator


def family_of(name: str, folder: Path) -> LogisticRegression:
    """Return the posterior of a data set of two features, which is written into a folder."""
    features = numpy_generator(0).normal(size=(60, 2))
    labels = np.where(features[:, 0] + numpy_generator(1).logistic(size=60) > 0, 1, -1)
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
        file.write("a,b,label\n")
        file.writelines(f"{a:.4f},{b:.4f},{label}\n" for (a, b), label in zip(features, labels, strict=True))
    with data_in(folder):
        return LogisticRegression(data=name, prior_shape=4.0, prior_rate=4.0)


def refer(family: LogisticRegression, folder: Path) -> str:
    """Write a reference, whose draws are any, for instance 0; return its name."""
    draws = numpy_generator(2).normal(size=(2000, 3))
    summary = {
        "problem": {**family.reference_settings(), "seed": 0},
        "checksum": load(family.data, folder).split(0).checksum,
        "moments_exist_below": None,
    }
    arrays = {"draws": draws, "mean": draws.mean(0), "covariance": np.cov(draws.T)}
    write(folder / OWN_REFERENCES, family.reference_stem(0), arrays, summary)
    return family.reference_stem(0)


def build(family: LogisticRegression, folder: Path) -> Problem:
    with data_in(folder):
        return family.build(3, 0, generator(0))


@pytest.mark.parametrize("name", ["mine", "mine[1]", "m*", "of 2026/mine"])
def test_a_reference_is_part_of_the_data_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    """Cells of before are run again when it is made: they have no distances from the truth."""
    family = family_of(name, tmp_path)
    other = family_of(f"{name}2", tmp_path)
    refer(other, tmp_path)
    before = family.data_files(tmp_path)
    assert build(family, tmp_path).truth is None
    stem = refer(family, tmp_path)
    made = set(family.data_files(tmp_path)) - set(before)
    assert {path.name for path in made} == {f"{Path(stem).name}.json", f"{Path(stem).name}.npz"}
    assert build(family, tmp_path).truth is not None


def test_priors_that_differ_have_references_of_their_own(tmp_path: Path) -> None:
    family = family_of("mine", tmp_path)
    with data_in(tmp_path):
        near = replace(family, prior_rate=4.0000001)
    assert family.reference_stem(0) == "mine_gamma-4-4_seed-0"
    assert near.reference_stem(0) == "mine_gamma-4-4.0000001_seed-0"


def test_the_command_that_makes_a_reference_can_be_given(tmp_path: Path) -> None:
    family = family_of("my own", tmp_path / "of us")
    with data_in(tmp_path / "of us"):
        words = shlex.split(family.reference_command(3))
    assert words[:5] == ["wgfbench", "reference", "my own", "--seeds", "3:3"]
    assert words[words.index("--data") + 1] == str(tmp_path / "of us")


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_a_damaged_reference_is_none(tmp_path: Path, suffix: str, damage: str) -> None:
    """Answers stand, without their distances, and the reason says how to make it anew."""
    family = family_of("mine", tmp_path)
    path = tmp_path / OWN_REFERENCES / f"{refer(family, tmp_path)}{suffix}"
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other": b"[]"}[damage])
    problem = build(family, tmp_path)
    assert problem.truth is None
    assert "make it by: wgfbench reference mine --seeds 0:0" in problem.truth_missing
    if (suffix, damage) != (".json", "gone"):
        assert f"the reference {path.stem} in {path.parent} is damaged" in problem.truth_missing
    assert "\n" not in problem.truth_missing


def test_a_reference_that_is_not_written_to_its_end_leaves_the_one_before(tmp_path: Path) -> None:
    family = family_of("mine", tmp_path)
    stem = refer(family, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / OWN_REFERENCES).iterdir()}
    with pytest.raises(TypeError):
        write(tmp_path / OWN_REFERENCES, stem, {}, {"date": object()})
    kept = {path.name: path.read_bytes() for path in (tmp_path / OWN_REFERENCES).iterdir()}
    assert kept.keys() == before.keys()
    assert json.loads(kept[f"{stem}.json"]) == json.loads(before[f"{stem}.json"])
