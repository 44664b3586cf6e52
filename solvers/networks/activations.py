"""Softplus and its derivative, with bits that do not depend on what lies beside a value in its tensor.

On a CPU, PyTorch works these out for a vector of values at a time, and for what is left at the end of a tensor one by
one, by another function: in torch 2.13 a value less than 32 places from the end has other last bits than in the middle
(softplus, sigmoid, pow, logaddexp, elu and silu are so; exp, log, tanh, log1p and sqrt are not). A network in a batch
would round otherwise than alone. So a tensor whose size is no multiple of 32 is lengthened to one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

VECTORS = 32
"""What the widest instructions take at a time: two vectors of 16 values in single precision."""


def softplus(values: torch.Tensor, linear_above: float) -> torch.Tensor:
    """Return log(1 + exp x) at ``values``, of their shape; x itself where x > ``linear_above``."""
    return _in_whole_vectors(lambda whole: functional.softplus(whole, threshold=linear_above), values)


def sigmoid(values: torch.Tensor) -> torch.Tensor:
    """Return 1/(1 + exp(-x)) at ``values``, of their shape."""
    return _in_whole_vectors(torch.sigmoid, values)


def _in_whole_vectors(function: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    count = values.numel()
    beyond = -count % VECTORS
    if not beyond or values.device.type != "cpu":
        return function(values)
    return function(functional.pad(values.reshape(-1), (0, beyond)))[:count].view(values.shape)
