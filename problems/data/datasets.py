"""Classification data by name: two-class tables as recorded, and their splits into a training and a held-out part.

A name is looked for in a folder of ``<name>.csv.gz`` files (``problems.data.data_folder``: ``--data DIR`` of ``wgfbench
run``, or the environment variable ``WGFBENCH_DATA``), then in the cache, then at its source
(``problems.data.dataset_sources``). Breast-cancer comes with scikit-learn, and twonorm, ringnorm and waveform are drawn
by their generators: they need neither.

Nothing here needs torch, so that what exists can be listed without it.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from problems.arrays import Reals
from problems.data.data_folder import FOLDER_VARIABLE, data_folder, is_offline
from problems.unavailable import Unavailable

SHAPES = {
    "banana": (5300, 2),
    "breast-cancer": (569, 30),
    "covtype": (581_012, 54),
    "covtype_subset": (10_000, 54),
    "diabetis": (768, 8),
    "german": (1000, 24),
    "image": (2310, 18),
    "ringnorm": (7400, 20),
    "splice": (3190, 60),
    "twonorm": (7400, 20),
    "waveform": (5000, 21),
}
"""Rows and features of every data set that a problem can name without a file of the user's.

``covtype_subset`` is the first 10,000 rows of an extract of covtype, for exercising what covtype would take minutes to
exercise; it has no source but a folder.
"""

BUNDLED = "breast-cancer"
"""The data set that comes with scikit-learn, and is taken from nowhere else."""

TRAINING_SHARE = 0.8

ConstantFeatures = Literal["error", "zero"]
"""What becomes of a feature that never varies in a training part: it is refused, or 0 for every case."""


@dataclass(frozen=True, eq=False)
class Classification:
    """A two-class table: ``features`` (n, d) float64 as recorded, ``labels`` (n,) float64, each -1 or +1.

    ``columns`` names the features, where they have names.

    Raises ``ValueError`` for shapes that do not fit, a single row, values that are not finite and labels that are not
    two classes.
    """

    name: str
    features: Reals
    labels: Reals
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        owner = f"data {self.name!r}"
        if self.features.ndim != 2 or self.features.shape[1] < 1 or self.labels.shape != self.features.shape[:1]:
            raise ValueError(
                f"{owner}: features must have shape (n, d) and labels (n,), "
                f"got {self.features.shape} and {self.labels.shape}"
            )
        if len(self.features) < 2:
            raise ValueError(f"{owner}: at least two rows are needed, got {len(self.features)}")
        bad = int((~np.isfinite(self.features)).sum())
        if bad:
            raise ValueError(f"{owner}: features hold {bad} value(s) that are not finite")
        classes = np.unique(self.labels)
        if classes.tolist() != [-1.0, 1.0]:
            raise ValueError(f"{owner}: labels must be -1 and +1, both present; got {classes[:5].tolist()}")

    def split(self, seed: int, constant_features: ConstantFeatures = "error") -> Split:
        """Return the 80/20 split number ``seed``, features standardised by the mean and deviation of the training part.

        A feature that never varies in the training part has no deviation. With ``constant_features = "zero"`` it is 0
        for every case of both parts, so that the data say nothing about its weight; otherwise it is refused. Raises
        ``ValueError`` for it, and for a training part without a case of each class.

        The rows are ranked by the raw 64-bit output of PCG64 seeded with crc32 of "name@seed@split": a stream that
        numpy keeps unchanged between versions, and that no setting of a problem or solver enters.
        """
        keys = np.random.PCG64(zlib.crc32(f"{self.name}@{seed}@split".encode())).random_raw(len(self.labels))
        rows = np.argsort(keys, kind="stable")
        count = round(TRAINING_SHARE * len(rows))
        training, held_out = np.sort(rows[:count]), np.sort(rows[count:])
        if not 0 < count < len(rows):
            raise ValueError(f"data {self.name!r}: {len(rows)} rows cannot be split into two parts that are not empty")
        features, labels = self.features[training], self.labels[training]
        part = f"data {self.name!r}, training part of split {seed}"
        if len(np.unique(labels)) < 2:
            raise ValueError(f"{part}: all {count} labels are {labels[0]:+g}")
        varies = features.min(0) != features.max(0)
        if not varies.all() and (constant_features == "error" or not varies.any()):
            raise ValueError(_constant(part, self.features, varies, self.columns))
        with np.errstate(over="ignore", invalid="ignore"):
            centre, deviation = features.mean(0), features.std(0)
        beyond = np.flatnonzero(varies & ~((deviation > 0) & np.isfinite(deviation)))
        if len(beyond):
            names = [repr(self.columns[place]) if self.columns is not None else str(place) for place in beyond[:10]]
            raise ValueError(
                f"{part}: feature(s) {', '.join(names)} cannot be standardised: squares of such numbers over- or "
                f"underflow, so give them in another unit"
            )
        scale = np.where(varies, deviation, 1.0)
        standardised = np.where(varies, (self.features - centre) / scale, 0.0)
        return Split(
            training=training,
            held_out=held_out,
            training_features=standardised[training],
            training_labels=self.labels[training],
            held_out_features=standardised[held_out],
            held_out_labels=self.labels[held_out],
            checksum=f"{self._checksum(training):08x}",
        )

    def _checksum(self, training: NDArray[np.intp]) -> int:
        parts = (self.features.astype("<f8"), self.labels.astype("<f8"), training.astype("<i8"))
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part.tobytes(), checksum)
        return checksum


@dataclass(frozen=True, eq=False)
class Split:
    """A training and a held-out part: row numbers, standardised features (rows, d), labels (rows,) of -1 and +1.

    ``checksum`` is the crc32 of the raw data and of the training rows, in hexadecimal: two splits with the same one
    pose the same problem.
    """

    training: NDArray[np.intp]
    held_out: NDArray[np.intp]
    training_features: Reals
    training_labels: Reals
    held_out_features: Reals
    held_out_labels: Reals
    checksum: str


def load(name: str, folder: Path | None = None) -> Classification:
    """Return the data set ``name`` from ``folder`` (else that of ``WGFBENCH_DATA``), the cache, or its source.

    A file ``<name>.csv.gz`` holds a header, feature columns and the column ``label`` of -1 and +1; a folder may hold
    others than those in ``SHAPES``. Raises ``Unavailable`` for data that are nowhere, saying where to put them, and
    ``ValueError`` for an unknown name, a folder that is not there, and data that are damaged, are not of the shape
    that ``SHAPES`` states, or that ``Classification`` refuses.
    """
    folder = data_folder() if folder is None else folder
    if folder is not None and not folder.is_dir():
        raise ValueError(f"data: {str(folder)!r} is not a folder")
    if name == BUNDLED:
        _none_beside(name, folder)
        return _breast_cancer(name)
    path = in_folder(name, folder)
    if path is not None:
        data = _read(name, path)
        expected = SHAPES.get(name, data.features.shape)
        if data.features.shape != expected:
            rows, columns = data.features.shape
            raise ValueError(f"data {name!r}: {path} has {rows} rows of {columns} features, expected {expected}")
        return data
    if name not in SHAPES:
        raise ValueError(unknown_data(name, folder))
    return Classification(name, *_obtained(name))


def feature_count(name: str) -> int:
    """Return how many features a data set has; of one that only the folder of ``WGFBENCH_DATA`` has, by its header.

    Raises ``ValueError`` for a name that is none, and a file without a header.
    """
    if name in SHAPES:
        _none_beside(name, data_folder())
        return SHAPES[name][1]
    path = in_folder(name, data_folder())
    if path is None:
        raise ValueError(unknown_data(name))
    try:
        columns = _header(name, path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"data {name!r}: {path} is not a gzip table of numbers ({error})") from error
    if "label" not in columns or len(columns) < 2:
        meant = [column for column in columns if column != "label" and column.strip().lower() == "label"]
        raise ValueError(
            f"data {name!r}: {path} must have a header with the column 'label' and one for each feature, commas "
            f"between; it has {', '.join(map(repr, columns[:10])) or 'none'}"
            f"{f': call {meant[0]!r} label' if meant else ''}"
        )
    return len(columns) - 1


def _header(name: str, path: Path) -> list[str]:
    """Return the names of a table's columns; raises ``ValueError`` where one has none."""
    with gzip.open(path, "rt", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file), [])
    if len(columns) > 1 and "" in columns:
        raise ValueError(
            f"data {name!r}: column {columns.index('') + 1} of {path} has no name, as where pandas writes the numbers "
            f"of rows (index=False leaves them out): give it one if it is a feature"
        )
    return columns


