"""Downloads and the cache. Nothing here reaches the network: what would is replaced by tables made on the spot."""

import dataclasses
import gzip
import io
import re
import socket
import types
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from problems.data import dataset_cache, dataset_sources
from problems.data.dataset_sources import SOURCES, Source, obtain
from problems.data.datasets import SHAPES, load, whereabouts
from problems.unavailable import Unavailable

SHARED = Path(__file__).resolve().parents[4] / "shared" / "datasets"
FEATURES = np.arange(10.0).reshape(5, 2) / 7
LABELS = np.array([1.0, -1.0, 1.0, -1.0, -1.0])
SHAPE = (5, 2)
HASH = dataset_cache.content_hash(FEATURES, LABELS)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wgfbench"


@pytest.fixture
def toy(cache, monkeypatch):
    """A source that counts how often it was asked; its answer and its pin can be changed."""
    asked = types.SimpleNamespace(times=0, table=(FEATURES, LABELS))

    def fetch(rows):
        asked.times += 1
        if isinstance(asked.table, Exception):
            raise asked.table
        return asked.table

    asked.pin = lambda sha256: monkeypatch.setitem(SOURCES, "toy", Source("a toy", fetch, 2, sha256))
    asked.pin(None)
    return asked


@pytest.mark.parametrize("pin", [None, HASH])
def test_downloaded_once_then_read_from_the_cache(toy, cache, pin):
    toy.pin(pin)
    for _ in range(2):
        features, labels = obtain("toy", SHAPE)
        np.testing.assert_array_equal(features, FEATURES)
        np.testing.assert_array_equal(labels, LABELS)
    assert toy.times == 1
    assert sorted(path.name for path in cache.iterdir()) == ["toy.npz", "toy.sha256"]
    assert (cache / "toy.sha256").read_text() == f"{HASH}\n"


@pytest.mark.parametrize("pin", [None, HASH])
def test_other_content_is_refused_by_hash_and_not_kept(toy, cache, pin):
    """Against the pin, or against what this machine recorded when it first saw the data."""
    toy.pin(pin)
    if pin is None:
        obtain("toy", SHAPE)
        (cache / "toy.npz").unlink()
    toy.table = FEATURES + 1e-12, LABELS
    found = dataset_cache.content_hash(*toy.table)
    with pytest.raises(ValueError, match=f"'toy'.* is not kept: .*{HASH}, found .*{found}"):
        obtain("toy", SHAPE)
    assert not (cache / "toy.npz").exists()


def test_truncated_and_relabelled_tables_are_refused_without_a_pin(toy, cache):
    for table in ((FEATURES[:-1], LABELS[:-1]), (FEATURES, -LABELS)):
        toy.table = table
        found = dataset_cache.content_hash(*table)
        with pytest.raises(ValueError, match=rf"expected \(5, 2\) with 2 positive and SHA-256 not pinned.*{found}"):
            obtain("toy", SHAPE)
    assert not cache.exists()


@pytest.mark.parametrize("damage", [lambda whole: whole[:-30], lambda whole: b"", "other"])
def test_damaged_cache_is_refused_by_name_and_hash(toy, cache, damage):
    obtain("toy", SHAPE)
    path = cache / "toy.npz"
    if damage == "other":
        np.savez_compressed(path, features=FEATURES * 2, labels=LABELS)
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))} is damaged: expected SHA-256 {HASH}, found"
    ) as raised:
        obtain("toy", SHAPE)
    assert "delete it" in str(raised.value)
    path.unlink()
    np.testing.assert_array_equal(obtain("toy", SHAPE)[0], FEATURES)


def test_cache_without_its_record_is_not_trusted(toy, cache):
    obtain("toy", SHAPE)
    (cache / "toy.sha256").unlink()
    obtain("toy", SHAPE)
    assert toy.times == 2
    assert (cache / "toy.sha256").exists()


def test_cache_that_cannot_be_written_is_a_warning(toy, cache):
    cache.parent.joinpath("wgfbench").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"data 'toy' was fetched but not kept: .*wgfbench cannot be written"):
        features, _ = obtain("toy", SHAPE)
    np.testing.assert_array_equal(features, FEATURES)


def test_write_that_fails_leaves_nothing_behind(toy, cache, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dataset_cache.os, "replace", refuse)
    with pytest.warns(UserWarning, match="Permission denied"):
        obtain("toy", SHAPE)
    assert list(cache.iterdir()) == []


