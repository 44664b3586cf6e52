"""Expectations of a potential and its derivatives over a Gaussian, for potentials that have them in closed form."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch


class Expectations(NamedTuple):
    """The expectations E V, E ∇V (D,) and E ∇²V (D, D) of a potential V over one Gaussian."""

    value: float
    gradient: torch.Tensor
    hessian: torch.Tensor


@runtime_checkable
class KnownUnderGaussians(Protocol):
    """A potential that needs no sampling or quadrature in D dimensions to be averaged over a Gaussian."""

    def expectations(self, mean: torch.Tensor, covariance: torch.Tensor) -> Expectations:
        """Return E V, E ∇V (D,) and E ∇²V (D, D) over N(``mean`` (D,), ``covariance`` (D, D)).

        They are the derivatives of each other: E ∇V = ∂E V/∂m and E ∇²V = 2 ∂E V/∂Σ.
        """
