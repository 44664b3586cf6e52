import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from problems.data.datasets import SHAPES, Classification, load, whereabouts
from seeding import numpy_generator

FEATURES = np.arange(20.0).reshape(10, 2) ** 1.5
LABELS = np.array([1.0, -1.0] * 5)
SHARED = Path(__file__).resolve().parents[4] / "shared" / "datasets"


@pytest.fixture(autouse=True)
def nothing_is_here(tmp_path, monkeypatch):
    """Neither a folder nor a cache of whoever runs the tests is looked into."""
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder, name, text):
    with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
        file.write(text)


@pytest.mark.parametrize("name", ["breast-cancer", "twonorm", "ringnorm", "waveform"])
def test_data_that_need_nothing_have_the_declared_shape(name):
    data = load(name)
    assert data.features.shape == SHAPES[name]
    assert data.features.dtype == np.float64
    assert set(data.labels) == {-1.0, 1.0}


def test_shapes_are_known_without_torch_and_pandas():
    code = "import sys, problems.data.datasets; print([name in sys.modules for name in ('torch', 'pandas', 'sklearn')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(found.lower()) == [False, False, False]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shared_files_are_read_and_split(name, monkeypatch):
    if name != "breast-cancer":
        if not (SHARED / f"{name}.csv.gz").exists():
            pytest.skip(f"no {name}.csv.gz beside the repository")
        monkeypatch.setenv("WGFBENCH_DATA", str(SHARED))
    data = load(name)
    assert whereabouts(name) == ("bundled" if name == "breast-cancer" else "folder")
    assert data.features.shape == SHAPES[name]
    split = data.split(0, "zero")
    assert len(split.training) == round(0.8 * SHAPES[name][0])
    deviation = split.training_features.std(0)
    assert (np.isclose(deviation, 1) | (deviation == 0)).all()
    assert np.flatnonzero(deviation == 0).tolist() == ([20, 28, 38] if name == "covtype_subset" else [])


def test_breast_cancer_is_scikit_learns_with_benign_positive():
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer()
    data = load("breast-cancer")
    np.testing.assert_array_equal(data.features, source.data)
    np.testing.assert_array_equal(data.labels == 1, source.target_names[source.target] == "benign")


@pytest.mark.parametrize("seed", range(5))
def test_split_is_80_20_disjoint_and_complete(seed):
    split = load("breast-cancer").split(seed)
    assert (len(split.training), len(split.held_out)) == (455, 114)
    assert sorted([*split.training, *split.held_out]) == list(range(569))


def test_split_depends_on_seed_and_name_and_nothing_else():
    data = load("breast-cancer")
    first, again, other = data.split(0), load("breast-cancer").split(0), data.split(1)
    np.testing.assert_array_equal(first.training, again.training)
    assert first.checksum == again.checksum != other.checksum
    renamed = Classification("other", data.features, data.labels)
    assert set(renamed.split(0).training) != set(first.training)


def test_splits_are_uniform_over_rows():
    """Each of 569 rows is held out Binomial(400, 114/569) times; the largest |z| exceeds 5 with probability 3e-4."""
    data = load("breast-cancer")
    count = np.zeros(569)
    for seed in range(400):
        count[data.split(seed).held_out] += 1
    share = 114 / 569
    assert np.abs(count - 400 * share).max() < 5 * np.sqrt(400 * share * (1 - share))


def test_standardisation_uses_the_training_part_only():
    data = load("breast-cancer")
    split = data.split(3)
    np.testing.assert_allclose(split.training_features.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(split.training_features.std(0), 1, rtol=1e-12)
    training = data.features[split.training]
    np.testing.assert_allclose(
        split.held_out_features, (data.features[split.held_out] - training.mean(0)) / training.std(0), rtol=1e-12
    )
    assert np.abs(split.held_out_features.mean(0)).max() > 1e-3
    np.testing.assert_array_equal(split.held_out_labels, data.labels[split.held_out])


def test_checksum_sees_a_change_of_the_data():
    changed = FEATURES.copy()
    changed[3, 1] += 1e-12
    assert (
        Classification("a", FEATURES, LABELS).split(0).checksum
        != Classification("a", changed, LABELS).split(0).checksum
    )


def test_folder_is_read(tmp_path):
    write(tmp_path, "toy", "x0,x1,label\n1,2,1\n3,4,-1\n5,7.5,-1\n")
    data = load("toy", tmp_path)
    np.testing.assert_array_equal(data.features, [[1, 2], [3, 4], [5, 7.5]])
    np.testing.assert_array_equal(data.labels, [1, -1, -1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x0,label\n1,1\n,-1\n", "features hold 1 value(s) that are not finite"),
        ("x0,label\n1,1\ninf,-1\n", "features hold 1 value(s) that are not finite"),
        ("x0,label\n1,1\n2,-1\n3,0\n", "labels must be -1 and +1, both present; got [-1.0, 0.0, 1.0]"),
        ("x0,label\n1,1\n2,1\n", "labels must be -1 and +1, both present; got [1.0]"),
        ("x0,label\n1,1\n2,\n", "labels must be -1 and +1"),
        ("x0,label\n1,1\n", "at least two rows are needed, got 1"),
        ("x0,label\n", "at least two rows are needed, got 0"),
        ("x0,class\n1,1\n2,-1\n", "has no column 'label'"),
        ("label\n1\n-1\n", "features must have shape (n, d)"),
        ("x0,label\n1,1\na,-1\n", "is not a gzip table of numbers"),
        ("label,x0,label\n1,3,1\n-1,4,-1\n", "several columns 'label', of which one alone can be the label"),
        ("x0,label\n7,1,1\n8,2,-1\n", "have more values than its header has names"),
    ],
)
def test_bad_data_are_one_clear_line(tmp_path, text, message):
    write(tmp_path, "toy", text)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        load("toy", tmp_path)
    assert "'toy'" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [lambda whole: whole[:-20], lambda whole: b"x0,label\n", lambda whole: b""])