def _none_beside(name: str, folder: Path | None) -> None:
    """Raise ``ValueError`` where a folder has a file by the name of the data set that is taken from nowhere else."""
    if name == BUNDLED and folder is not None and (folder / f"{name}.csv.gz").is_file():
        raise ValueError(
            f"data {name!r} comes with scikit-learn, and {folder / f'{name}.csv.gz'} would not be read: give that file "
            f"another name"
        )


def unknown_data(name: str, folder: Path | None = None) -> str:
    """Return what to say of a name that no data set has, in this folder or that of ``WGFBENCH_DATA`` neither."""
    folder = data_folder() if folder is None else folder
    others = [] if folder is None else [file.name.removesuffix(".csv.gz") for file in folder.glob("*.csv.gz")]
    allowed = sorted({*SHAPES, *others})
    near = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    where = "" if folder is not None else "; NAME.csv.gz in a folder named by --data is one, too"
    return f"data must be one of {', '.join(map(repr, allowed))}; got {name!r}{hint}{where}"


def in_folder(name: str, folder: Path | None) -> Path | None:
    """Return the file of a data set in a folder, or ``None`` where there is none or none is looked for."""
    path = None if folder is None or name == BUNDLED else folder / f"{name}.csv.gz"
    return path if path is not None and path.is_file() else None