def test_links_that_lead_out_of_the_cache_are_refused(toy, cache, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    cache.mkdir()
    (cache / "toy.npz").symlink_to(elsewhere / "toy.npz")
    with pytest.raises(ValueError, match=rf"toy\.npz is a symbolic link to {re.escape(str(elsewhere))}.*: refused"):
        obtain("toy", SHAPE)
    (cache / "toy.npz").unlink()
    cache.rmdir()
    cache.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"wgfbench is a symbolic link to .*: refused"):
        obtain("toy", SHAPE)
    assert list(elsewhere.iterdir()) == []
    assert toy.times == 0


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), TimeoutError("timed out"), ConnectionResetError(104, "reset")],
)
def test_source_out_of_reach_is_unavailable(toy, error):
    toy.table = error
    with pytest.raises(Unavailable, match="a toy cannot be reached"):
        obtain("toy", SHAPE)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("md5 checksum of local file for x does not match description: expected: a but got b"),
        OSError("x has an SHA256 checksum (b) differing from expected (a), file may be corrupted."),
        EOFError("Compressed file ended before the end-of-stream marker was reached"),
        KeyError("attribute_1"),
    ],
)
def test_corrupt_download_is_an_error_that_says_so(toy, error, cache):
    toy.table = error
    with pytest.raises(ValueError, match="data 'toy': the download from a toy is corrupt: "):
        obtain("toy", SHAPE)
    assert not cache.exists()


def test_download_that_breaks_off_is_an_error(toy):
    toy.table = dataset_sources.http.client.IncompleteRead(b"half")
    with pytest.raises(ValueError, match="broke off"):
        obtain("toy", SHAPE)


def test_timeout_of_sockets_is_put_back(toy):
    toy.table = TimeoutError()
    with pytest.raises(Unavailable):
        obtain("toy", SHAPE)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_offline_and_absent_is_one_line_that_says_where_to_put_the_file(name, cache, monkeypatch):
    def offline(rows):
        raise urllib.error.URLError("offline")

    if not SOURCES[name].download:
        load(name)
        return
    monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], fetch=offline))
    assert whereabouts(name) == "download"
    with pytest.raises(Unavailable) as raised:
        load(name)
    text = str(raised.value)
    assert f"put {name}.csv.gz into a folder and name it by --data DIR or WGFBENCH_DATA" in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["twonorm", "ringnorm", "waveform"])
def test_generators_give_the_pinned_content_and_keep_nothing(name, cache):
    features, labels = obtain(name, SHAPES[name])
    assert dataset_cache.content_hash(features, labels) == SOURCES[name].sha256
    assert not cache.exists()


def test_every_name_of_the_nine_has_a_source_of_its_shape():
    assert len(SOURCES) == 9
    assert {*SOURCES} == {*SHAPES} - {"breast-cancer", "covtype_subset"}
    for name, source in SOURCES.items():
        assert 0 < source.positives < SHAPES[name][0]
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)


def serve(monkeypatch, data_id, frame, target):
    """Have ``fetch_openml`` answer for one data set; the rest is its real signature."""

    def fetch(*, data_id, as_frame, cache, n_retries, parser):
        assert (data_id, as_frame, cache) == (expected, True, False)
        return types.SimpleNamespace(data=frame, target=pd.Series(target).astype("category"))

    expected = data_id
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)


def test_banana_class_2_is_positive(monkeypatch):
    serve(monkeypatch, 1460, pd.DataFrame({"V1": [1.5, 2.0], "V2": [0.0, 1.0]}), ["1", "2"])
    features, labels = SOURCES["banana"].fetch(2)
    np.testing.assert_array_equal(features, [[1.5, 0], [2, 1]])
    assert labels.tolist() == [-1, 1]


def test_image_drops_the_constant_column(monkeypatch):
    frame = pd.DataFrame({"region-centroid-col": range(7), "region-pixel-count": [9.0] * 7, "hue-mean": range(7)})
    kinds = ["brickface", "sky", "foliage", "cement", "window", "path", "grass"]
    serve(monkeypatch, 36, frame, kinds)
    features, labels = SOURCES["image"].fetch(7)
    assert features.shape == (7, 2)
    assert labels.tolist() == [1, 1, 1, -1, -1, -1, -1]


def shared(name):
    path = SHARED / f"{name}.csv.gz"
    if not path.exists():
        pytest.skip(f"no {name}.csv.gz beside the repository")
    table = pd.read_csv(path)
    return table.drop(columns="label").to_numpy(np.float64), table["label"].to_numpy(np.float64)


