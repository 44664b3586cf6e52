"""Random draws of the tests: each from a seed of its own, which RESEED in the environment turns into another.

Without RESEED, or with 0, the suite draws the same numbers in every run; with a number it draws others, which are
decided by that number and the test's own seed. ``make test RESEED=3`` says whether a test passes by its claim or by its
seed.
"""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch

RESEED = int(os.environ.get("RESEED") or 0)


def reseeded(seed: int) -> int:
    """Return the seed itself, or under RESEED the first 32 bits of the SHA-256 of both."""
    if RESEED == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{RESEED} {seed}".encode()).digest()[:4], "big")


def generator(seed: int = 0) -> torch.Generator:
    """Return a CPU generator of that seed."""
    return torch.Generator().manual_seed(reseeded(seed))


def numpy_generator(seed: int = 0) -> np.random.Generator:
    """Return a generator of numpy of that seed."""
    return np.random.default_rng(reseeded(seed))


def fixed_generator(seed: int = 0) -> torch.Generator:
    """Return a CPU generator that RESEED leaves alone: for the one instance that a test's figures are about."""
    return torch.Generator().manual_seed(seed)