def test_damaged_file_is_one_clear_line(tmp_path, damage):
    write(tmp_path, "toy", "x0,label\n" + "".join(f"{row / 7},{(-1) ** row}\n" for row in range(500)))
    path = tmp_path / "toy.csv.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"data 'toy': .*toy\.csv\.gz is not a gzip table of numbers") as raised:
        load("toy", tmp_path)
    assert "\n" not in str(raised.value)


def test_file_of_another_shape_than_its_name_promises_is_refused(tmp_path):
    write(tmp_path, "banana", "x0,x1,label\n1,2,1\n3,4,-1\n")
    with pytest.raises(ValueError, match=re.escape("has 2 rows of 2 features, expected (5300, 2)")):
        load("banana", tmp_path)


def test_folder_comes_before_the_generator(tmp_path, monkeypatch):
    drawn = load("twonorm")
    table = np.column_stack([-drawn.features, drawn.labels]).tolist()
    lines = [",".join(map(repr, row)) for row in table]
    write(tmp_path, "twonorm", "\n".join([",".join([*(f"x{i}" for i in range(20)), "label"]), *lines]))
    assert whereabouts("twonorm") == "generator"
    monkeypatch.setenv("WGFBENCH_DATA", str(tmp_path))
    assert whereabouts("twonorm") == "folder"
    np.testing.assert_array_equal(load("twonorm").features, -drawn.features)


def test_unknown_name_and_missing_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data must be one of 'banana', 'breast-cancer', .*; got 'bananas'"):
        load("bananas")
    write(tmp_path, "toy", "x0,label\n1,1\n2,-1\n")
    with pytest.raises(ValueError, match=r"'toy', 'twonorm', 'waveform'; got 'tov'"):
        load("tov", tmp_path)
    with pytest.raises(ValueError, match="nowhere' is not a folder"):
        load("banana", tmp_path / "nowhere")


def test_feature_that_never_varies_is_refused_or_zero():
    features = np.column_stack([FEATURES, np.full(10, 5.0)])
    data = Classification("toy", features, LABELS)
    message = 'feature(s) [2] never vary and cannot be standardised; constant_features = "zero" sets them to 0'
    with pytest.raises(ValueError, match=re.escape(message)):
        data.split(0)
    zeroed, without = data.split(0, "zero"), Classification("toy", FEATURES, LABELS).split(0)
    np.testing.assert_array_equal(zeroed.training_features[:, :2], without.training_features)
    assert not zeroed.training_features[:, 2].any()
    assert not zeroed.held_out_features[:, 2].any()
    with pytest.raises(ValueError, match=r"feature\(s\) \[0, 1\] never vary and cannot be standardised$"):
        Classification("toy", np.ones((10, 2)), LABELS).split(0, "zero")


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_feature_whose_squares_are_no_numbers_is_refused(unit):
    """It would count as 0, or as not finite."""
    features = np.column_stack([np.arange(10.0), unit * np.arange(10.0)])
    said = "split 0: feature(s) 'x' cannot be standardised: squares of such numbers over- or underflow"
    with pytest.raises(ValueError, match=re.escape(said)):
        Classification("toy", features, LABELS, ("w", "x")).split(0)


def test_feature_constant_in_the_training_part_only():
    """It would be infinite in the held-out part; zeroed, it is 0 there too."""
    features = np.column_stack([np.arange(10.0), np.zeros(10)])
    held_out = Classification("toy", numpy_generator(0).normal(size=(10, 2)), LABELS).split(0).held_out
    features[held_out[0], 1] = 1.0
    data = Classification("toy", features, LABELS)
    with pytest.raises(
        ValueError, match=r"split 0: feature\(s\) \[1\] never vary .*\(\[1\] vary in the held-out part only"
    ):
        data.split(0)
    assert not data.split(0, "zero").held_out_features[:, 1].any()


def test_training_part_of_one_class_is_refused():
    data = Classification("toy", FEATURES, LABELS)
    labels = np.ones(10)
    labels[data.split(0).held_out] = -1
    with pytest.raises(ValueError, match=r"training part of split 0: all 8 labels are \+1"):
        Classification("toy", FEATURES, labels).split(0)


def test_two_rows_split_in_neither_empty_part():
    with pytest.raises(ValueError, match="cannot be split"):
        Classification("toy", FEATURES[:2], LABELS[:2]).split(0)