def whereabouts(name: str) -> str:
    """Return where ``load(name)`` would find the data now: "bundled", "folder", "generator", "cache", …."""
    from problems.data import dataset_cache
    from problems.data.dataset_sources import SOURCES

    folder = data_folder()
    if name == BUNDLED:
        return "bundled"
    if in_folder(name, folder) is not None:
        return "folder"
    if name not in SOURCES:
        return "absent"
    if not SOURCES[name].download:
        return "generator"
    return "cache" if (dataset_cache.folder() / f"{name}.npz").is_file() else "download"


def _obtained(name: str) -> tuple[Reals, Reals]:
    from problems.data.dataset_sources import SOURCES, obtain

    remedy = f"put {name}.csv.gz into a folder and name it by --data DIR or {FOLDER_VARIABLE}"
    if name not in SOURCES:
        raise Unavailable(f"data {name!r} are not on this machine and cannot be fetched: {remedy}")
    try:
        return obtain(name, SHAPES[name], fetch=not is_offline())
    except Unavailable as error:
        raise Unavailable(f"data {name!r} are not on this machine, and {error}: {remedy}") from error


def _breast_cancer(name: str) -> Classification:
    from sklearn.datasets import load_breast_cancer

    features, target = load_breast_cancer(return_X_y=True)
    return Classification(name, np.asarray(features, dtype=np.float64), 2.0 * np.asarray(target, dtype=np.float64) - 1)


def _read(name: str, path: Path) -> Classification:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=np.float64)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        what = _not_a_number(path) or " ".join(str(error).split())
        raise ValueError(f"data {name!r}: {path} is not a gzip table of numbers ({what})") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"data {name!r}: rows of {path} have more values than its header has names")
    if "label" not in table.columns:
        raise ValueError(f"data {name!r}: {path} has no column 'label'")
    if _header(name, path).count("label") > 1:
        raise ValueError(f"data {name!r}: {path} has several columns 'label', of which one alone can be the label")
    labels = table.pop("label").to_numpy()
    features = table.to_numpy()
    unusable = ~np.isfinite(features)
    if unusable.any():
        row, place = (int(each[0]) for each in np.nonzero(unusable))
        value = float(features[row, place])
        raise ValueError(
            f"data {name!r}: features hold {unusable.sum()} value(s) that are not finite: in row {row + 1} column "
            f"{table.columns[place]!r} of {path} is {'missing' if np.isnan(value) else value}"
        )
    if np.isnan(labels).any():
        row = np.isnan(labels).argmax() + 1
        raise ValueError(f"data {name!r}: labels must be -1 and +1, but in row {row} of {path} the label is missing")
    classes = np.unique(labels)
    if len(labels) > 1 and classes.tolist() != [-1.0, 1.0]:
        raise ValueError(
            f"data {name!r}: labels must be -1 and +1, both present; got {classes[:5].tolist()}: write -1 for one "
            f"class and 1 for the other in column 'label' of {path}"
        )
    return Classification(name, features, labels, tuple(map(str, table.columns)))


def _not_a_number(path: Path) -> str | None:
    """Return what is no number in a table, its column and row, or ``None`` where the file is no table."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str)
    except (ValueError, EOFError, OSError, zlib.error):
        return None
    for column in table.columns:
        bad = np.flatnonzero(pd.to_numeric(table[column], errors="coerce").isna() & table[column].notna())
        if len(bad):
            return f"column {column!r} has {table[column].iloc[int(bad[0])]!r} in row {bad[0] + 1}"
    return None


def _constant(part: str, features: Reals, varies: NDArray[np.bool_], columns: tuple[str, ...] | None) -> str:
    """Return what to say of features that do not vary in a training part, and which of them do in the whole."""
    constant = np.flatnonzero(~varies)
    elsewhere = constant[features[:, constant].min(0) != features[:, constant].max(0)]

    text = f"{part}: feature(s) {constant[:10].tolist()} never vary and cannot be standardised"
    if columns is not None:
        text = f"{text}: {', '.join(repr(columns[place]) for place in constant[:10])}"
    if len(elsewhere):
        text += f" ({elsewhere[:10].tolist()} vary in the held-out part only)"
    return text + ('; constant_features = "zero" sets them to 0' if varies.any() else "")
