r"""Three published two-class laws whose data sets are drawn here: twonorm, ringnorm and waveform.

Breiman (1996), in 20 dimensions with a = 2/√20 and e = (1, …, 1), the classes equally likely:

    twonorm    +1: N(a e, I),    -1: N(-a e, I)      Bayes error Φ(-2) = .0228
    ringnorm   +1: N(0, 4 I),    -1: N(a e, I)       Bayes error .0124

Breiman, Friedman, Olshen and Stone (1984), in 21: a random convex combination, with uniform weight, of two of the
triangular waves h1(i) = (6 - |i - 11|)₊, h2(i) = h1(i - 4), h3(i) = h1(i + 4), plus N(0, I); the three classes are
(h1, h2), (h1, h3) and (h2, h3), equally likely, and (h2, h3) is +1.

Breiman's a for ringnorm is sometimes quoted as 1/√20; the files of the field have 2/√20, and so have these.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from problems.arrays import Reals

DIM = 20
SHIFT = 2 / np.sqrt(DIM)
POSITIONS = np.arange(1.0, 22.0)
WAVES = tuple(np.maximum(6 - np.abs(POSITIONS - centre), 0) for centre in (11, 15, 7))
PAIRS = ((0, 1), (0, 2), (1, 2))
DECIMALS = {"twonorm": 6, "ringnorm": 6, "waveform": 2}
"""Digits that are kept, about as many as in the files of the field: the last bit of a quantile differs by platform."""


class Uniforms:
    """Uniform and normal numbers from the raw 64-bit output of PCG64, a stream that numpy keeps between versions."""

    def __init__(self, name: str) -> None:
        """Start the stream that belongs to ``name``."""
        self._bits = np.random.PCG64(zlib.crc32(f"{name}@generator".encode()))

    def uniform(self, *shape: int) -> Reals:
        """Return uniform numbers in the open interval (0, 1), of the given ``shape``."""
        raw = self._bits.random_raw(int(np.prod(shape))).reshape(shape)
        numbers: Reals = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return numbers

    def normal(self, *shape: int) -> Reals:
        """Return standard normal numbers of the given ``shape``, as quantiles of uniform ones."""
        from scipy.special import ndtri

        quantiles: Reals = ndtri(self.uniform(*shape))
        return quantiles


def twonorm(rows: int) -> tuple[Reals, Reals]:
    """Return features (rows, 20) and labels (rows,) of Breiman's twonorm."""
    stream = Uniforms("twonorm")
    labels = np.where(stream.uniform(rows) < 0.5, 1.0, -1.0)
    return _rounded("twonorm", stream.normal(rows, DIM) + SHIFT * labels[:, None]), labels


def ringnorm(rows: int) -> tuple[Reals, Reals]:
    """Return features (rows, 20) and labels (rows,) of Breiman's ringnorm."""
    stream = Uniforms("ringnorm")
    labels = np.where(stream.uniform(rows) < 0.5, 1.0, -1.0)
    noise = stream.normal(rows, DIM)
    return _rounded("ringnorm", np.where(labels[:, None] > 0, 2 * noise, noise + SHIFT)), labels


def waveform(rows: int) -> tuple[Reals, Reals]:
    """Return features (rows, 21) and labels (rows,) of the waveform recognition problem, (h2, h3) against the rest."""
    stream = Uniforms("waveform")
    kind = np.floor(3 * stream.uniform(rows)).astype(int)
    share = stream.uniform(rows, 1)
    first, second = (np.stack([WAVES[pair[place]] for pair in PAIRS])[kind] for place in (0, 1))
    features = share * first + (1 - share) * second + stream.normal(rows, len(POSITIONS))
    return _rounded("waveform", features), np.where(kind == 2, 1.0, -1.0)


GENERATORS: dict[str, Callable[[int], tuple[Reals, Reals]]] = {
    "twonorm": twonorm,
    "ringnorm": ringnorm,
    "waveform": waveform,
}


def _rounded(name: str, features: Reals) -> Reals:
    # + 0 turns -0 into 0, which are one number but two bit patterns
    rounded: Reals = np.round(features, DECIMALS[name]) + 0.0
    return rounded
