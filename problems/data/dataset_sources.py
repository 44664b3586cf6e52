"""Sources of the data sets that neither a folder nor the cache holds: downloads of pinned identity, and generators.

Every conversion to a table is stated at its source and ends in features as recorded and labels of -1 and +1, in the
order of the source's rows. Verified of a download are, from the outside in:

1. the file: scikit-learn compares it with its own SHA-256 (covtype) or with OpenML's MD5 (all other but german);
2. the table: rows, features and number of positive labels must be those of the source's description below;
3. the content: the SHA-256 ``dataset_cache.content_hash``.

The content is pinned for german, diabetis and splice, and for the three generators. Of covtype, banana and image it is
not: its SHA-256 is recorded at the first download and binding on the same machine from then on.
"""

from __future__ import annotations

import http.client
import io
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from problems.arrays import Reals
from problems.data import dataset_cache
from problems.data.breiman import GENERATORS
from problems.unavailable import Unavailable

Table = tuple[Reals, Reals]

GERMAN = "https://archive.ics.uci.edu/ml/machine-learning-databases/statlog/german/german.data-numeric"
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Source:
    """A place that a data set is fetched or drawn from, and the identity that it must have.

    ``positives`` is the number of labels +1, ``sha256`` that of the content, ``None`` where it is not pinned.
    """

    described: str
    fetch: Callable[[int], Table]
    positives: int
    sha256: str | None = None
    download: bool = True


def _openml(data_id: int) -> tuple[Any, Any]:
    """Return the frame of features and the target of an OpenML data set; scikit-learn verifies OpenML's MD5."""
    from sklearn.datasets import fetch_openml

    fetched = fetch_openml(data_id=data_id, as_frame=True, cache=False, n_retries=1, parser="auto")
    return fetched.data, fetched.target.astype(str)


def _numbers(frame: Any) -> Reals:
    return np.asarray(frame, dtype=np.float64)


def _signs(positive: Any) -> Reals:
    return np.where(np.asarray(positive, dtype=bool), 1.0, -1.0)


def _banana(rows: int) -> Table:
    """Both features; class 2 of the classes 1 and 2 is +1, the one of 2376 rows."""
    frame, target = _openml(1460)
    return _numbers(frame), _signs(target == "2")


def _diabetis(rows: int) -> Table:
    """The eight features in their units; tested_positive is +1."""
    frame, target = _openml(37)
    return _numbers(frame), _signs(target == "tested_positive")


def _splice(rows: int) -> Table:
    """Bases A, C, G, T as 1, 2, 3, 4 and any other letter as 0; a splice site, EI or IE, is +1."""
    frame, target = _openml(46)
    letters = frame.drop(columns="Instance_name", errors="ignore").to_numpy().astype(str)
    codes = np.zeros(letters.shape)
    for code, base in enumerate("ACGT", start=1):
        codes[np.char.strip(letters) == base] = code
    return codes, _signs(target.str.strip() != "N")


def _image(rows: int) -> Table:
    """All features but the region's pixel count, which never varies; brickface, sky and foliage are +1."""
    frame, target = _openml(36)
    features = _numbers(frame)
    return features[:, np.ptp(features, axis=0) > 0], _signs(target.isin(["brickface", "sky", "foliage"]))


def _german(rows: int) -> Table:
    """The 24 numeric features of Statlog, which OpenML does not have; good credit, class 1, is -1, bad is +1."""
    with urllib.request.urlopen(GERMAN, timeout=TIMEOUT_SECONDS) as response:
        table = np.loadtxt(io.BytesIO(response.read()), ndmin=2)
    return table[:, :-1], _signs(table[:, -1] == 2)


def _covtype(rows: int) -> Table:
    """All 54 features; class 2, lodgepole pine, is +1."""
    from sklearn.datasets import fetch_covtype

    with tempfile.TemporaryDirectory() as folder:
        features, target = fetch_covtype(data_home=folder, return_X_y=True, n_retries=1)
    return _numbers(features), _signs(target == 2)


