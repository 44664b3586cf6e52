"""Steps of paths in time, for one block of particles or all: those of Euler and Maruyama, and Heun's.

Both work in memory that is there already, since a step of few operations is as fast as its memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

AddDrift = Callable[[torch.Tensor, torch.Tensor], None]
"""Adds the drift of a step at the second tensor to the first, in place."""


def path_step(add_drift: AddDrift, state: torch.Tensor, noise: torch.Tensor, predicted: torch.Tensor | None) -> None:
    """Move ``state`` in place by one step with this ``noise``: by Heun's method where it has room to predict.

    All tensors are laid out alike, (n, D) or (D, n). ``noise`` is lost, and ``predicted`` filled.
    """
    if predicted is None:
        add_drift(noise, state)
        state.add_(noise)
        return
    shaken = noise.add_(state)
    predicted.copy_(shaken)
    add_drift(predicted, state)
    state.copy_(predicted)
    add_drift(state, predicted)
    state.add_(shaken).mul_(0.5)
