"""Classification data by name: bundled with scikit-learn, or read from a folder of ``<name>.csv.gz`` files.

Nothing here needs torch, so that what exists can be listed without it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUNDLED = {"breast-cancer": (569, 30)}
"""Rows and features of the data sets that need no folder."""

TRAINING_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Classification:
    """Two-class data: ``features`` (n, d) float64 as recorded, ``labels`` (n,) float64, each -1 or +1.

    Raises ``ValueError`` for shapes that do not fit, a single row, values that are not finite, a feature that never
    varies (it cannot be standardised) and labels that are not two classes.
    """

    name: str
    features: NDArray[np.float64]
    labels: NDArray[np.float64]

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
        _require_variation(owner, self.features)

    def split(self, seed: int) -> Split:
        """Return the 80/20 split number ``seed``, features standardised by the mean and deviation of the training part.

        The rows are ranked by the raw 64-bit output of PCG64 seeded with crc32 of "name@seed@split": a stream that
        numpy keeps unchanged between versions, and that no setting of a problem or solver enters.
        """
        keys = np.random.PCG64(zlib.crc32(f"{self.name}@{seed}@split".encode())).random_raw(len(self.labels))
        rows = np.argsort(keys, kind="stable")
        count = round(TRAINING_SHARE * len(rows))
        training, held_out = np.sort(rows[:count]), np.sort(rows[count:])
        if not 0 < count < len(rows):
            raise ValueError(f"data {self.name!r}: {len(rows)} rows cannot be split into two parts that are not empty")
        _require_variation(f"data {self.name!r}, training part of split {seed}", self.features[training])
        centre, scale = self.features[training].mean(0), self.features[training].std(0)
        standardised = (self.features - centre) / scale
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
    """Training and held-out part: row numbers, standardised features (rows, d), labels (rows,) of -1 and +1.

    ``checksum`` is the crc32 of the raw data and of the training rows, in hexadecimal: two splits with the same one
    pose the same problem.
    """

    training: NDArray[np.intp]
    held_out: NDArray[np.intp]
    training_features: NDArray[np.float64]
    training_labels: NDArray[np.float64]
    held_out_features: NDArray[np.float64]
    held_out_labels: NDArray[np.float64]
    checksum: str


def load(name: str, folder: Path | None = None) -> Classification:
    """Return the data set ``name``: bundled, or ``folder/<name>.csv.gz``.

    A file holds a header, feature columns and the column ``label`` of -1 and +1. Raises ``ValueError`` for a name that
    is neither bundled nor in the folder, naming those that are, and for data that ``Classification`` refuses.
    """
    if name in BUNDLED:
        return _breast_cancer(name)
    files = {} if folder is None else {path.name.removesuffix(".csv.gz"): path for path in folder.glob("*.csv.gz")}
    if name not in files:
        place = "" if folder is None else f" (bundled, or in {folder})"
        raise ValueError(f"data must be one of {', '.join(map(repr, sorted({*BUNDLED, *files})))}{place}; got {name!r}")
    return _read(name, files[name])


def _breast_cancer(name: str) -> Classification:
    from sklearn.datasets import load_breast_cancer

    features, target = load_breast_cancer(return_X_y=True)
    return Classification(name, np.asarray(features, dtype=np.float64), 2.0 * np.asarray(target, dtype=np.float64) - 1)


def _read(name: str, path: Path) -> Classification:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"data {name!r}: {path} is not a table of numbers ({error})") from error
    if "label" not in table.columns:
        raise ValueError(f"data {name!r}: {path} has no column 'label'")
    return Classification(name, table.drop(columns="label").to_numpy(), table["label"].to_numpy())


def _require_variation(owner: str, features: NDArray[np.float64]) -> None:
    constant = np.flatnonzero(features.min(0) == features.max(0))
    if len(constant):
        raise ValueError(f"{owner}: feature(s) {constant[:10].tolist()} never vary and cannot be standardised")