SOURCES = {
    "banana": Source("OpenML 1460", _banana, 2376),
    "covtype": Source("scikit-learn's fetch_covtype", _covtype, 283_301),
    "diabetis": Source("OpenML 37", _diabetis, 268, "8854e6e57a7b4d7e12d9450dac56553c1698f46dbd260dee16256f66764e73c0"),
    "german": Source(GERMAN, _german, 300, "2da9e96936e457a7a0b7e578281dab7be7d2d2cce5a4a83868b129ac6e1bae1b"),
    "image": Source("OpenML 36", _image, 990),
    "splice": Source("OpenML 46", _splice, 1535, "d87b3f3cd3c2708cfb1b3b4baedab5418f0eab46a08169de21c9261f238bba70"),
    "twonorm": Source(
        "its generator",
        GENERATORS["twonorm"],
        3725,
        "154d046e7cc9faa72c7f2f18c5fd2a7ff7c9aac9ad25cdbf025042c5e83ec41f",
        download=False,
    ),
    "ringnorm": Source(
        "its generator",
        GENERATORS["ringnorm"],
        3777,
        "8d8af833776ee59470f5a7c6ce9b29d911a4e203493860d440ee9ea011fa47c9",
        download=False,
    ),
    "waveform": Source(
        "its generator",
        GENERATORS["waveform"],
        1671,
        "21c66fd3b446b6678c092439a0786c729d748990a026425d84631712835f9f8f",
        download=False,
    ),
}
"""Where each of the nine data sets comes from."""


def obtain(name: str, shape: tuple[int, int], fetch: bool = True) -> Table:
    """Return features (rows, d) and labels (rows,) of ``name`` from the cache, else from its source, verified.

    Raises ``Unavailable`` when the source cannot be reached, or is not to be, without ``fetch``; ``ValueError`` when
    what came is not what was expected: then nothing is kept.
    """
    source = SOURCES[name]
    if not source.download:
        table = source.fetch(shape[0])
        _verify(name, source, shape, table, source.sha256)
        return table
    cached = dataset_cache.read(name, source.sha256)
    if cached is not None:
        return cached
    if not fetch:
        raise Unavailable("nothing is to be fetched (WGFBENCH_OFFLINE is set)")
    table = _fetch(name, source, shape[0])
    _verify(name, source, shape, table, source.sha256 or dataset_cache.recorded(name))
    dataset_cache.write(name, *table)
    return table


def _fetch(name: str, source: Source, rows: int) -> Table:
    try:
        with _patience(TIMEOUT_SECONDS):
            features, labels = source.fetch(rows)
    except http.client.HTTPException as error:
        raise ValueError(f"data {name!r}: the download from {source.described} broke off ({error!r})") from error
    except OSError as error:
        if "checksum" in str(error):  # scikit-learn's own verdict on the file
            raise ValueError(f"data {name!r}: the download from {source.described} is corrupt: {error}") from error
        raise Unavailable(f"{source.described} cannot be reached ({error})") from error
    except (ValueError, KeyError, EOFError) as error:
        expected = f"; expected a table with SHA-256 {source.sha256}" if source.sha256 else ""
        what = " ".join(str(error).split())
        raise ValueError(f"data {name!r}: the download from {source.described} is corrupt: {what}{expected}") from error
    return features + 0.0, labels


def _verify(name: str, source: Source, shape: tuple[int, int], table: Table, expected: str | None) -> None:
    features, labels = table
    found = dataset_cache.content_hash(features, labels)
    positives = int((labels > 0).sum())
    if (features.shape, positives) == (shape, source.positives) and expected in (None, found):
        return
    raise ValueError(
        f"data {name!r}: what came from {source.described} is not what was expected, and is not kept: "
        f"expected {shape} with {source.positives} positive and SHA-256 {expected or 'not pinned'}, "
        f"found {features.shape} with {positives} positive and SHA-256 {found}"
    )


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Give up on a connection that says nothing for so long; scikit-learn itself would wait without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
