"""Random streams, one for each purpose, from nothing but what they are for.

The problem's stream depends on the instance alone and the evaluation's on the instance and what is measured, so every
solver meets the same instance and is judged on the same draws, in whatever order or process it runs.
"""

from __future__ import annotations

import hashlib
import json

import torch


def stream(purpose: str, *labels: str | int | float) -> torch.Generator:
    """Return a CPU generator seeded by the SHA-256 of the purpose and the labels."""
    text = json.dumps([purpose, *labels])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(seed)