def test_splice_in_letters_has_the_pinned_content(cache, monkeypatch):
    """The file's standardised codes are steps of one size: what is below A is an ambiguous letter."""
    features, labels = shared("splice")
    letters = np.empty(features.shape, dtype="<U1")
    for column in range(60):
        levels = np.unique(features[:, column])
        names = np.array(list("NACGT"))[-len(levels) :]
        letters[:, column] = names[np.searchsorted(levels, features[:, column])]
    frame = pd.DataFrame(letters, columns=[f"attribute_{place}" for place in range(1, 61)]).astype("category")
    frame.insert(0, "Instance_name", "x")
    kinds = np.where(labels > 0, np.where(np.arange(3190) < 767, "EI", "IE"), "N")
    serve(monkeypatch, 46, frame, kinds)
    codes, signs = obtain("splice", SHAPES["splice"])
    np.testing.assert_array_equal(signs, labels)
    for column in (0, 30, 59):
        assert abs(np.corrcoef(codes[:, column], features[:, column])[0, 1] - 1) < 1e-6


def test_diabetis_in_its_units_has_the_pinned_content(cache, monkeypatch):
    """The file divides each column by its largest value, which are known: 17 pregnancies, … 81 years."""
    features, labels = shared("diabetis")
    units = np.round(features * [17, 199, 122, 99, 846, 67.1, 2.42, 81], 3)
    units[:, [0, 1, 2, 3, 4, 7]] = units[:, [0, 1, 2, 3, 4, 7]].round()
    units[:, 5] = units[:, 5].round(1)
    assert units[0].tolist() == [6, 148, 72, 35, 0, 33.6, 0.627, 50]
    serve(monkeypatch, 37, pd.DataFrame(units), np.where(labels > 0, "tested_positive", "tested_negative"))
    np.testing.assert_array_equal(obtain("diabetis", SHAPES["diabetis"])[0], units)


def test_german_as_uci_writes_it_has_the_pinned_content(cache, monkeypatch):
    features, labels = shared("german")
    lines = ["   ".join(str(int(value)) for value in row) for row in np.column_stack([features, (labels + 3) / 2])]

    def open_url(address, timeout):
        assert address.endswith("german.data-numeric")
        return io.BytesIO("\n".join(lines).encode())

    monkeypatch.setattr(urllib.request, "urlopen", open_url)
    np.testing.assert_array_equal(obtain("german", SHAPES["german"])[1], labels)
    (cache / "german.npz").unlink()
    lines[-1] = lines[-1][:20]
    with pytest.raises(ValueError, match=f"corrupt: .*expected a table with SHA-256 {SOURCES['german'].sha256}"):
        obtain("german", SHAPES["german"])


def test_covtype_class_2_is_positive_and_nothing_is_left_behind(monkeypatch):
    folders = []

    def fetch(*, data_home, return_X_y, n_retries):
        folders.append(Path(data_home))
        return np.ones((3, 54)), np.array([1, 2, 7])

    monkeypatch.setattr(sklearn.datasets, "fetch_covtype", fetch)
    features, labels = SOURCES["covtype"].fetch(3)
    assert features.shape == (3, 54)
    assert labels.tolist() == [-1, 1, -1]
    assert not folders[0].exists()


def test_hash_is_of_the_content_alone():
    """Layout and byte order do not enter, shape, order and the last bit do."""
    assert dataset_cache.content_hash(np.asfortranarray(FEATURES), LABELS) == HASH
    assert dataset_cache.content_hash(FEATURES.astype(">f8"), LABELS) == HASH
    others = [(FEATURES[::-1], LABELS), (FEATURES, -LABELS), (np.nextafter(FEATURES, 9), LABELS)]
    others.append((FEATURES.reshape(2, 5), LABELS))
    assert HASH not in {dataset_cache.content_hash(*other) for other in others}


def test_folder_comes_before_the_cache_and_the_download(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, "toy", SHAPE)
    monkeypatch.setitem(SOURCES, "toy", Source("a toy", lambda rows: (FEATURES, LABELS), 2))
    np.testing.assert_array_equal(load("toy").features, FEATURES)
    assert whereabouts("toy") == "cache"
    folder = tmp_path / "folder"
    folder.mkdir()
    with gzip.open(folder / "toy.csv.gz", "wt") as file:
        file.write("x0,x1,label\n1,9,1\n2,7,-1\n3,5,1\n4,4,-1\n5,3,-1\n")
    np.testing.assert_array_equal(load("toy", folder).features[:, 0], [1, 2, 3, 4, 5])


def test_reading_a_whole_cache_warns_of_nothing(toy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        obtain("toy", SHAPE)
        obtain("toy", SHAPE)
